"""Scenes: images with exact masks and referring expressions, drawn from a seed.

One source serves training, scoring and offline use. A scene puts two to seven sprites on a background; sprites vary in
scale, flip, rotation, colour and mild occlusion. What the expressions mean is written in `grammar.toml`.
Layout is drawn in shares of the image's side, so one seed gives the same scene at any size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evfsam.errors import ConfigurationError
from evfsam.types import BoxXyxy, RgbImage
from workbench.datasets.cutouts import Split
from workbench.datasets.expressions import Expression, describe
from workbench.datasets.phrasing import Wordings
from workbench.datasets.vocabulary import CATEGORIES, HUES

_SPRITES: Final = Path(__file__).with_name("sprites")
_BACKGROUNDS: Final = Path(__file__).with_name("backgrounds")

_SPLITS: Final[dict[Split, range]] = {
    "train": range(0, 10_000_000),
    "val": range(10_000_000, 10_100_000),
    "test": range(20_000_000, 20_100_000),
}

MIN_VISIBLE_SHARE: Final = 0.7
"""Of the extent of every object at least this share stays uncovered by the extents in front of it."""
_SMALL: Final = (0.20, 0.27)
_LARGE: Final = (0.30, 0.42)
_MAX_ROTATION_DEGREES: Final = 15.0


def split_seeds(split: Split) -> range:
    """Seeds reserved for a split; the ranges do not meet.

    Raises:
        ConfigurationError: `split` is not "train", "val" or "test".
    """
    if split not in _SPLITS:
        raise ConfigurationError(f"expected a split of scenes among {', '.join(_SPLITS)}, got {split!r}")
    return _SPLITS[split]


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One thing in a scene.

    Attributes:
        category: singular name.
        colour: colour word that it clearly has, painted or natural; None for a sprite in its natural colours.
        box: (x1, y1, x2, y2) pixels of its extent, what is hidden included; a composite's ends at the image's border.
        centre: (x, y) of that box as shares of the image's width and height.
        height: of that box as a share of the image's height.
        area: of that box as a share of the image's.
        mask: (H, W) bool, the pixels that show it.
    """

    category: str
    colour: str | None
    box: BoxXyxy
    centre: tuple[float, float]
    height: float
    area: float
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and everything there is to know about it.

    Attributes:
        seed: what it was drawn from.
        image: (H, W, 3) uint8 RGB.
        objects: from the back to the front.
        expressions: phrases with the objects they mean.
    """

    seed: int
    image: RgbImage
    objects: tuple[SceneObject, ...]
    expressions: tuple[Expression, ...]

    def mask(self, expression: Expression) -> NDArray[np.bool_]:
        """(H, W) bool: the visible pixels of the objects that the expression means."""
        mask = np.zeros(self.image.shape[:2], dtype=np.bool_)
        for index in expression.object_indices:
            mask |= self.objects[index].mask
        return mask


def scene(seed: int, size: int = 256, *, per_kind: int = 1, is_plain: bool = False) -> Scene:
    """Draw the scene of a seed; one of the split "train" has no wording that is held out of training.

    Args:
        seed: any non-negative number; see `split_seeds`.
        size: side of the square image in pixels, at least 32.
        per_kind: at most this many expressions of each kind.
        is_plain: whether to keep to wordings that training sees, without sentences around them, slips and capitals.

    Raises:
        ConfigurationError: `seed` is negative or `size` is under 32.
    """
    if seed < 0 or size < 32:
        raise ConfigurationError(f"expected a seed >= 0 and a size >= 32 pixels, got seed {seed} and size {size}")
    rng = np.random.default_rng(seed)
    image, objects = drawn_scene(rng, size)
    wordings: Wordings = "seen" if is_plain or seed in _SPLITS["train"] else "all"
    expressions = describe(objects, rng, per_kind=per_kind, wordings=wordings, is_plain=is_plain)
    return Scene(seed, image, objects, expressions)


def drawn_scene(rng: np.random.Generator, size: int) -> tuple[RgbImage, tuple[SceneObject, ...]]:
    """Draw a scene of which nothing has been said yet: its image (S, S, 3), and its objects from the back to the front.

    Args:
        rng: everything is drawn from it.
        size: side of the square image in pixels.
    """
    pixels, placed = scene_background(rng, size), scene_layout(rng)
    image, masks = drawn(pixels, placed)
    objects = []
    for item, mask in zip(placed, masks, strict=True):
        width, height = item.extent
        x, y = item.centre
        box = ((x - width / 2) * size, (y - height / 2) * size, (x + width / 2) * size, (y + height / 2) * size)
        area = (box[2] - box[0]) * (box[3] - box[1]) / size**2
        objects.append(SceneObject(item.category, item.colour, box, item.centre, height, area, mask))
    return image, tuple(objects)


@dataclass(frozen=True)
class PlacedSprite:
    """A sprite with its place: lengths are shares of the image's side, degrees counter-clockwise."""

    category: str
    colour: str | None
    side: float
    degrees: float
    is_flipped: bool
    centre: tuple[float, float]

    @property
    def extent(self) -> tuple[float, float]:
        """(width, height) of the drawn, rotated sprite."""
        width, height = _extent_at_unit_side(self.category, self.degrees)
        return width * self.side, height * self.side

    def render(self, size: int) -> NDArray[np.float32]:
        """Draw the sprite: (h, w, 4) float32, colours 0..255, alpha 0..1."""
        sprite = _turned(self.category, self.degrees, self.is_flipped)
        width, height = (max(1, round(length * size)) for length in self.extent)
        pixels = np.asarray(sprite.resize((width, height), Image.Resampling.BOX), dtype=np.float32)
        painted = pixels if self.colour is None else _paint(pixels, HUES[self.colour])
        return np.concatenate([painted[..., :3], painted[..., 3:] / 255], axis=-1)


