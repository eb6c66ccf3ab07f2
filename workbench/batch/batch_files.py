"""The files of a batch: images out of zips, folders and single files, read one at a time and never unpacked to disk.

Nothing is passed over in silence: what cannot be used is a `Fault` with its place and its reason. Only the batch's own
results, where they lie in a folder of images, are expected there.
"""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final
from unicodedata import normalize

from evfsam.errors import EvfSamError, ImageFormatError, Sentence
from workbench.batch.folder_walk import files_below
from workbench.batch.own_results import own_files
from workbench.batch.zips import directory_bytes, entry_names, read_entry, unsafe
from workbench.limits import LARGEST_FILE_MB

IMAGE_SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm"}
)
_TABLE_SUFFIX: Final = ".csv"
_ZIP_SUFFIX: Final = ".zip"
_LEFTOVERS: Final = frozenset({"__macosx", ".ds_store", "thumbs.db", "desktop.ini"})
_MEGABYTE: Final = 1_000_000
_ENTRY_LIST_BYTES: Final = 512
"""Generous for one entry of a zip's list of contents; bounds what is read before anything is known."""


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
        megabytes: all images and tables together, unpacked.
    """

    images: int
    phrases: int
    questions: int
    entries: int
    file_megabytes: int
    megabytes: int


PAGE_LIMITS: Final = Limits(
    images=50, phrases=16, questions=400, entries=1_000, file_megabytes=LARGEST_FILE_MB, megabytes=100
)
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
        other_names: what the name could be too, where a zip does not say how it is written.
    """

    name: str
    read: Callable[[], bytes]
    other_names: tuple[str, ...] = ()


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


def read_sources(files: Sequence[tuple[str, Path]], limits: Limits, results: Path | None = None) -> Sources:
    """Look through files without decoding any image.

    Args:
        files: name for people, and path, of images, zips of images, CSV files and folders.
        limits: of this batch.
        results: where this batch's own results are; they are no images, and it is not told that they are there.

    Raises:
        BatchError: there is more than the limits allow; nothing is taken in part.
    """
    images: dict[str, BatchImage] = {}
    tables: list[BatchTable] = []
    faults: list[Fault] = []
    total = 0
    for name, path in files:
        for found, nbytes in _look_into(name, path, limits, results):
            if isinstance(found, Fault):
                faults.append(found)
            elif isinstance(found, BatchTable):
                tables.append(found)
                total += nbytes
                _check_bytes(total, limits)
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
            "expected at most {most} images in one batch, got {got}; split them into several batches",
            most=limits.images,
            got=len(images),
        )
    _check_bytes(total, limits)


def _check_bytes(total: int, limits: Limits) -> None:
    if total > limits.megabytes * _MEGABYTE:
        raise BatchError(
            "expected at most {most} MB of files in one batch, got {got} MB unpacked; send fewer or smaller ones",
            most=limits.megabytes,
            got=_megabytes(total),
        )


def _look_into(name: str, path: Path, limits: Limits, results: Path | None) -> Iterator[_Found]:
    if path.is_dir():
        inside, unusable = files_below(path)
        ours = own_files(inside, lambda inner: inside[inner].read_bytes())
        kept, told = _without_leftovers(name, inside, ours, _place_of_results(path, results))
        yield from ((Fault(place, reason), 0) for place, reason in unusable.items())
        yield from ((fault, 0) for fault in told)
        yield from (_file(inner, inside[inner], limits) for inner in kept)
    elif Path(name).suffix.lower() == _ZIP_SUFFIX:
        yield from _zip(name, path, limits)
    elif path.is_file():
        yield _file(name, path, limits)
    else:
        yield Fault(plain_name(name), "is no plain file"), 0


def _place_of_results(folder: Path, results: Path | None) -> str | None:
    """Return where below a folder the batch's own results are; None where they are elsewhere."""
    if results is None or not results.resolve().is_relative_to(folder.resolve()):
        return None
    place = results.resolve().relative_to(folder.resolve()).as_posix()
    return "" if place == "." else place


def _file(name: str, path: Path, limits: Limits) -> _Found:
    plain, suffix = plain_name(name), Path(name).suffix.lower()
    try:
        nbytes = path.stat().st_size
        if (reason := _unwanted(suffix) or _too_large(nbytes, limits)) is not None:
            return Fault(plain, reason), 0
        if suffix == _TABLE_SUFFIX:
            return BatchTable(plain, path.read_bytes()), nbytes
    except OSError as error:
        return Fault(plain, Sentence("cannot be read: {reason}", reason=error.strerror or error)), 0
    return BatchImage(plain, partial(_read_file, path)), nbytes


