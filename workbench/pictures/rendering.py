"""Pictures of masks, evidence and attention: pure functions from arrays to new RGB arrays."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from evfsam.attention import to_image
from evfsam.errors import GeometryError
from evfsam.types import BoxXyxy, PromptPoint, RgbImage, SamPrompt, Segmentation
from workbench.metrics.masks import Mask, contour
from workbench.pictures.colours import (
    BLACK,
    BLUE,
    HEAT_STOPS,
    VERMILION,
    WHITE,
    Colour,
    probability_colour,
    ramp,
    strategy_colour,
)
from workbench.pictures.shown_pictures import shown_pair

TINT: Final = 0.45
"""How much of the strategy's colour a masked pixel takes."""

LIT_TINT: Final = 0.15
"""The same where the rest of the picture is dimmed: the mask stands out without it."""
DIMMED: Final = 0.4
"""What is left of the brightness outside: dark enough that a white line shows beside any of its pixels."""

Scale = tuple[float, float]
"""Pixels of a shown picture a pixel of the image, along x and along y."""

HEAT_SHARES: Final = (0.35, 0.45)
"""How much of a heat map's colour a pixel takes where the heat is 0, and how much more where it is 1."""
_HEAT_LEVELS: Final = 1024


def overlay(
    image: RgbImage, mask: Mask, key: str, *, is_labelled: bool = True, is_rest_dimmed: bool = False
) -> RgbImage:
    """Tint the mask in the strategy's colour, outline it, and write the strategy's key on it.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        mask: (H, W) bool.
        key: the strategy's, for colour and label.
        is_labelled: whether the key is written in the upper left corner.
        is_rest_dimmed: whether what lies outside is darkened, and the outline white on its outer side.

    Returns:
        (H, W, 3) uint8; outside mask, outline and label the image's own pixels, unless the rest is dimmed.

    Raises:
        GeometryError: the mask has another size than the image.
    """
    _check_size(image, mask)
    picture = dimmed_around(image, mask) if is_rest_dimmed else image.copy()
    tint = LIT_TINT if is_rest_dimmed else TINT
    colour = np.asarray(strategy_colour(key), dtype=np.float32)
    picture[mask] = np.rint(image[mask] * (1 - tint) + colour * tint).astype(np.uint8)
    lines = (WHITE, strategy_colour(key)) if is_rest_dimmed else (strategy_colour(key), BLACK)
    picture = outlined(picture, mask, *lines)
    return _labelled(picture, key) if is_labelled else picture


def dimmed_around(image: RgbImage, mask: Mask) -> RgbImage:
    """Return a copy that is darker outside the mask; as it is where the mask is empty."""
    if not mask.any():
        return image.copy()
    return np.where(mask[..., None], image, np.rint(image * np.float32(DIMMED)).astype(np.uint8))


def evidence(image: RgbImage, segmentation: Segmentation, key: str) -> RgbImage:
    """Draw what SAM was given: boxes, and points coloured by P(yes), kept ones filled and ringed, dropped ones hollow.

    Inside a kept dot stands + for a point on the object and - for one off it. Points nobody was asked about are
    blue on the object and vermilion off it. The mask is outlined.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        segmentation: the strategy's answer for this image.
        key: the strategy's, for colour and label.

    Returns:
        (h, w, 3) uint8 at the size the page shows: see `pictures.shown_pictures.shown_pair`.

    Raises:
        GeometryError: the segmentation's mask has another size than the image.
    """
    mask = segmentation.mask
    _check_size(image, mask)
    shown, shown_mask = shown_pair(image, mask)
    factor = shown.shape[1] / image.shape[1], shown.shape[0] / image.shape[0]
    picture = Image.fromarray(outlined(shown.copy(), shown_mask, strategy_colour(key)))
    draw_prompts(ImageDraw.Draw(picture), segmentation.prompts, factor, shown_mask.shape, strategy_colour(key))
    return _labelled(np.asarray(picture), key)


def draw_prompts(
    draw: ImageDraw.ImageDraw, prompts: Sequence[SamPrompt], factor: Scale, size: tuple[int, ...], colour: Colour
) -> None:
    """Draw boxes and points as `evidence` does.

    Args:
        draw: of the picture that is drawn on.
        prompts: in pixels of the image.
        factor: pixels of the picture a pixel of the image.
        size: (h, w) of the picture.
        colour: of the boxes.
    """
    for prompt in prompts:
        if prompt.box is not None:
            _draw_box(draw, prompt.box, factor, _line_width(size), colour)
        radius = _dot_radius(prompt.points, factor, size)
        for point in prompt.points:
            _draw_point(draw, point, factor, radius)


def heat_map(
    image: RgbImage,
    attention_map: NDArray[np.floating],
    mask: Mask | None = None,
    *,
    peak: float | None = None,
    is_smooth: bool = True,
) -> RgbImage:
    """Lay an attention map over the greyscale image, the strongest place brightest; outline the mask if there is one.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        attention_map: (h, w) of any size, stretched over the image; scaled so that its maximum is 1. Values below 0
            and values that are no numbers count as 0.
        mask: (H, W) bool.
        peak: the value that is drawn brightest, for maps that are compared; by default the map's own maximum.
        is_smooth: whether values run into each other between the patches' centres; else each patch is a rectangle.

    Returns:
        (H, W, 3) uint8.

    Raises:
        GeometryError: the map is not two-dimensional, or the mask has another size than the image.
    """
    if attention_map.ndim != 2 or 0 in attention_map.shape:
        raise GeometryError(
            "expected an attention map (h, w), got {shape}; pick one head or sum them", shape=attention_map.shape
        )
    heat = np.where(np.isfinite(attention_map), attention_map, 0).clip(min=0).astype(np.float32)
    brightest = float(heat.max()) if peak is None else peak
    if brightest > 0:
        heat /= brightest
    height, width = image.shape[:2]
    if heat.shape != (height, width):
        heat = to_image(heat, (height, width)) if is_smooth else _as_rectangles(heat, (height, width))
    picture = _blended(np.asarray(Image.fromarray(image).convert("L")), heat)
    if mask is None:
        return picture
    _check_size(image, mask)
    return outlined(picture, mask, WHITE)


