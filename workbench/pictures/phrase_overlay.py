"""The masks of several phrases in one picture: a colour each, and a number on each, which the page's list repeats."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from evfsam.errors import GeometryError
from evfsam.types import RgbImage
from workbench.metrics.masks import Mask
from workbench.pictures.colours import BLACK, WHITE, phrase_colour
from workbench.pictures.rendering import TINT, dimmed_around, outlined

_SMALLEST_LABEL: Final = 12


def phrase_overlay(image: RgbImage, masks: Sequence[Mask], *, is_rest_dimmed: bool = False) -> RgbImage:
    """Tint and outline each mask in its phrase's colour and write the phrase's number, from 1, inside it.

    Where masks overlap, the tints mix in their order; outlines and numbers are drawn after all tints.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        masks: (H, W) bool, one a phrase; empty ones leave no trace.
        is_rest_dimmed: whether what lies outside all of them is darkened, and each outline white on its outer side.

    Returns:
        (H, W, 3) uint8.

    Raises:
        GeometryError: a mask has another size than the image.
    """
    for mask in masks:
        if mask.shape != image.shape[:2]:
            raise GeometryError(
                "expected masks of the image's size {size}, got {shape}", size=image.shape[:2], shape=mask.shape
            )
    picture = dimmed_around(image, np.logical_or.reduce(masks)) if is_rest_dimmed else image.copy()
    for index, mask in enumerate(masks):
        colour = np.asarray(phrase_colour(index), dtype=np.float32)
        picture[mask] = np.rint(picture[mask] * (1 - TINT) + colour * TINT).astype(np.uint8)
    for index, mask in enumerate(masks):
        line = phrase_colour(index)
        picture = outlined(picture, mask, *((WHITE, line) if is_rest_dimmed else (line, BLACK)))
    return _numbered(picture, masks)


def _numbered(picture: RgbImage, masks: Sequence[Mask]) -> RgbImage:
    size = max(_SMALLEST_LABEL, round(max(picture.shape[:2]) / 28))
    font = ImageFont.load_default(size)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    for index, mask in enumerate(masks):
        if mask.any():
            x, y = _inner_pixel(mask)
            label = str(index + 1)
            left, top, right, bottom = draw.textbbox((x, y), label, font=font, anchor="mm")
            pad = size // 4
            box = (left - pad, top - pad, right + pad, bottom + pad)
            draw.rounded_rectangle(box, radius=pad, fill=BLACK, outline=phrase_colour(index), width=max(2, size // 10))
            draw.text((x, y), label, fill=WHITE, font=font, anchor="mm")
    return np.asarray(canvas)


def _inner_pixel(mask: Mask) -> tuple[float, float]:
    """Return the mask's pixel that is nearest to the mean of all of them, XY at its centre."""
    rows, columns = np.nonzero(mask)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return float(columns[nearest]) + 0.5, float(rows[nearest]) + 0.5
