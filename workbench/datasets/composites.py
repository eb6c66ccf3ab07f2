"""Composites: images with exact masks and referring expressions, put together from a seed.

What the suite is trained on next, and `photo-scenes`; the page still shows `scenes.py`, which the shipped weights
learnt from. A composite puts one to eight cut-outs on a background, from specks to objects larger than the image, cut
off by its border, in front of each other, and then spoils the picture as cameras and files do. What the expressions
mean is written in `grammar.toml`.
Layout is drawn in shares of the image's longest side, so one seed gives the same scene at any size.
"""

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from evfsam.errors import ConfigurationError
from evfsam.types import RgbImage
from workbench.datasets.cutouts import FETCHED, SHIPPED, Cutout, Library, Split, library
from workbench.datasets.expressions import Expression, describe
from workbench.datasets.phrasing import Wordings
from workbench.datasets.scenes import Scene, SceneObject, split_seeds
from workbench.datasets.vocabulary import COLOURS, GROUPS, NOUNS, Paint

_Box = tuple[float, float, float, float]
CompositeKind = Literal["scenes", "photo-scenes"]
"""Drawn cut-outs, or photographic cut-outs on photographs."""

MIN_VISIBLE_SHARE: Final = 0.6
"""Of the extent of every object inside the image, at least this share stays uncovered by the extents in front of it."""
MIN_INSIDE_SHARE: Final = 0.5
"""Of the extent of every object, at least this share lies inside the image."""
SIDES: Final = (0.08, 1.2)
"""Least and greatest longest side of an object, as a share of the image's longest side."""
MAX_OBJECTS: Final = 8
_MAX_ROTATION_DEGREES: Final = 21.0
_HARD: Final = [255 * (level > 127) for level in range(256)]
_SHADOW: Final = [level * 90 // 255 for level in range(256)]
"""Tables from alpha to alpha."""
_LEVELS: Final = np.arange(256) / 255
MIN_AREA: Final = 0.003
"""Of the square of the image's longest side, every object's extent inside the image has at least this share."""


def composite(
    seed: int,
    size: int = 256,
    *,
    per_kind: int = 1,
    is_plain: bool = False,
    kind: CompositeKind = "scenes",
    folder: Path = FETCHED,
) -> Scene:
    """Draw the composite of a seed; one of the split "train" has no wording that is held out of training.

    Args:
        seed: any non-negative number; see `split_seeds`. The seeds of a split show its pictures only.
        size: longest side of the image in pixels, at least 32.
        per_kind: at most this many expressions of each kind.
        is_plain: whether to keep to wordings that training sees, without sentences around them, slips and capitals.
        kind: drawn or photographic.
        folder: of the fetched pictures, which photographic ones are made of.

    Raises:
        ConfigurationError: `seed` is negative, `size` is under 32, or the pictures of this kind are not there.
    """
    if seed < 0 or size < 32:
        raise ConfigurationError(f"expected a seed >= 0 and a size >= 32 pixels, got seed {seed} and size {size}")
    rng = np.random.default_rng(seed)
    words = np.random.default_rng((seed, 1))  # of their own, so that they are the same at any size
    splits: tuple[Split, ...] = get_args(Split)
    split: Split = next((name for name in splits if seed in split_seeds(name)), "train")
    drawn = drawn_composite(rng, size, picture_library(kind, split, folder), is_photographic=kind == "photo-scenes")
    wordings: Wordings = "seen" if is_plain or split == "train" else "all"
    described = describe(drawn.objects, words, per_kind=per_kind, wordings=wordings, is_plain=is_plain)
    expressions = tuple(each for each in described if drawn.allows(each))
    return Scene(seed, drawn.image, drawn.objects, expressions)


def picture_library(kind: CompositeKind, split: Split, folder: Path = FETCHED) -> Library:
    """Return the pictures that the composites of a split are made of.

    Args:
        kind: drawn ones come with the project, photographs are fetched.
        split: whose pictures.
        folder: of the fetched pictures.

    Raises:
        ConfigurationError: they are not there.
    """
    if kind == "photo-scenes":
        return library(folder, (split,), ("photo",))
    return library(SHIPPED, (split,) if split == "test" else ("train",), ("drawn",))


@dataclass(frozen=True, eq=False)
class DrawnComposite:
    """An image of which nothing has been said yet.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        objects: from the back to the front.
        behind: names that the background shows by itself.
    """

    image: RgbImage
    objects: tuple[SceneObject, ...]
    behind: frozenset[str]

    def allows(self, expression: Expression) -> bool:
        """Whether an expression is true of the background too: what that shows cannot be called absent."""
        if expression.kind != "absent" or not self.behind:
            return True
        said = f" {expression.text.lower()} "
        return not any(word in said for name in self.behind for word in _words_for(name))


def drawn_composite(rng: np.random.Generator, size: int, pictures: Library, *, is_photographic: bool) -> DrawnComposite:
    """Draw an image and its objects.

    Args:
        rng: everything is drawn from it.
        size: longest side, pixels.
        pictures: what to draw with.
        is_photographic: whether every background is a photograph, and the picture is spoilt as much as files are.
    """
    frame = _frame(rng)
    placed = composite_layout(rng, pictures, frame)
    names = {item.cutout.name for item in placed}
    canvas, behind = composite_background(
        rng, pictures, _pixels(frame, size), is_photographic=is_photographic, without=names
    )
    shade = rng.random() < 0.35
    masks = draw_cutouts(
        canvas, placed, size, rng if is_photographic or rng.random() < 0.5 else None, shade=bool(shade)
    )
    image, is_grey = spoilt(canvas, rng, is_photographic=is_photographic)
    width, height = canvas.size
    objects = []
    for item, mask in zip(placed, masks, strict=True):
        x1, y1, x2, y2 = (edge * size for edge in item.inside(frame))
        box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        centre = ((box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height)
        colour = None if is_grey else item.colour_word
        area = _area(box) / (width * height)
        objects.append(SceneObject(item.cutout.name, colour, box, centre, (box[3] - box[1]) / height, area, mask))
    return DrawnComposite(image, tuple(objects), behind)


def described_layout(rng: np.random.Generator, pictures: Library) -> tuple[SceneObject, ...]:
    """Draw a layout alone: objects as expressions need them, with empty masks, at a hundredth of the time."""
    frame, nothing = _frame(rng), np.zeros((1, 1), dtype=np.bool_)
    objects = []
    for item in composite_layout(rng, pictures, frame):
        x1, y1, x2, y2 = item.inside(frame)
        centre = ((x1 + x2) / 2 / frame[0], (y1 + y2) / 2 / frame[1])
        height, area = (y2 - y1) / frame[1], (x2 - x1) * (y2 - y1) / (frame[0] * frame[1])
        objects.append(SceneObject(item.cutout.name, item.colour_word, (x1, y1, x2, y2), centre, height, area, nothing))
    return tuple(objects)


@dataclass(frozen=True)
class PlacedCutout:
    """A cut-out with its place: lengths are shares of the image's longest side, degrees counter-clockwise.

    Attributes:
        cutout: the picture.
        paint: colour word to paint it with, or None for its natural colours.
        side: longest side before it is turned.
        degrees, is_flipped: how it is turned.
        centre: (x, y) of its extent.
    """

    cutout: Cutout
    paint: str | None
    side: float
    degrees: float
    is_flipped: bool
    centre: tuple[float, float]

    @property
    def colour_word(self) -> str | None:
        """The colour it clearly has."""
        return self.paint or self.cutout.colour

    @cached_property
    def extent(self) -> tuple[float, float]:
        """(width, height) of the drawn, turned picture."""
        width, height = self.cutout.extent(-self.degrees if self.is_flipped else self.degrees)
        return width * self.side, height * self.side

    def inside(self, frame: tuple[float, float]) -> tuple[float, float, float, float]:
        """(x1, y1, x2, y2) of the part of its extent inside a frame (width, height)."""
        (x, y), (width, height) = self.centre, self.extent
        right, bottom = min(x + width / 2, frame[0]), min(y + height / 2, frame[1])
        return max(x - width / 2, 0.0), max(y - height / 2, 0.0), right, bottom

    def render(self, size: int) -> Image.Image:
        """Draw it: an RGBA picture cropped to its extent."""
        picture = self.cutout.image if self.paint is None else _painted(self.cutout, self.paint)
        scale = self.side * size / max(picture.size)
        width, height = (max(1, round(length * scale)) for length in picture.size)
        filters = Image.Resampling.BOX if scale < 0.7 else Image.Resampling.BICUBIC
        turned = picture.resize((width, height), filters)
        if self.is_flipped:
            turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.degrees:
            turned = turned.rotate(self.degrees, Image.Resampling.BILINEAR, expand=True)
            turned = turned.crop(turned.getchannel("A").point(_HARD).getbbox())
        return turned


def composite_layout(rng: np.random.Generator, pictures: Library, frame: tuple[float, float]) -> list[PlacedCutout]:
    """Place a cast, large objects behind small ones, so that all stay visible; what finds no place is left out."""
    placed: list[PlacedCutout] = []
    boxes: list[_Box] = []
    for cutout, paint, side in sorted(_cast(rng, pictures), key=lambda each: -each[2] * rng.uniform(0.6, 1)):
        degrees = 0.0 if rng.random() < 0.3 else round(rng.uniform(-1, 1) * _MAX_ROTATION_DEGREES / 3) * 3.0
        item = PlacedCutout(cutout, paint, side, degrees, bool(rng.random() < 0.5), (0.0, 0.0))
        for attempt in range(20):
            if attempt % 5 == 4:
                item = replace(item, side=item.side * 0.8)
            (width, height), (room_x, room_y) = item.extent, frame
            x, y = _place(rng, width, room_x), _place(rng, height, room_y)
            box = (
                max(x - width / 2, 0.0),
                max(y - height / 2, 0.0),
                min(x + width / 2, room_x),
                min(y + height / 2, room_y),
            )
            least = max(MIN_INSIDE_SHARE * width * height, MIN_AREA)
            if _area(box) >= least and _is_everyone_visible(boxes, box):
                placed.append(replace(item, centre=(x, y)))
                boxes.append(box)
                break
    return placed


def draw_cutouts(
    canvas: Image.Image,
    placed: Sequence[PlacedCutout],
    size: int,
    rng: np.random.Generator | None = None,
    *,
    shade: bool = False,
) -> tuple[NDArray[np.bool_], ...]:
    """Draw cut-outs on an RGB canvas, back to front, in place.

    Args:
        canvas: what to draw on.
        placed: the cut-outs.
        size: pixels that a length of 1 stands for.
        rng: varies each picture's light and edge; None leaves them as they are.
        shade: whether objects throw shadows.

    Returns:
        For each cut-out the pixels (H, W) that show it.
    """
    visible: list[NDArray[np.bool_]] = []
    for item in placed:
        picture = item.render(size)
        left, top = (
            round(centre * size - length / 2) for centre, length in zip(item.centre, picture.size, strict=True)
        )
        alpha = picture.getchannel("A")
        pixels = picture.convert("RGB")
        if rng is not None:
            pixels, alpha = _relit(pixels, rng), _edged(alpha, rng)
        if shade:
            _throw_shadow(canvas, alpha, left, top)
        canvas.paste(pixels, (left, top), alpha)
        shown = np.zeros(canvas.size[::-1], dtype=np.bool_)
        region = _paste_region(shown, np.asarray(alpha) >= 128, left, top)
        for mask in visible:
            mask[region] &= ~shown[region]
        visible.append(shown)
    return tuple(visible)


@lru_cache(maxsize=512)
def _painted(cutout: Cutout, paint: str) -> Image.Image:
    return painted(cutout.image, COLOURS[paint])


def painted(picture: Image.Image, colour: Paint) -> Image.Image:
    """Give an RGBA picture one colour, its shades kept."""
    hue, saturation, value = picture.convert("RGB").convert("HSV").split()
    if colour.hue is not None:
        hue = Image.new("L", picture.size, round(colour.hue * 255))
    channels = (hue, saturation.point(_ramp(*colour.saturation)), value.point(_ramp(*colour.value)))
    coloured = Image.merge("HSV", channels).convert("RGB")
    coloured.putalpha(picture.getchannel("A"))
    return coloured


@cache
def _ramp(base: float, gain: float) -> tuple[int, ...]:
    """Table from level to base + gain * level, cut off at both ends."""
    return tuple(int(min(max(255 * base + gain * level, 0), 255)) for level in range(256))


def composite_background(
    rng: np.random.Generator,
    pictures: Library,
    size: tuple[int, int],
    *,
    is_photographic: bool,
    without: Collection[str] = (),
) -> tuple[Image.Image, frozenset[str]]:
    """Draw an RGB canvas of (width, height): a photograph's part, or a gradient, a soft texture or a ground line.

    Returns:
        The canvas, and the names that it shows by itself, none of `without` among them.
    """
    kind = int(rng.integers(6))
    photograph = pictures.background(rng, without) if is_photographic or kind >= 3 else None
    if photograph is not None:
        return _part(rng, photograph.image, size), photograph.contains
    width, height = size
    first, second = rng.uniform(50, 240, (2, 3)).astype(np.float32)
    second = first + 0.5 * (second - first)
    rows, columns = np.linspace(0, 1, height, dtype=np.float32), np.linspace(0, 1, width, dtype=np.float32)
    if kind % 3 == 0:
        angle = rng.uniform(0, 2 * np.pi)
        ramp = np.cos(angle) * (columns[None, :] - 0.5) + np.sin(angle) * (rows[:, None] - 0.5) + 0.5
        pixels = first + np.clip(ramp, 0, 1)[..., None].astype(np.float32) * (second - first)
    elif kind % 3 == 1:
        noise = rng.uniform(-1, 1, (int(rng.integers(4, 17)),) * 2).astype(np.float32)
        soft = np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC))
        pixels = first + 35 * soft[..., None]
    else:
        horizon = rng.uniform(0.35, 0.75)
        shading = 1 - 0.25 * abs(rows - horizon)[:, None, None]
        wide = np.where((rows >= horizon)[:, None, None], rng.uniform(60, 220, 3), first) * shading
        pixels = np.broadcast_to(wide, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), frozenset()


