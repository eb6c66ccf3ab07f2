"""Read the files that data sets are made of; what is missing or damaged is told with the path that was expected."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evfsam.errors import EvfSamError
from evfsam.preprocess import load_image
from evfsam.types import RgbImage
from workbench.datasets.contract import DatasetError, SampleError

_TEXT_ENCODINGS = ("utf-8", "cp1252")


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


def read_json(name: str, path: Path) -> object:
    """Read a JSON file in UTF-8 or, as some of ReasonSeg, in Windows-1252.

    Raises:
        DatasetError: it cannot be read, or is no JSON.
    """
    for encoding in _TEXT_ENCODINGS:
        try:
            content: object = json.loads(path.read_text(encoding=encoding))
        except UnicodeDecodeError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise DatasetError(f"{name}: expected JSON in {path}, got {error}; fetch the file again") from error
        return content
    raise DatasetError(f"{name}: expected JSON in UTF-8 in {path}, got other bytes; fetch the file again")


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


def image_reader(path: Path) -> Callable[[], RgbImage]:
    """Return a function that reads an image file when it is called; it raises SampleError where it cannot."""
    return partial(_read_image, path)


def label_reader(path: Path) -> NDArray[np.uint8]:
    """Read a PNG of labels: (H, W) uint8, palette indices or grey values as they are stored.

    Raises:
        SampleError: it is missing, damaged, or has colours.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("L", "P", "1", "I;16", "I"):
                raise SampleError(f"expected labels of one channel in {path}, got mode {picture.mode}; save it as grey")
            return np.asarray(picture.convert("L") if picture.mode == "1" else picture).astype(np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SampleError(f"cannot read the mask {path}: {_reason(error)}") from error


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


def _read_image(path: Path) -> RgbImage:
    try:
        return load_image(path)
    except EvfSamError as error:
        raise SampleError(f"cannot read the image {path}: {error}") from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