def _as_rectangles(heat: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(heat).resize((size[1], size[0]), Image.Resampling.NEAREST))


def _blended(grey: NDArray[np.uint8], heat: NDArray[np.floating]) -> RgbImage:
    """Blend heat in [0, 1] over grey, both (H, W), through a table and channel by channel: images may be large."""
    levels = np.rint(np.clip(heat, 0, 1) * (_HEAT_LEVELS - 1)).astype(np.uint16)
    scale = np.linspace(0, 1, _HEAT_LEVELS, dtype=np.float32)
    share = HEAT_SHARES[0] + HEAT_SHARES[1] * scale
    colours = ramp(scale, HEAT_STOPS) * share[:, None]
    background = grey * (1 - share)[levels]
    picture = np.empty((*grey.shape, 3), dtype=np.uint8)
    for channel in range(3):
        picture[..., channel] = np.rint(background + colours[:, channel][levels])
    return picture


def dashed_outline(mask: Mask) -> NDArray[np.uint8]:
    """Draw a mask's border alone, in white and black dashes that show on any picture.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W, 4) uint8 RGBA; transparent but for the border.
    """
    height, width = mask.shape
    border = contour(mask, 2 * _line_width(mask.shape))
    rows, columns = np.indices((height, width))
    is_light = (rows + columns) // (4 * _line_width(mask.shape)) % 2 == 0
    picture = np.zeros((height, width, 4), dtype=np.uint8)
    picture[border & is_light] = 255
    picture[border & ~is_light, 3] = 255
    return picture


def outlined(
    picture: NDArray[np.uint8], mask: Mask, colour: Sequence[int], inner: Sequence[int] = BLACK
) -> NDArray[np.uint8]:
    """Draw the mask's border into `picture`: a colour, then another within, so that one of the two shows anywhere."""
    if not mask.any():
        return picture
    width = _line_width(picture.shape)
    border = contour(mask, width)
    picture[contour(mask & ~border, width)] = inner
    picture[border] = colour
    return picture


def _labelled(picture: RgbImage, text: str) -> RgbImage:
    size = max(11, round(max(picture.shape[:2]) / 32))
    font = ImageFont.load_default(size)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    margin = size // 3
    left, _, right, bottom = draw.textbbox((margin, margin), text, font=font)
    draw.rectangle((0, 0, right + margin, bottom + margin), fill=BLACK)
    draw.rectangle((0, 0, left - 2, bottom + margin), fill=strategy_colour(text))
    draw.text((margin, margin), text, fill=WHITE, font=font)
    return np.asarray(canvas)


def _draw_box(draw: ImageDraw.ImageDraw, box: BoxXyxy, factor: Scale, width: int, colour: Colour) -> None:
    x1, y1, x2, y2 = (round(side * scale) for side, scale in zip(box, (*factor, *factor), strict=True))
    corners = (min(x1, x2), min(y1, y2), max(x1, x2) - 1, max(y1, y2) - 1)
    corners = (*corners[:2], max(corners[0], corners[2]), max(corners[1], corners[3]))
    draw.rectangle(corners, outline=BLACK, width=width + 2)
    draw.rectangle(corners, outline=colour, width=width)


def _draw_point(draw: ImageDraw.ImageDraw, point: PromptPoint, factor: Scale, radius: float) -> None:
    x, y = point.x * factor[0], point.y * factor[1]
    colour = BLUE if point.label == 1 else VERMILION
    if point.p_yes is not None:
        colour = probability_colour(point.p_yes)
    if not point.is_kept:
        _circle(draw, x, y, radius, outline=BLACK, width=4)
        _circle(draw, x, y, radius - 1, outline=colour, width=2)
        return
    _circle(draw, x, y, radius + 2, fill=BLACK)
    _circle(draw, x, y, radius + 1, fill=WHITE)
    _circle(draw, x, y, radius - 1, fill=colour)
    arm, ink = radius * 0.5, BLACK if sum(colour) > 380 else WHITE
    draw.line((x - arm, y, x + arm, y), fill=ink, width=2)
    if point.label == 1:
        draw.line((x, y - arm, x, y + arm), fill=ink, width=2)


def _circle(
    draw: ImageDraw.ImageDraw,
    x: float,
    y: float,
    radius: float,
    *,
    fill: Colour | None = None,
    outline: Colour | None = None,
    width: int = 1,
) -> None:
    radius = max(radius, 1)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill, outline=outline, width=width)


def _dot_radius(points: tuple[PromptPoint, ...], factor: Scale, shape: tuple[int, ...]) -> float:
    """Return a radius at which neighbouring dots do not touch, as far as dots stay visible."""
    wanted = max(shape[:2]) / 70
    if len(points) < 2:
        return wanted
    places = np.array([(point.x, point.y) for point in points]) * factor
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)
    gaps[gaps == 0] = np.inf
    return float(np.clip(gaps.min() * 0.42, 3, wanted))


def _line_width(shape: tuple[int, ...]) -> int:
    return max(1, round(max(shape[:2]) / 400))


def _check_size(image: RgbImage, mask: Mask) -> None:
    if mask.shape != image.shape[:2]:
        raise GeometryError(
            "expected a mask of the image's size {size}, got {shape}; masks and images are drawn at the original size",
            size=image.shape[:2],
            shape=mask.shape,
        )