def drawn(
    pixels: NDArray[np.float32], placed: Sequence[PlacedSprite]
) -> tuple[RgbImage, tuple[NDArray[np.bool_], ...]]:
    """Draw sprites on a background, back to front.

    Args:
        pixels: (S, S, 3) float32, 0..255; not changed.
        placed: the sprites.

    Returns:
        The image (S, S, 3), and for each sprite the pixels (S, S) that show it.
    """
    image, size = pixels.copy(), pixels.shape[0]
    visible: list[NDArray[np.bool_]] = []
    for item in placed:
        sprite = item.render(size)
        left, top = (round(item.centre[axis] * size - sprite.shape[1 - axis] / 2) for axis in (0, 1))
        alpha = _paste(image, sprite, left, top)
        for mask in visible:
            mask &= alpha < 0.5
        visible.append(alpha >= 0.5)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8), tuple(visible)


@cache
def _sprite(category: str) -> Image.Image:
    with Image.open(_SPRITES / f"{category}.webp") as file:
        return file.convert("RGBA")


@cache
def _photograph(name: str) -> NDArray[np.float32]:
    with Image.open(_BACKGROUNDS / f"{name}.jpg") as file:
        return np.asarray(file.convert("RGB"), dtype=np.float32)


@lru_cache(maxsize=4096)
def _turned(category: str, degrees: float, is_flipped: bool) -> Image.Image:
    sprite = _sprite(category)
    if is_flipped:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = sprite.rotate(degrees, Image.Resampling.BILINEAR, expand=True)
    return turned.crop(turned.getchannel("A").point(lambda a: 255 * (a > 127)).getbbox())


def _extent_at_unit_side(category: str, degrees: float) -> tuple[float, float]:
    turned = _turned(category, degrees, False)
    longest = max(_sprite(category).size)
    return turned.width / longest, turned.height / longest


def _paint(pixels: NDArray[np.float32], hue: float) -> NDArray[np.float32]:
    """Give every pixel one hue, more saturated than before, its lightness kept."""
    rgb = pixels[..., :3] / 255
    value, low = rgb.max(axis=-1), rgb.min(axis=-1)
    saturation = 0.5 + 0.45 * (value - low) / np.maximum(value, 1e-6)
    channels = [np.clip(abs((hue * 6 + shift) % 6 - 3) - 1, 0, 1) for shift in (0, 4, 2)]
    painted = value[..., None] * (1 - saturation[..., None] * (1 - np.array(channels, dtype=np.float32)))
    return np.concatenate([painted * 255, pixels[..., 3:]], axis=-1).astype(np.float32)


def _paste(image: NDArray[np.float32], sprite: NDArray[np.float32], left: int, top: int) -> NDArray[np.float32]:
    """Blend a sprite into the image; returns its (S, S) alpha."""
    size = image.shape[0]
    alpha = np.zeros((size, size), dtype=np.float32)
    height, width = sprite.shape[:2]
    y1, y2, x1, x2 = max(top, 0), min(top + height, size), max(left, 0), min(left + width, size)
    part = sprite[y1 - top : y2 - top, x1 - left : x2 - left]
    alpha[y1:y2, x1:x2] = part[..., 3]
    weight = part[..., 3:]
    image[y1:y2, x1:x2] = (1 - weight) * image[y1:y2, x1:x2] + weight * part[..., :3]
    return alpha