def spoilt(canvas: Image.Image, rng: np.random.Generator, *, is_photographic: bool) -> tuple[RgbImage, bool]:
    """Spoil a picture as cameras and files do; returns its pixels and whether it has lost its colours."""
    share = 1.0 if is_photographic else 0.3
    chance = rng.random(6)
    is_grey = bool(chance[0] < share / 8)
    if chance[1] < 0.6 * share:
        for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            canvas = enhancer(canvas).enhance(float(rng.uniform(0.65, 1.4)))
    if is_grey:
        canvas = canvas.convert("L").convert("RGB")
    if chance[2] < 0.25 * share:
        canvas = canvas.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.0012, 0.006)) * max(canvas.size)))
    if chance[3] < 0.35 * share:
        file = io.BytesIO()
        canvas.save(file, "JPEG", quality=int(rng.integers(25, 90)))
        with Image.open(file) as compressed:
            canvas = compressed.convert("RGB")
    pixels = np.asarray(canvas)
    if chance[4] < 0.35 * share:
        noise = rng.integers(-128, 128, pixels.shape, dtype=np.int8).astype(np.float32) * rng.uniform(0.02, 0.16)
        pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels), is_grey


def _frame(rng: np.random.Generator) -> tuple[float, float]:
    """(width, height) whose longest is 1: square, or with an aspect up to 2:1 either way."""
    if rng.random() < 0.4:
        return 1.0, 1.0
    short = float(2 ** rng.uniform(-1, 0))
    return (1.0, short) if rng.random() < 0.6 else (short, 1.0)


