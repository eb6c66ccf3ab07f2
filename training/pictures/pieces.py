"""Cut-outs: which files of the sources show what, and how each becomes a picture with alpha.

`cutouts.json` says which: photographs and drawings by file, 3D models by file, emoji by code point, and objects in
whole photographs by a box, out of which GrabCut cuts them.
"""

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import resvg_py
from PIL import Image

from training.pictures.renders import Model, read_model, render
from training.pictures.sources import read_resources

_FILE: Final = Path(__file__).with_name("cutouts.json")

Kind = Literal["photograph", "render", "drawing"]
SIDES: Final[Mapping[Kind, int]] = {"photograph": 192, "render": 128, "drawing": 112}
"""Longest side of a cut-out in pixels; smaller pictures keep theirs."""
_VIEWS: Final = ((25.0, 14.0), (-40.0, 24.0), (70.0, 8.0), (-115.0, 18.0))
"""(azimuth, elevation) in degrees of the sides that a model is seen from."""
EMOJI_SOURCES: Final = ("fluent-3d", "fluent-flat", "noto", "twemoji", "openmoji")


@dataclass(frozen=True)
class Piece:
    """A cut-out to be made.

    Attributes:
        source: name of its source.
        path: of the file inside the source, or an emoji's code points.
        name: what it shows, a name of the vocabulary.
        kind: how it was made.
        part: which view of a model, or which box of a photograph; 0 otherwise.
        box: (x1, y1, x2, y2) in shares of the photograph, where the object is cut out of one.
    """

    source: str
    path: str
    name: str
    kind: Kind
    part: int = 0
    box: tuple[float, float, float, float] | None = None

    @property
    def key(self) -> str:
        """What no other piece has."""
        return f"{self.source}/{self.path}#{self.part}"

    @property
    def original(self) -> str:
        """What pieces made of one picture or one model have in common."""
        return f"{self.source}/{self.path}"


def read_pieces(path: Path = _FILE) -> list[Piece]:
    """All cut-outs that `cutouts.json` names, in its order."""
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    roots = data["roots"]
    pieces: list[Piece] = []
    kinds: tuple[tuple[str, Kind], ...] = (("photographs", "photograph"), ("drawings", "drawing"))
    for key, kind in kinds:
        for source, files in data[key].items():
            pieces += [Piece(source, roots[source] + file, name, kind) for file, name in files.items()]
    for source, files in data["models"].items():
        for file, name in files.items():
            pieces += [Piece(source, roots[source] + file, name, "render", part) for part in range(len(_VIEWS))]
    for source, files in data["boxes"].items():
        for file, objects in files.items():
            for part, (name, *box) in enumerate(objects):
                x1, y1, x2, y2 = box
                pieces.append(Piece(source, roots[source] + file, name, "photograph", part, (x1, y1, x2, y2)))
    for source in EMOJI_SOURCES:
        left_out = set(data["emoji_left_out"].get(source, ()))
        for name, codes in data["emoji"].items():
            pieces += [Piece(source, code, name, "drawing") for code in codes if code not in left_out]
    return pieces


def picture(piece: Piece, folder: Path) -> Image.Image | None:
    """Make a cut-out.

    Args:
        piece: which.
        folder: its source, unpacked.

    Returns:
        RGBA, cropped to what is opaque and scaled down, or None where an emoji source lacks the emoji.
    """
    if piece.kind == "render":
        made: Image.Image | None = render(_model(folder / piece.path), *_VIEWS[piece.part], SIDES["render"])
    elif piece.box is not None:
        made = _cut(open_picture(folder, piece.path), piece.box)
    elif piece.source in EMOJI_SOURCES:
        made = _emoji(piece.source, piece.path, folder)
    elif piece.path.endswith(".svg"):
        made = _drawn_svg((folder / piece.path).read_text(encoding="utf-8", errors="replace"))
    else:
        made = open_picture(folder, piece.path).convert("RGBA")
    return None if made is None else scaled(made, SIDES[piece.kind])


