"""The figures of one answer at the size the page shows, for the page and for files alike: mask, evidence, attention."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from evfsam.attention import cls_to_image
from evfsam.errors import GeometryError
from evfsam.types import RgbImage, Segmentation
from workbench.comparison import StrategyResult
from workbench.metrics.masks import Mask
from workbench.pictures.colours import BLACK, WHITE, phrase_colour
from workbench.pictures.rendering import TINT, dimmed_around, evidence, heat_map, outlined, overlay
from workbench.pictures.shown_pictures import shown_pair

_SMALLEST_LABEL: Final = 12


def mask_figure(image: RgbImage, result: StrategyResult) -> RgbImage:
    """Draw the answer's mask over the image, the rest darkened; of several phrases, each in a colour of its own.

    Args:
        image: (H, W, 3) uint8 RGB that was asked about.
        result: one strategy's.

    Returns:
        (h, w, 3) uint8 at the size of `pictures.shown_pictures.shown_pair`.
    """
    if not result.answers:
        return overlay(*shown_pair(image, result.segmentation.mask), result.key, is_rest_dimmed=True)
    pairs = [shown_pair(image, answer.segmentation.mask) for answer in result.answers]
    return phrase_overlay(pairs[0][0], [mask for _, mask in pairs], is_rest_dimmed=True)


def evidence_figure(image: RgbImage, result: StrategyResult) -> RgbImage | None:
    """Draw the box and the points that SAM was given; None where it got neither, and the mask's figure says it all.

    Args:
        image: (H, W, 3) uint8 RGB that was asked about.
        result: one strategy's.

    Returns:
        As `mask_figure`, or None.
    """
    if not any(prompt.box is not None or prompt.points for prompt in result.segmentation.prompts):
        return None
    return evidence(image, result.segmentation, result.key)


def certainty_figure(image: RgbImage, segmentation: Segmentation) -> RgbImage:
    """Draw how probable the decoder held each pixel, the logits' sigmoid, with the mask's outline.

    Args:
        image: (H, W, 3) uint8 RGB that was asked about.
        segmentation: an answer with a mask.

    Returns:
        As `mask_figure`.
    """
    picture, mask = shown_pair(image, segmentation.mask)
    step = max(1, max(segmentation.size) // max(picture.shape[:2]))
    logits = segmentation.mask_logits[::step, ::step].float()
    return heat_map(picture, logits.sigmoid().cpu().numpy(), mask, peak=1.0)


def attention_overlay(image: RgbImage, segmentation: Segmentation) -> RgbImage:
    """Draw where [CLS] looked in the last layer, all heads summed, with the mask's outline.

    Args:
        image: (H, W, 3) uint8 RGB that was asked about.
        segmentation: an answer with attention.

    Returns:
        As `mask_figure`.
    """
    assert segmentation.attention is not None
    picture, mask = shown_pair(image, segmentation.mask)
    return heat_map(picture, cls_to_image(segmentation.attention), mask)


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