def _pixels(frame: tuple[float, float], size: int) -> tuple[int, int]:
    return max(1, round(frame[0] * size)), max(1, round(frame[1] * size))


def _cast(rng: np.random.Generator, pictures: Library) -> list[tuple[Cutout, str | None, float]]:
    """Choose the objects: (cut-out, paint or None, side)."""
    names = _cast_names(rng, pictures.names)
    count = len(names)
    largest = SIDES[1] if count == 1 else min(SIDES[1], 1.5 / count**0.5)
    middle = rng.uniform(np.log(SIDES[0] * 1.5), np.log(largest))
    cast: list[tuple[Cutout, str | None, float]] = []
    for name in dict.fromkeys(names):
        copies = names.count(name)
        is_painted = bool(rng.random() < (0.4 if copies > 1 else 0.2))
        paints = rng.choice(sorted(COLOURS), copies, replace=False)
        shared = pictures.some(name, rng)
        for paint in paints:
            cutout = shared if rng.random() < 0.5 else pictures.some(name, rng)
            spread = 0.45 if rng.random() < 0.7 else 0.9
            side = float(np.exp(np.clip(rng.normal(middle, spread), np.log(SIDES[0]), np.log(largest))))
            cast.append((cutout, str(paint) if is_painted else None, side))
    return cast


