"""Read the files that data sets are made of; what is missing or damaged is told with the path that was expected.

Nothing unreadable becomes data: text is decoded without replacing, and fields have the type that they should have.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from evfsam.errors import EvfSamError
from evfsam.image_files import opened_picture
from evfsam.preprocess import load_image
from evfsam.types import RgbImage
from workbench.datasets.contract import DatasetError, SampleError
from workbench.text_fitting import TextEncodingError, decoded_text, named_once

_STRETCHED_BY: Final = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies greys of 2 and 4 bits by."""
_LONGEST_NUMBER: Final = 100
"""Characters of a number written as text; Python reads no more than some thousands."""


def expected_file(name: str, *candidates: Path) -> Path:
    """Return the first candidate that is a file.

    Raises:
        DatasetError: none is.
    """
    return _expected(name, "file", Path.is_file, candidates)


def expected_folder(name: str, *candidates: Path) -> Path:
    """Return the first candidate that is a folder.

    Raises:
        DatasetError: none is.
    """
    return _expected(name, "folder", Path.is_dir, candidates)


def read_text(name: str, path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 that is marked as such.

    Raises:
        DatasetError: it cannot be read, or is in another encoding.
    """
    try:
        return decoded_text(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{name}: cannot read {path}: {error.strerror or error}; check the file") from error
    except TextEncodingError as error:
        raise DatasetError(f"{name}: cannot read {path}: {error}") from error


def read_json(name: str, path: Path, *, may_be_windows_1252: bool = False) -> object:
    """Read a JSON file in UTF-8 or, where it may be, in Windows-1252, as some of ReasonSeg.

    Raises:
        DatasetError: it cannot be read, or is no JSON.
    """
    try:
        text = read_text(name, path)
    except DatasetError:
        if not may_be_windows_1252:
            raise
        text = _windows_1252(name, path)
    try:
        content: object = json.loads(text, object_pairs_hook=named_once)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{name}: expected JSON in {path}, got {error}; fetch the file again") from error
    return content


def records(name: str, path: Path, value: object, fields: Sequence[str]) -> list[dict[str, object]]:
    """Check that a value read from `path` is a list of records with these fields.

    Raises:
        DatasetError: it is something else.
    """
    if not isinstance(value, list):
        raise DatasetError(f"{name}: expected a list of records in {path}, got {type(value).__name__}")
    for position, record in enumerate(value):
        missing = [field for field in fields if not isinstance(record, dict) or field not in record]
        if missing:
            raise DatasetError(
                f"{name}: expected the fields {', '.join(fields)} in record {position} of {path}, "
                f"found no {', '.join(missing)}"
            )
    return value


def whole_number(name: str, value: object, what: str) -> int:
    """Return a whole number, also one that is written as decimal text or with a fraction of zero.

    Args:
        name: of the data set, for messages.
        value: as the file has it.
        what: names the field and its place.

    Raises:
        DatasetError: it is something else.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    is_whole = is_whole or (isinstance(value, float) and value.is_integer())
    is_whole = is_whole or (isinstance(value, str) and value.strip().isdecimal() and len(value) <= _LONGEST_NUMBER)
    if not is_whole:
        raise DatasetError(f"{name}: expected a whole number as {what}, got {_shown(value)}; number them and try again")
    return int(cast(int | float | str, value))


def plain_text(name: str, value: object, what: str) -> str:
    """Return a value that is text; arguments and errors as `whole_number`."""
    if not isinstance(value, str):
        raise DatasetError(f"{name}: expected text as {what}, got {_shown(value)}; write it in quotation marks")
    return value


def by_id(name: str, path: Path, found: Iterable[Mapping[str, object]], what: str) -> dict[int, Mapping[str, object]]:
    """Sort records by their field `id`.

    Raises:
        DatasetError: an id is no whole number, or two records have the same.
    """
    known: dict[int, Mapping[str, object]] = {}
    for record in found:
        number = whole_number(name, record["id"], f"id of {what} in {path}")
        if number in known:
            raise DatasetError(
                f"{name}: expected each id of {what} once in {path}, got {number} twice; number them anew"
            )
        known[number] = record
    return known


def image_reader(path: Path) -> Callable[[], RgbImage]:
    """Return a function that reads an image file when it is called; it raises SampleError where it cannot."""
    return partial(_read_image, path)


def label_reader(path: Path) -> NDArray[np.integer]:
    """Read a PNG of labels: (H, W) whole numbers, palette indices or grey values as they are stored.

    Raises:
        SampleError: it is missing, damaged, or has colours.
    """
    try:
        with opened_picture(path) as picture:
            if picture.mode not in ("L", "P", "1") and not picture.mode.startswith("I"):
                raise SampleError(f"expected labels of one channel in {path}, got mode {picture.mode}; save it as grey")
            tiles = getattr(picture, "tile", [])
            stretched_by = _STRETCHED_BY.get(str(tiles[0].args) if tiles else "", 1)
            values = np.asarray(picture)
    except SampleError:
        raise
    except EvfSamError as error:
        raise SampleError(f"cannot read the mask {path}: {error}") from error
    return values.astype(np.int32) // stretched_by


def files_in(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return the files of a folder with one of these suffixes, sorted by name; hidden ones left out."""
    wanted = {suffix.lower() for suffix in suffixes}
    files = (path for path in folder.iterdir() if path.suffix.lower() in wanted and not path.name.startswith("."))
    return sorted(files, key=lambda path: path.name)


def _expected(name: str, what: str, is_there: Callable[[Path], bool], candidates: Sequence[Path]) -> Path:
    for path in candidates:
        if is_there(path):
            return path
    places = " or ".join(str(path) for path in candidates)
    raise DatasetError(f"{name}: expected the {what} {places}, found none; give the folder above it with --root")


def _windows_1252(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="cp1252")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{name}: expected JSON in UTF-8 in {path}, got other bytes; fetch the file again"
        ) from error


def _shown(value: object) -> str:
    text = repr(value)
    return f"the {type(value).__name__} {text if len(text) <= 40 else text[:39] + '…'}"


def _read_image(path: Path) -> RgbImage:
    try:
        return load_image(path)
    except EvfSamError as error:
        raise SampleError(f"cannot read the image {path}: {error}") from error
