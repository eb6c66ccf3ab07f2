"""Cut-outs and backgrounds: the pictures that composites are put together from.

Two folders hold them. `SHIPPED` comes with the project: drawings, some held out for testing, and some backgrounds. The
other is fetched by `python -m training data` and holds photographs too. Both are a list, `index.json`, of pictures with
name, style, split and colour, beside the files.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from PIL import Image

from evfsam.errors import ConfigurationError

Split = Literal["train", "val", "test"]
Style = Literal["drawn", "render", "photo"]

STYLES: Final[tuple[Style, ...]] = get_args(Style)

SHIPPED: Final = Path(__file__).with_name("pictures")
FETCHED: Final = Path("training-cache/pictures")
"""Where `python -m training data` puts its pictures, unless it is told another folder."""
INDEX_NAME: Final = "index.json"
_HARD: Final = [255 * (level > 127) for level in range(256)]


@dataclass(frozen=True)
class Cutout:
    """One object with nothing around it.

    Attributes:
        path: RGBA file, cropped to what shows.
        name: a name of the vocabulary.
        style: drawn, computed from a solid model, or photographed.
        split: who may see it.
        colour: colour word that it clearly has, or None.
    """

    path: Path
    name: str
    style: Style
    split: Split
    colour: str | None

    @property
    def image(self) -> Image.Image:
        """The RGBA picture; not to be written to."""
        return _opened(self.path, "RGBA")

    @cached_property
    def alpha(self) -> Image.Image:
        """The alpha at 64 pixels of longest side, from which extents are measured."""
        channel = self.image.getchannel("A")
        channel.thumbnail((64, 64), Image.Resampling.BOX)
        return channel

    def extent(self, degrees: float) -> tuple[float, float]:
        """(width, height) of the picture turned by `degrees`, where its longest side at 0 degrees is 1."""
        return _extent(self, degrees)


@dataclass(frozen=True)
class Background:
    """A photograph to put objects on.

    Attributes:
        path: RGB file.
        split: who may see it.
        contains: names of the vocabulary that it shows itself.
    """

    path: Path
    split: Split
    contains: frozenset[str] = frozenset()

    @property
    def image(self) -> Image.Image:
        """The RGB picture; not to be written to."""
        return _opened(self.path, "RGB")


@dataclass(frozen=True)
class Library:
    """The pictures that one kind of scene is made of.

    Attributes:
        cutouts: by name; every name has one at least.
        backgrounds: photographs.
    """

    cutouts: Mapping[str, Sequence[Cutout]]
    backgrounds: Sequence[Background]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name there is a picture of."""
        return tuple(sorted(self.cutouts))

    def background(self, rng: np.random.Generator, without: Collection[str]) -> "Background | None":
        """Choose a photograph that shows none of some names itself; None where there is none."""
        usable = [each for each in self.backgrounds if each.contains.isdisjoint(without)]
        return usable[int(rng.integers(len(usable)))] if usable else None

    def some(self, name: str, rng: np.random.Generator) -> Cutout:
        """Choose a picture of a name, photographs and drawings equally often where there are both."""
        pictures = self.cutouts[name]
        styles = sorted({each.style for each in pictures})
        if len(styles) > 1:
            wanted = styles[int(rng.integers(len(styles)))]
            pictures = [each for each in pictures if each.style == wanted]
        return pictures[int(rng.integers(len(pictures)))]


@cache
def library(folder: Path, splits: tuple[Split, ...], styles: tuple[Style, ...]) -> Library:
    """Read the pictures of some splits and styles.

    Args:
        folder: holds `index.json`.
        splits: where a name has pictures in several, the first of these that has any is taken alone for testing.
        styles: what may be in it.

    Raises:
        ConfigurationError: the folder has no index, or it cannot be read.
    """
    path = folder / INDEX_NAME
    try:
        index = json.loads(path.read_text())
    except FileNotFoundError as err:
        raise ConfigurationError(
            f"expected pictures for scenes in {folder}, but there is no {path.name}; fetch them with "
            f"`python -m training data`, or name the folder that has them"
        ) from err
    except (OSError, ValueError) as err:
        raise ConfigurationError(f"expected a list of pictures in {path}, but it cannot be read: {err}") from err
    cutouts: dict[str, list[Cutout]] = {}
    for each in index["cutouts"]:
        style = "render" if each.get("kind") == "render" else each["style"]
        if each["split"] in splits and style in styles:
            cutout = Cutout(folder / each["file"], each["name"], style, each["split"], each["colour"])
            cutouts.setdefault(cutout.name, []).append(cutout)
    backgrounds = [
        Background(folder / each["file"], each["split"], frozenset(each.get("contains", ())))
        for each in index["backgrounds"]
    ]
    usable = [each for each in backgrounds if each.split in splits] or backgrounds
    return Library({name: tuple(of_name) for name, of_name in cutouts.items()}, tuple(usable))


@cache
def _opened(path: Path, mode: str) -> Image.Image:
    with Image.open(path) as file:
        return file.convert(mode)


@cache
def _extent(cutout: Cutout, degrees: float) -> tuple[float, float]:
    alpha = cutout.alpha
    turned = alpha.rotate(degrees, Image.Resampling.BILINEAR, expand=True) if degrees else alpha
    left, top, right, bottom = turned.point(_HARD).getbbox() or (0, 0, *turned.size)
    longest = max(alpha.size)
    return (right - left) / longest, (bottom - top) / longest