def _cast_names(rng: np.random.Generator, known: Sequence[str]) -> list[str]:
    """Choose the objects' names, with repeats; now and then all from one group, so that group words mean several."""
    count = int(rng.choice(MAX_OBJECTS, p=(0.14, 0.16, 0.18, 0.17, 0.14, 0.10, 0.06, 0.05))) + 1
    kind_count = int(rng.integers(1, min(count, 5) + 1))
    pool = list(known)
    if rng.random() < 0.3:
        groups = NOUNS[pool[int(rng.integers(len(pool)))]].groups
        related = [name for name in pool if set(NOUNS[name].groups) & set(groups)]
        pool = related if len(related) >= kind_count else pool
    kind_count = min(kind_count, len(pool))
    kinds = [pool[int(i)] for i in rng.choice(len(pool), kind_count, replace=False)]
    names = kinds + [kinds[int(i)] for i in rng.integers(0, min(2, kind_count), count - kind_count)]
    return [name for i, name in enumerate(names) if names[:i].count(name) < 4]


def _place(rng: np.random.Generator, length: float, room: float) -> float:
    """Draw a centre: mostly where the object is whole, if it can be, else cut off by at most half."""
    slack = (1 - MIN_INSIDE_SHARE) * min(length, room)
    low, high = length / 2, room - length / 2
    if high < low or rng.random() < 0.22:
        low, high = (min(low, room / 2) - slack * 0.8, max(high, room / 2) + slack * 0.8)
    return float(rng.uniform(low, high))


