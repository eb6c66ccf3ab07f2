"""The files of a batch: images out of zips, folders and single files, read one at a time and never unpacked to disk.

Nothing is passed over in silence: what cannot be used is a `Fault` with its place and its reason.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final
from unicodedata import normalize

from evfsam.errors import EvfSamError, ImageFormatError

IMAGE_SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm"}
)
_TABLE_SUFFIX: Final = ".csv"
_ZIP_SUFFIX: Final = ".zip"
_LEFTOVERS: Final = frozenset({"__macosx", ".ds_store", "thumbs.db", "desktop.ini"})
_MEGABYTE: Final = 1_000_000
_ENTRY_LIST_BYTES: Final = 512
"""Generous for one entry of a zip's list of contents; bounds what is read before anything is known."""
_ENCRYPTED: Final = 0x1
_NAME_IS_UTF8: Final = 0x800

_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_LONGEST_COMMENT: Final = 2**16
_LOCATOR: Final = b"PK\x06\x07"
_LOCATOR_BYTES: Final = 20
_END_64_BYTES: Final = 56


class BatchError(EvfSamError):
    """A batch cannot be asked as it is, or is larger than its limits."""


@dataclass(frozen=True)
class Limits:
    """What one batch may hold.

    Attributes:
        images: images.
        phrases: phrases an image.
        questions: pairs of image and phrase.
        entries: files in a zip, of whatever kind.
        file_megabytes: one file, and one image out of a zip.
        megabytes: all images together, unpacked.
    """

    images: int
    phrases: int
    questions: int
    entries: int
    file_megabytes: int
    megabytes: int


PAGE_LIMITS: Final = Limits(images=50, phrases=16, questions=400, entries=1_000, file_megabytes=25, megabytes=100)
COMMAND_LIMITS: Final = Limits(100_000, 1_000, 1_000_000, 1_000_000, file_megabytes=250, megabytes=500_000)


@dataclass(frozen=True)
class Fault:
    """Something that could not be used.

    Attributes:
        place: a file, an entry of a zip, or a line of a CSV.
        reason: one sentence without its first capital.
    """

    place: str
    reason: str


