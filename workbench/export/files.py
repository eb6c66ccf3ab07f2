"""Files that are there whole or not at all, and JSON that every parser accepts."""

import json
import math
from collections.abc import Iterable, Mapping
from errno import EISDIR
from pathlib import Path
from secrets import token_hex

import numpy as np
import torch

from evfsam.errors import ConfigurationError


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file, and the folders above it, so that it is there whole or not at all.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        _replace(path, content)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    return path


def check_writable(path: Path) -> None:
    """Find out before the work whether a file can be written, by writing an empty one beside it and taking it away.

    Raises:
        ConfigurationError: it cannot be written.
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


def _replace(path: Path, content: bytes) -> None:
    part = part_beside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError | ValueError) -> ConfigurationError:
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    return ConfigurationError(f"cannot write {path}: {reason}; choose another place")
