"""Which weights a strategy has: a digest of its files, and what people call them."""

import json
from collections.abc import Mapping
from functools import lru_cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

_SUFFIXES: Final = frozenset({".json", ".jinja", ".safetensors", ".bin", ".pt", ".pth", ".model"})


def directory_digest(directory: Path) -> str:
    """Return a digest of the weights and settings below a directory, by their content.

    A file is read once in a process; after that its time and size tell whether it changed.
    """
    digest = sha256()
    for path in sorted(directory.rglob("*")):
        if path.suffix in _SUFFIXES and path.is_file():
            state = path.stat()
            content = _content_digest(path, state.st_mtime_ns, state.st_size)
            digest.update(f"{path.relative_to(directory).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def with_options_digest(digest: str, options: Mapping[str, object]) -> str:
    """Return a digest that tells options apart too; without options, the digest itself."""
    if not options:
        return digest
    return sha256(f"{digest} {json.dumps(dict(options), sort_keys=True)}".encode()).hexdigest()[:16]


def directory_name(directory: Path) -> str:
    """Name a directory of weights for people: its last two parts, since those above are one machine's own."""
    return "/".join(directory.resolve().parts[-2:])


@lru_cache(maxsize=256)
def _content_digest(path: Path, _changed_ns: int, _nbytes: int) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