def scene_background(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """(S, S, 3) float32, 0..255: a gradient, a soft texture, a ground line or a crop of a photograph."""
    first, second = rng.uniform(70, 235, (2, 3)).astype(np.float32)
    second = first + 0.5 * (second - first)
    rows = np.linspace(0, 1, size, dtype=np.float32)
    kind = int(rng.integers(4))
    pixels: NDArray[np.float32]
    if kind == 0:
        angle = rng.uniform(0, 2 * np.pi)
        ramp = np.cos(angle) * (rows[None, :] - 0.5) + np.sin(angle) * (rows[:, None] - 0.5) + 0.5
        pixels = first + np.clip(ramp, 0, 1)[..., None].astype(np.float32) * (second - first)
    elif kind == 1:
        noise = rng.uniform(-1, 1, (int(rng.integers(4, 17)),) * 2).astype(np.float32)
        soft = np.asarray(Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC))
        pixels = np.clip(first + 35 * soft[..., None], 0, 255)
    elif kind == 2:
        horizon = rng.uniform(0.35, 0.75)
        shade = 1 - 0.25 * abs(rows - horizon)[:, None, None]
        ground = (rows >= horizon)[:, None, None]
        wide = np.where(ground, rng.uniform(60, 220, 3), first) * shade
        pixels = np.broadcast_to(wide, (size, size, 3)).astype(np.float32)
    else:
        pixels = 0.6 * _photograph_crop(rng, size) + 0.4 * first
    return pixels


def _photograph_crop(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    names = sorted(path.stem for path in _BACKGROUNDS.glob("*.jpg"))
    photograph = _photograph(names[int(rng.integers(len(names)))])
    side = int(rng.integers(120, photograph.shape[0] + 1))
    x, y = rng.integers(0, photograph.shape[0] - side + 1, 2)
    crop = Image.fromarray(photograph[y : y + side, x : x + side].astype(np.uint8)).resize((size, size))
    return np.asarray(crop, dtype=np.float32)


def _cast(rng: np.random.Generator) -> list[tuple[str, str | None, float]]:
    """Choose the objects: (category, colour or None, side)."""
    count_of_kinds = int(rng.integers(2, 5))
    categories = [str(name) for name in rng.choice(sorted(CATEGORIES), count_of_kinds, replace=False)]
    cast: list[tuple[str, str | None, float]] = []
    for position, category in enumerate(categories):
        shares = (0.15, 0.40, 0.40, 0.05) if position == 0 else (0.70, 0.25, 0.05, 0.0)
        copies = 1 + int(rng.choice(4, p=shares))
        is_painted = bool(rng.random() < 0.5)
        colours = rng.choice(sorted(HUES), copies, replace=False)
        sides = [rng.uniform(*(_SMALL if rng.random() < 0.5 else _LARGE)) for _ in range(copies)]
        cast += [(category, str(c) if is_painted else None, s) for c, s in zip(colours, sides, strict=True)]
    return cast[:7]


def scene_layout(rng: np.random.Generator) -> list[PlacedSprite]:
    """Place the cast, back to front, so that every object stays visible enough; what finds no place is left out."""
    placed: list[PlacedSprite] = []
    for category, colour, side in _cast(rng):
        degrees = round(rng.uniform(-_MAX_ROTATION_DEGREES, _MAX_ROTATION_DEGREES) / 3) * 3.0
        is_flipped = bool(rng.random() < 0.5)
        width, height = (side * length for length in _extent_at_unit_side(category, degrees))
        for _ in range(40):
            x = rng.uniform(width / 2, 1 - width / 2)
            y = rng.uniform(height / 2, 1 - height / 2)
            item = PlacedSprite(category, colour, side, degrees, is_flipped, (float(x), float(y)))
            if _is_everyone_visible([*placed, item]):
                placed.append(item)
                break
    return placed


def _overlap(a: PlacedSprite, b: PlacedSprite) -> float:
    sides = [
        min(a.centre[k] + a.extent[k] / 2, b.centre[k] + b.extent[k] / 2)
        - max(a.centre[k] - a.extent[k] / 2, b.centre[k] - b.extent[k] / 2)
        for k in (0, 1)
    ]
    return max(sides[0], 0.0) * max(sides[1], 0.0)


def _covered_share(behind: PlacedSprite, front: PlacedSprite) -> float:
    return _overlap(behind, front) / (behind.extent[0] * behind.extent[1])


def _is_everyone_visible(placed: list[PlacedSprite]) -> bool:
    """Whether what lies in front of each object covers little enough of its extent."""
    return all(
        sum(_covered_share(behind, front) for front in placed[k + 1 :]) < 1 - MIN_VISIBLE_SHARE
        for k, behind in enumerate(placed)
    )