@dataclass(frozen=True)
class BatchImage:
    """An image that is not read yet.

    Attributes:
        name: its path as the zip, folder or upload has it, with "/" between folders.
        read: returns the file's bytes; raises ImageFormatError where that is not possible.
    """

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class BatchTable:
    """The bytes of a CSV, by name."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Sources:
    """What was found in the files given.

    Attributes:
        images: each name once.
        tables: CSV files.
        faults: what else there was.
    """

    images: tuple[BatchImage, ...] = ()
    tables: tuple[BatchTable, ...] = ()
    faults: tuple[Fault, ...] = ()


_Found = tuple[BatchImage | BatchTable | Fault, int]
"""What was found, and its bytes once it is unpacked."""


def read_sources(files: Sequence[tuple[str, Path]], limits: Limits) -> Sources:
    """Look through files without decoding any image.

    Args:
        files: name for people, and path, of images, zips of images, CSV files and folders.
        limits: of this batch.

    Raises:
        BatchError: there is more than the limits allow; nothing is taken in part.
    """
    images: dict[str, BatchImage] = {}
    tables: list[BatchTable] = []
    faults: list[Fault] = []
    total = 0
    for name, path in files:
        for found, nbytes in _look_into(name, path, limits):
            if isinstance(found, Fault):
                faults.append(found)
            elif isinstance(found, BatchTable):
                tables.append(found)
            elif found.name in images:
                faults.append(Fault(found.name, "another image has this name already; rename one of them"))
            else:
                images[found.name] = found
                total += nbytes
    _check(images, total, limits)
    return Sources(tuple(images.values()), tuple(tables), tuple(faults))


def plain_name(name: str) -> str:
    """Write a path as a batch compares it: "/" between folders, composed letters, no "./" in front."""
    return normalize("NFC", name.strip().replace("\\", "/")).removeprefix("./")


def _check(images: dict[str, BatchImage], total: int, limits: Limits) -> None:
    if len(images) > limits.images:
        raise BatchError(
            f"expected at most {limits.images} images in one batch, got {len(images)}; split them into several batches"
        )
    if total > limits.megabytes * _MEGABYTE:
        raise BatchError(
            f"expected at most {limits.megabytes} MB of images in one batch, got {_megabytes(total)} MB unpacked; "
            "send fewer or smaller ones"
        )


def _look_into(name: str, path: Path, limits: Limits) -> Iterator[_Found]:
    if path.is_dir():
        inside = {inner.relative_to(path).as_posix(): inner for inner in sorted(path.rglob("*")) if inner.is_file()}
        kept, leftovers = _without_leftovers(name, inside)
        yield from ((fault, 0) for fault in leftovers)
        yield from (_file(inner, inside[inner], limits) for inner in kept)
    elif Path(name).suffix.lower() == _ZIP_SUFFIX:
        yield from _zip(name, path, limits)
    else:
        yield _file(name, path, limits)


def _file(name: str, path: Path, limits: Limits) -> _Found:
    plain, suffix = plain_name(name), Path(name).suffix.lower()
    try:
        nbytes = path.stat().st_size
        if (reason := _unwanted(suffix) or _too_large(nbytes, limits)) is not None:
            return Fault(plain, reason), 0
        if suffix == _TABLE_SUFFIX:
            return BatchTable(plain, path.read_bytes()), 0
    except OSError as error:
        return Fault(plain, f"cannot be read: {error.strerror or error}"), 0
    return BatchImage(plain, partial(_read_file, path)), nbytes


def _zip(name: str, path: Path, limits: Limits) -> Iterator[_Found]:
    try:
        if directory_bytes(path) > limits.entries * _ENTRY_LIST_BYTES:
            raise BatchError(f"{name}: expected at most {limits.entries} files in a zip, got far more; split it")
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        yield Fault(name, f"is not a zip that can be read ({error}); pack the images again"), 0
        return
    entries = [(plain_name(_entry_name(entry)), entry) for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > limits.entries:
        raise BatchError(f"{name}: expected at most {limits.entries} files in a zip, got {len(entries)}; split it")
    if not entries:
        yield Fault(name, "is an empty zip; put images into it"), 0
    kept, leftovers = _without_leftovers(name, [inner for inner, _ in entries])
    yield from ((fault, 0) for fault in leftovers)
    yield from (_entry(name, inner, archive, entry, limits) for inner, entry in entries if inner in kept)


def _without_leftovers(place: str, names: Iterable[str]) -> tuple[dict[str, None], list[Fault]]:
    """Part names from what a system adds when it packs files; that is told in one line."""
    kept: dict[str, None] = {}
    left: list[str] = []
    for name in names:
        parts = PurePosixPath(name).parts
        if any(part.lower() in _LEFTOVERS or part.startswith("._") for part in parts):
            left.append(name)
        else:
            kept[name] = None
    if not left:
        return kept, []
    counted = "1 file" if len(left) == 1 else f"{len(left)} files"
    return kept, [Fault(place, f"passed over {counted} that a system adds, such as {left[0]}")]


def _entry(zip_name: str, name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: Limits) -> _Found:
    place, suffix = f"{zip_name}: {name}", Path(name).suffix.lower()
    reason = _unsafe(name, entry) or _unwanted(suffix) or _too_large(entry.file_size, limits)
    if reason is not None:
        return Fault(place, reason), 0
    read = partial(_read_entry, archive, entry)
    if suffix != _TABLE_SUFFIX:
        return BatchImage(name, read), entry.file_size
    try:
        return BatchTable(name, read()), 0
    except ImageFormatError as error:
        return Fault(place, str(error)), 0


def _entry_name(entry: zipfile.ZipInfo) -> str:
    """Return the entry's name; some programs write UTF-8 without saying so, and it is then read as code page 437."""
    if entry.flag_bits & _NAME_IS_UTF8:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


def _unsafe(name: str, entry: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in name[:2] or not path.name:
        return "its name leads out of the zip; it was not read"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link, not a file; it was not followed"
    if entry.flag_bits & _ENCRYPTED:
        return "is protected by a password; pack the images without one"
    return None


def _unwanted(suffix: str) -> str | None:
    if suffix == _ZIP_SUFFIX:
        return "is a zip inside another; put its images in by themselves"
    if suffix != _TABLE_SUFFIX and suffix not in IMAGE_SUFFIXES:
        return "is neither an image (PNG, JPEG, WebP, BMP, TIFF, GIF, PPM) nor a CSV"
    return None


def _too_large(nbytes: int, limits: Limits) -> str | None:
    if nbytes <= limits.file_megabytes * _MEGABYTE:
        return None
    return f"expected at most {limits.file_megabytes} MB a file, got {_megabytes(nbytes)} MB; make it smaller"


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageFormatError(f"cannot be read any more: {error.strerror or error}; send it again") from error


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Unpack an entry into memory: never more bytes than its checked size, which the zip module keeps to."""
    try:
        return archive.read(entry)
    except (OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ImageFormatError(f"is damaged inside the zip ({error}); pack it again") from error


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / _MEGABYTE:,.0f}".replace(",", " ")


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