def _zip(name: str, path: Path, limits: Limits) -> Iterator[_Found]:
    try:
        if directory_bytes(path) > limits.entries * _ENTRY_LIST_BYTES:
            raise BatchError(
                "{file}: expected at most {most} files in a zip, got far more; split it", file=name, most=limits.entries
            )
        archive = zipfile.ZipFile(path)
    except BatchError:
        raise
    except Exception as error:  # a damaged list of contents makes the module raise nearly anything
        yield Fault(name, Sentence("is not a zip that can be read ({reason}); pack the images again", reason=error)), 0
        return
    entries = [(_plain_names(entry), entry) for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > limits.entries:
        raise BatchError(
            "{file}: expected at most {most} files in a zip, got {got}; split it",
            file=name,
            most=limits.entries,
            got=len(entries),
        )
    if not entries:
        yield Fault(name, "is an empty zip; put images into it"), 0
    by_name = {names[0]: entry for names, entry in entries}
    left = limits.megabytes * _MEGABYTE

    def bounded(inner: str) -> bytes:
        nonlocal left
        entry = by_name[inner]
        left -= entry.file_size
        return b"" if left < 0 or _too_large(entry.file_size, limits) else read_entry(archive, entry)

    ours = own_files(by_name, bounded)
    kept, told = _without_leftovers(name, by_name, ours, None)
    yield from ((fault, 0) for fault in told)
    yield from (_entry(name, names, archive, entry, limits) for names, entry in entries if names[0] in kept)


def _plain_names(entry: zipfile.ZipInfo) -> list[str]:
    return [plain_name(name) for name in entry_names(entry)]


def _without_leftovers(
    place: str, names: Iterable[str], ours: Mapping[str, str], results: str | None
) -> tuple[dict[str, None], list[Fault]]:
    """Part names from what a system adds when it packs files and from results of ours; that is told in a line each.

    Args:
        place: what holds the files.
        names: of the files.
        ours: results with their folders, as `own_files` finds them.
        results: the folder whose results are expected here, and not told.
    """
    kept: dict[str, None] = {}
    left: list[str] = []
    for name in names:
        parts = PurePosixPath(name).parts
        if any(part.lower() in _LEFTOVERS or part.startswith("._") for part in parts):
            left.append(name)
        elif name not in ours:
            kept[name] = None
    told = [name for name, folder in ours.items() if folder != results]
    faults = []
    if left:
        reason = Sentence("passed over {files} that a system adds, such as {name}", files=_counted(left), name=left[0])
        faults.append(Fault(place, reason))
    if told:
        reason = Sentence(
            "passed over {files} that an earlier run wrote, such as {name}", files=_counted(told), name=told[0]
        )
        faults.append(Fault(place, reason))
    return kept, faults


def _counted(names: Sequence[str]) -> Sentence:
    return Sentence("1 file") if len(names) == 1 else Sentence("{count} files", count=len(names))


def _entry(
    zip_name: str, names: Sequence[str], archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: Limits
) -> _Found:
    name = names[0]
    place, suffix = f"{zip_name}: {name}", Path(name).suffix.lower()
    reason = unsafe(name, entry) or _unwanted(suffix) or _too_large(entry.file_size, limits)
    if reason is not None:
        return Fault(place, reason), 0
    read = partial(read_entry, archive, entry)
    if suffix != _TABLE_SUFFIX:
        return BatchImage(name, read, tuple(names[1:])), entry.file_size
    try:
        return BatchTable(name, read()), entry.file_size
    except ImageFormatError as error:
        return Fault(place, error.message), 0


def _unwanted(suffix: str) -> str | None:
    if suffix == _ZIP_SUFFIX:
        return "is a zip inside another; put its images in by themselves"
    if suffix != _TABLE_SUFFIX and suffix not in IMAGE_SUFFIXES:
        return "is neither an image (PNG, JPEG, WebP, BMP, TIFF, GIF, PPM) nor a CSV"
    return None


def _too_large(nbytes: int, limits: Limits) -> str | None:
    if nbytes <= limits.file_megabytes * _MEGABYTE:
        return None
    return Sentence(
        "expected at most {most} MB a file, got {got} MB; make it smaller",
        most=limits.file_megabytes,
        got=_megabytes(nbytes),
    )


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageFormatError(
            "cannot be read any more: {reason}; send it again", reason=error.strerror or error
        ) from error


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / _MEGABYTE:,.0f}".replace(",", " ")
