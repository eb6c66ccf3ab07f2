"""Text of other people: read from their files without a guess, and made fit for where it is written.

That is a terminal, a spreadsheet, XML or the name of a file.
"""

import codecs
import re
from collections.abc import Sequence
from typing import Final

from evfsam.errors import EvfSamError

_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, with which terminals are steered
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the order of letters round
    "\u2028\u2029\ud800-\udfff]"  # separators of lines, and halves of characters
)
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FORMULA: Final = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|conin|conout|clock|(com|lpt)[0-9])")
_SLUG_LENGTH: Final = 32
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def visible(text: str) -> str:
    r"""Return text on one line that does nothing to a terminal: what is not printed is shown, such as \x1b."""
    return _UNPRINTABLE.sub(lambda found: _escaped(found[0]), text)


def visible_lines(text: str) -> str:
    """Return text of several lines, each as `visible` makes it."""
    return "\n".join(map(visible, text.split("\n")))


def spreadsheet_cell(text: str) -> str:
    """Return text that a spreadsheet takes for text: with an apostrophe in front of what would be a formula."""
    shown = visible(text)
    return f"'{shown}" if _FORMULA.match(text) else shown


def xml_text(text: str) -> str:
    """Return text without the characters that no XML may hold, each replaced by U+FFFD; not escaped."""
    return _NOT_XML.sub("\ufffd", text)


def file_slug(text: str) -> str:
    """Return a part of a file name made of text: small letters and digits of ASCII, and no name of a device.

    Windows takes "con.png" for its console, whatever follows the first point.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_SLUG_LENGTH].strip("-")
    return f"{slug}-" if _RESERVED.fullmatch(slug) else slug


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def named_once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Make an object of JSON, of which each name stands once; an `object_pairs_hook` of `json.loads`.

    Raises:
        ValueError: a name stands twice; the later value would replace the first without a word.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:60]!r} twice in one object")
    return made


class TextEncodingError(EvfSamError):
    """Bytes are no text that can be read without guessing."""


def decoded_text(content: bytes) -> str:
    """Return the text of a file, without the mark that spreadsheets and editors put in front.

    Raises:
        TextEncodingError: it is neither UTF-8 nor marked as UTF-16 or UTF-32; the message names the line.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TextEncodingError(
            "expected UTF-8 text, got other bytes in line {line}; save it again as UTF-8", line=line
        ) from error
