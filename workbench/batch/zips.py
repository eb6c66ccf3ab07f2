"""Zips of a batch: their entries' names as they were meant, and their bytes, never more than they claim."""

import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Final

from evfsam.errors import ImageFormatError

_ENCRYPTED: Final = 0x1
_NAME_IS_UTF8: Final = 0x800
_UNICODE_PATH: Final = 0x7075
_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_LONGEST_COMMENT: Final = 2**16
_LOCATOR: Final = b"PK\x06\x07"
_LOCATOR_BYTES: Final = 20
_END_64_BYTES: Final = 56
_OTHER_ENCODINGS: Final = ("gb18030", "big5", "cp932", "cp949", "cp850", "cp866", "cp1251", "cp1252")
"""In which names are written without a word about it, besides UTF-8 and code page 437."""


_BOUNDED: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Ways of packing that the zip module unpacks by the piece; of the others it unpacks all before it cuts."""


def entry_names(entry: zipfile.ZipInfo) -> tuple[str, ...]:
    """Return an entry's name as it was most probably meant, and whatever else it could be.

    A zip says of a name that it is UTF-8, or nothing; then programs have written the code page of their machine. UTF-8
    is told by its bytes, and Chinese by its common characters, which make no sense in other code pages.

    Source: APPNOTE.TXT 6.3.10, appendix D and section 4.6.9 (names in UTF-8 as an extra field).
    """
    if entry.flag_bits & _NAME_IS_UTF8:
        return (entry.filename,)
    try:
        raw = entry.filename.encode("cp437")
    except UnicodeError:
        return (entry.filename,)
    if raw.isascii():
        return (entry.filename,)
    told = _name_in_extra_field(entry.extra, raw) or _decoded(raw, "utf-8")
    if told is not None:
        return (told,)
    chinese = _decoded(raw, "gb18030")
    first = chinese if chinese is not None and _is_common_chinese(chinese) else entry.filename
    others = (_decoded(raw, encoding) for encoding in _OTHER_ENCODINGS)
    return tuple(dict.fromkeys((first, entry.filename, *(other for other in others if other is not None))))


def unsafe(name: str, entry: zipfile.ZipInfo) -> str | None:
    """Return why an entry must not be read; None where it may."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in name[:2] or not path.name:
        return "its name leads out of the zip; it was not read"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link, not a file; it was not followed"
    if entry.flag_bits & _ENCRYPTED:
        return "is protected by a password; pack the images without one"
    return None


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Unpack an entry into memory: never more bytes than its checked size, whatever the entry really holds.

    Raises:
        ImageFormatError: it is damaged, or packed in a way that is not known or cannot be held to a size.
    """
    if entry.compress_type not in _BOUNDED:
        raise ImageFormatError("is packed in an unusual way; pack it as usual (Deflate), or not at all")
    try:
        with archive.open(entry) as file:
            return file.read(entry.file_size)
    except Exception as error:  # each way of packing raises errors of its own on damage
        raise ImageFormatError("is damaged inside the zip ({reason}); pack it again", reason=error) from error


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


def _name_in_extra_field(extra: bytes, raw: bytes) -> str | None:
    """Return the name in UTF-8 that an entry has besides its plain one, if it still belongs to it."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        body, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and len(body) > 5 and body[1:5] == struct.pack("<L", zlib.crc32(raw)):
            return _decoded(body[5:], "utf-8")
    return None


def _decoded(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeError:
        return None


def _is_common_chinese(text: str) -> bool:
    """Whether the letters beyond ASCII are Chinese, at least half of them out of the 3,755 most common characters."""
    letters = [letter for letter in text if not letter.isascii()]
    hanzi = [letter for letter in letters if "\u4e00" <= letter <= "\u9fff"]
    common = [letter for letter in hanzi if 0xB0 <= letter.encode("gb18030")[0] <= 0xD7 and _is_gb2312(letter)]
    return bool(hanzi) and 2 * len(common) >= len(letters)


def _is_gb2312(letter: str) -> bool:
    try:
        return len(letter.encode("gb2312")) == 2
    except UnicodeError:
        return False