def _area(box: _Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _overlap(a: _Box, b: _Box) -> float:
    return _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def _is_everyone_visible(boxes: Sequence[_Box], newest: _Box) -> bool:
    """Whether what lies in front of each object covers little enough of its extent; the newest lies before all."""
    return all(
        _overlap(behind, newest) + sum(_overlap(behind, front) for front in boxes[k + 1 :])
        < (1 - MIN_VISIBLE_SHARE) * _area(behind)
        for k, behind in enumerate(boxes)
    )


def _relit(pixels: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Change an object's own light a little."""
    gain, gamma = rng.uniform(0.75, 1.25), np.exp(rng.uniform(-0.35, 0.35))
    levels = 255 * gain * rng.uniform(0.93, 1.07, (3, 1)) * _LEVELS**gamma
    return pixels.point(np.minimum(levels, 255).astype(np.uint8).ravel().tolist())


def _edged(alpha: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Make an object's edge softer, harder or thinner, so that no one way of cutting out gives objects away."""
    kind = int(rng.integers(4))
    if kind == 1:
        return alpha.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.5))))
    if kind == 2:
        return alpha.point(_HARD)
    if kind == 3 and min(alpha.size) > 24:
        return alpha.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(0.6))
    return alpha


def _throw_shadow(canvas: Image.Image, alpha: Image.Image, left: int, top: int) -> None:
    """Darken what lies below and to the right of an object."""
    reach = max(1, round(0.04 * max(alpha.size)))
    shadow = alpha.point(_SHADOW).filter(ImageFilter.BoxBlur(reach))
    canvas.paste(Image.new("RGB", alpha.size), (left + reach, top + reach), shadow)


def _paste_region(target: NDArray[np.bool_], part: NDArray[np.bool_], left: int, top: int) -> tuple[slice, slice]:
    """Copy a part into an array where they meet; returns where that is."""
    height, width = target.shape
    y1, y2 = max(top, 0), max(min(top + part.shape[0], height), 0)
    x1, x2 = max(left, 0), max(min(left + part.shape[1], width), 0)
    y2, x2 = max(y1, y2), max(x1, x2)
    target[y1:y2, x1:x2] = part[y1 - top : y2 - top, x1 - left : x2 - left]
    return slice(y1, y2), slice(x1, x2)


@cache
def _words_for(name: str) -> tuple[str, ...]:
    """What a phrase may call a name, its groups included."""
    noun = NOUNS[name]
    return (name, noun.plural, *noun.synonyms, *noun.groups, *(GROUPS[group] for group in noun.groups))


def _part(rng: np.random.Generator, photograph: Image.Image, size: tuple[int, int]) -> Image.Image:
    share = float(rng.uniform(0.35, 1))
    scale = share * min(photograph.width / size[0], photograph.height / size[1])
    width, height = size[0] * scale, size[1] * scale
    x, y = rng.uniform(0, photograph.width - width), rng.uniform(0, photograph.height - height)
    part = photograph.resize(size, Image.Resampling.BILINEAR, box=(x, y, x + width, y + height))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part
