"""Files that are there whole or not at all, zips whose bytes follow from what is in them, and JSON for every parser."""

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from errno import EISDIR
from pathlib import Path
from secrets import token_hex
from typing import IO, Final

import numpy as np
import torch
from numpy.typing import NDArray

from evfsam.errors import ConfigurationError

_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
_COMPRESSED_ALREADY: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".mp4", ".npz"})


class UnwritableError(ConfigurationError):
    """A file cannot be written; the message names its whole path, which a visitor of a server need not see."""


def write_zip(target: Path | IO[bytes], files: Iterable[tuple[str, bytes]]) -> None:
    """Pack files, given by name and content, into a zip; equal files in equal order make equal bytes.

    Raises:
        OSError: the zip cannot be written.
    """
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files:
            is_stored = Path(name).suffix.lower() in _COMPRESSED_ALREADY
            method = zipfile.ZIP_STORED if is_stored else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), content, compress_type=method)


def zip_bytes(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Do as `write_zip`, in memory."""
    buffer = io.BytesIO()
    write_zip(buffer, files)
    return buffer.getvalue()


def npy_bytes(values: NDArray[np.generic]) -> bytes:
    """Encode an array for `numpy.load`, which needs to run no code for it."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file, and the folders above it, so that it is there whole or not at all.

    Raises:
        UnwritableError: it cannot be written.
    """
    return _write_whole(path, lambda part: part.write_bytes(content))


def write_whole_zip(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    """Do as `write_whole` with a zip of files that are made one by one: no more than one is held at a time.

    Raises:
        UnwritableError: it cannot be written.
    """
    return _write_whole(path, lambda part: write_zip(part, files))


def check_writable(path: Path) -> None:
    """Find out before the work whether a file can be written, by writing an empty one beside it and taking it away.

    Raises:
        UnwritableError: it cannot be written.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = part_beside(path)
        probe.touch(exist_ok=False)
        probe.unlink()
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def json_bytes(content: object) -> bytes:
    """Write JSON values as strictly valid, indented JSON in UTF-8."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    # A phrase from a command line may hold lone surrogates; "backslashreplace" writes them as JSON's own \udXXX.
    return text.encode("utf-8", "backslashreplace")


def as_json_value(value: object) -> object:
    """Turn a value into JSON values: numbers that JSON lacks become null, arrays lists, anything unknown its text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_json_value(item) for key, item in value.items()}
    if isinstance(value, torch.Tensor):
        return as_json_value(value.detach().cpu().tolist())
    if isinstance(value, np.ndarray | np.generic):
        return as_json_value(value.tolist())
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [as_json_value(item) for item in value]
    return str(value)


def part_beside(path: Path) -> Path:
    """Return the name under which a file is written until it is whole; no two writers get the same."""
    return path.with_name(f".{token_hex(8)}.part{path.suffix.lower()}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Lend a path beside `path`; the file written there takes its place once that is left without an error.

    Raises:
        OSError, ValueError: it cannot be written.
    """
    part = part_beside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    try:
        with whole_file(path) as part:
            write(part)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    return path


def _unwritable(path: Path, error: OSError | ValueError) -> UnwritableError:
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    return UnwritableError("cannot write {path}: {reason}; choose another place", path=path, reason=reason)