def scaled(image: Image.Image, side: int) -> Image.Image:
    """RGBA cropped to alpha over 1/8 and scaled to a longest side of at most `side` pixels, colours weighted."""
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > 32)).getbbox()
    image = image.crop(box) if box else image
    share = side / max(image.size)
    if share >= 1:
        return image
    size = tuple(max(1, round(length * share)) for length in image.size)
    return image.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def _model(path: Path) -> Model:
    return read_model(path)


@cache
def _resources(path: Path) -> Mapping[str, bytes]:
    return {name.rsplit("/resource/", 1)[-1]: content for name, content in read_resources(path)}


def open_picture(folder: Path, path: str) -> Image.Image:
    """Open a picture of a source; "NAME.rcc/FILE" is a file in a Qt resource file."""
    archive, _, inner = path.partition(".rcc/")
    if inner:
        return Image.open(io.BytesIO(_resources(folder / f"{archive}.rcc")[inner]))
    return Image.open(folder / path)


def _drawn_svg(text: str) -> Image.Image:
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=text, width=224)))).convert("RGBA")


def _spellings(code: str) -> Iterator[str]:
    yield code
    yield code.replace("-fe0f", "")
    yield code + "-fe0f"


def _emoji(source: str, code: str, folder: Path) -> Image.Image | None:
    for spelling in _spellings(code):
        if source == "fluent-3d" and (folder / f"package/assets/{spelling}.webp").is_file():
            return Image.open(folder / f"package/assets/{spelling}.webp").convert("RGBA")
        if source == "fluent-flat" and (folder / f"package/assets/{spelling}.svg").is_file():
            return _drawn_svg((folder / f"package/assets/{spelling}.svg").read_text(encoding="utf-8"))
        if source == "noto" and spelling.upper() in _noto(folder):
            return _drawn_svg(_noto(folder)[spelling.upper()])
        if source in ("twemoji", "openmoji") and spelling in _iconify(folder):
            return _drawn_svg(_iconify(folder)[spelling])
    return None


@cache
def _noto(folder: Path) -> Mapping[str, str]:
    """SVG texts by code points; the package has them as nested elements of one file."""
    text = (folder / "package/sprites/all.svg").read_text(encoding="utf-8")
    starts = list(re.finditer(r'<svg [^>]*\bid="([0-9A-F]{2,}(?:-[0-9A-F]+)*)"', text))
    ends = [start.start() for start in starts[1:]] + [text.rindex("</svg>")]
    prefix = '<svg xmlns:xlink="http://www.w3.org/1999/xlink" '
    parts = {start[1]: text[start.start() : end] for start, end in zip(starts, ends, strict=True)}
    return {code: part if "xmlns:xlink" in part else prefix + part[5:] for code, part in parts.items()}


@cache
def _iconify(folder: Path) -> Mapping[str, str]:
    """SVG texts by code points."""
    icons = json.loads((folder / "package/icons.json").read_text(encoding="utf-8"))
    characters = json.loads((folder / "package/chars.json").read_text(encoding="utf-8"))
    width, height = icons.get("width", 16), icons.get("height", 16)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {width} '
    bodies = {name: f'{head}{height}">{icon["body"]}</svg>' for name, icon in icons["icons"].items()}
    return {code: bodies[name] for code, name in characters.items() if name in bodies}


def _cut(photograph: Image.Image, box: tuple[float, float, float, float]) -> Image.Image:
    """Cut the object in a box out of a photograph: GrabCut, its largest part, the edge softened by a pixel."""
    image = photograph.convert("RGB")
    image.thumbnail((400, 400))
    pixels = np.ascontiguousarray(np.asarray(image)[..., ::-1])
    width, height = image.size
    x1, y1, x2, y2 = (round(v * length) for v, length in zip(box, (width, height) * 2, strict=True))
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    mask = np.full((height, width), cv2.GC_BGD, dtype=np.uint8)
    mask[y1:y2, x1:x2] = cv2.GC_PR_FGD
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(pixels, mask, None, *models, 5, cv2.GC_INIT_WITH_MASK)
    found = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found)
    if count > 1:
        found = (labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    alpha = cv2.GaussianBlur(cv2.erode(found * 255, np.ones((3, 3), np.uint8)), (0, 0), 1.0)
    cut = image.convert("RGBA")
    cut.putalpha(Image.fromarray(alpha))
    return cut
