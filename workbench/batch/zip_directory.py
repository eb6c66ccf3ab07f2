"""How long a zip's list of contents is, before it is read: a small file can claim a list of any length."""

import struct
import zipfile
from pathlib import Path
from typing import Final

_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_LONGEST_COMMENT: Final = 2**16
_LOCATOR: Final = b"PK\x06\x07"
_LOCATOR_BYTES: Final = 20
_END_64_BYTES: Final = 56


def directory_bytes(path: Path) -> int:
    """Return the bytes of a zip's central directory, as its end record gives them.

    Raises:
        zipfile.BadZipFile: there is no end record.
        OSError: the file cannot be read.

    Source:
        APPNOTE.TXT 6.3.10, sections 4.3.14 to 4.3.16.
    """
    span = _END_BYTES + _LONGEST_COMMENT + _LOCATOR_BYTES + _END_64_BYTES
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - span))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or at + _END_BYTES > len(tail):
        raise zipfile.BadZipFile("its end is missing")
    (size,) = struct.unpack_from("<L", tail, at + 12)
    locator, end_64 = at - _LOCATOR_BYTES, at - _LOCATOR_BYTES - _END_64_BYTES
    if end_64 >= 0 and tail[locator : locator + 4] == _LOCATOR:
        (size,) = struct.unpack_from("<Q", tail, end_64 + 40)
    return int(size)
