"""Text out of the bytes of other people's files: UTF-8, or what is marked as UTF-16; nothing is guessed or replaced."""

import codecs
from typing import Final

from evfsam.errors import EvfSamError

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


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
