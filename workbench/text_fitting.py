"""Text of other people made fit for where it is written: a terminal, a spreadsheet, XML, the name of a file."""

import re
from typing import Final

_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, with which terminals are steered
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the order of letters round
    "\u2028\u2029\ud800-\udfff]"  # separators of lines, and halves of characters
)
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FORMULA: Final = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|conin|conout|clock|(com|lpt)[0-9])")
_SLUG_LENGTH: Final = 32


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
