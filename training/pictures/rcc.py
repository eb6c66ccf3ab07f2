"""Read the files in a Qt resource file (`.rcc`)."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from evfsam.errors import ConfigurationError

_ZLIB, _DIRECTORY, _ZSTD = 1, 2, 4


def read_resources(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names with folders, and contents, of the files in a Qt resource file.

    Raises:
        ConfigurationError: it is no such file, or holds a file compressed with Zstandard.
    """
    data = path.read_bytes()
    if data[:4] != b"qres":
        raise ConfigurationError(f"{path}: expected a Qt resource file that begins with 'qres', got {data[:4]!r}")
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    size = 22 if version >= 2 else 14

    def entry_name(at: int) -> str:
        (length,) = struct.unpack_from(">H", data, names + at)
        start = names + at + 6
        return data[start : start + 2 * length].decode("utf-16-be")

    def walk(index: int, prefix: str) -> Iterator[tuple[str, bytes]]:
        name_at, flags = struct.unpack_from(">IH", data, tree + index * size)
        name = prefix + (entry_name(name_at) if index else "")
        if flags & _DIRECTORY:
            count, first = struct.unpack_from(">II", data, tree + index * size + 6)
            for child in range(first, first + count):
                yield from walk(child, name + "/" if name else "")
            return
        if flags & _ZSTD:
            raise ConfigurationError(f"{path}: {name} is compressed with Zstandard, which is not read here")
        (at,) = struct.unpack_from(">I", data, tree + index * size + 10)
        (length,) = struct.unpack_from(">I", data, contents + at)
        content = data[contents + at + 4 : contents + at + 4 + length]
        yield name, zlib.decompress(content[4:]) if flags & _ZLIB else content

    yield from walk(0, "")
