"""What the steps of an answer are shown with: P(yes) at every point that was asked about, and SAM's candidates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isqrt
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from evfsam.geometry import upsample_logits
from evfsam.types import BoxXyxy, MaskPrediction, PromptPoint, RgbImage, SamPrompt
from workbench.metrics.masks import Mask
from workbench.pictures.colours import BLACK, WHITE, probability_colour

_SIDE: Final = 720
"""The picture's longest side in pixels, so that a number fits into each point."""
_MARGIN: Final = 0.08
_BRIGHT: Final = 380
"""Above this sum of red, green and blue, ink is black."""


def asked_points(prompt: SamPrompt) -> tuple[PromptPoint, ...]:
    """Return the points with a P(yes), row by row from the top left."""
    asked = [point for point in prompt.points if point.p_yes is not None]
    return tuple(sorted(asked, key=lambda point: (round(point.y, 1), point.x)))


def rows_of(points: Sequence[PromptPoint]) -> tuple[tuple[PromptPoint, ...], ...]:
    """Split points sorted by `asked_points` into the rows of their square grid; one row where they make no square."""
    side = isqrt(len(points))
    width = side if side * side == len(points) and side else max(1, len(points))
    return tuple(tuple(points[start : start + width]) for start in range(0, len(points), width))


def probability_picture(image: RgbImage, prompt: SamPrompt) -> RgbImage:
    """Draw the box of a prompt, large, with P(yes) in percent in every point: blue probably on, orange probably off.

    Points that SAM was given are filled and ringed in white; those that were dropped are dark within.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        prompt: with at least one point that has a P(yes).

    Returns:
        (h, w, 3) uint8, the surroundings of box and points, enlarged or shrunk to a longest side of 720.
    """
    points = asked_points(prompt)
    left, top, right, bottom = _surroundings(image.shape[:2], points, prompt.box)
    scale = _SIDE / max(right - left, bottom - top)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    picture = Image.fromarray(image[top:bottom, left:right]).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    if prompt.box is not None:
        x1, y1, x2, y2 = prompt.box
        corners = ((x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale - 1, (y2 - top) * scale - 1)
        draw.rectangle(corners, outline=BLACK, width=5)
        draw.rectangle(corners, outline=WHITE, width=2)
    places = [((point.x - left) * scale, (point.y - top) * scale) for point in points]
    radius = _radius(places)
    font = ImageFont.load_default(max(9, round(radius * 0.8)))
    for point, (x, y) in zip(points, places, strict=True):
        _draw_point(draw, point, (x, y), radius, font)
    return np.asarray(picture)


def _draw_point(
    draw: ImageDraw.ImageDraw,
    point: PromptPoint,
    place: tuple[float, float],
    radius: float,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    x, y = place
    p_yes = point.p_yes or 0.0
    colour = probability_colour(p_yes)
    around = (x - radius, y - radius, x + radius, y + radius)
    if point.is_kept:
        draw.ellipse(around, fill=colour, outline=WHITE, width=3)
    else:
        draw.ellipse(around, fill=(40, 40, 40), outline=colour, width=5)
    ink = BLACK if point.is_kept and sum(colour) > _BRIGHT else WHITE
    draw.text((x, y), f"{100 * p_yes:.0f}", fill=ink, font=font, anchor="mm")


def _surroundings(
    size: tuple[int, ...], points: Sequence[PromptPoint], box: BoxXyxy | None
) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of what is drawn: box and points with a margin, within the image."""
    x1, y1, x2, y2 = box or (float("inf"), float("inf"), float("-inf"), float("-inf"))
    x1, x2 = min(x1, *(p.x for p in points)), max(x2, *(p.x for p in points))
    y1, y2 = min(y1, *(p.y for p in points)), max(y2, *(p.y for p in points))
    margin = max(2.0, _MARGIN * max(x2 - x1, y2 - y1))
    left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
    right, bottom = min(size[1], int(np.ceil(x2 + margin))), min(size[0], int(np.ceil(y2 + margin)))
    return min(left, size[1] - 1), min(top, size[0] - 1), max(right, left + 1), max(bottom, top + 1)


def _radius(places: Sequence[tuple[float, float]]) -> float:
    """Return a radius at which neighbours do not touch."""
    if len(places) < 2:
        return _SIDE / 24
    array = np.array(places)
    gaps = np.linalg.norm(array[:, None] - array[None], axis=-1)
    gaps[gaps == 0] = np.inf
    return float(np.clip(gaps.min() * 0.42, 6, _SIDE / 24))


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of the masks that the decoder offered.

    Attributes:
        number: from 1, in the decoder's order.
        mask: (h, w) bool at the size asked for.
        pred_iou: SAM's own guess of its IoU; not clamped to [0, 1].
        is_chosen: whether it has the highest guess.
    """

    number: int
    mask: Mask
    pred_iou: float
    is_chosen: bool


def candidates_of(prediction: MaskPrediction, size: tuple[int, int]) -> tuple[Candidate, ...]:
    """Bring every candidate to an image's size for showing.

    Args:
        prediction: the decoder's answer to one prompt.
        size: (h, w) with the original image's aspect.

    Source: SAM, arXiv:2304.02643, section 3 (resolving ambiguity): three masks and a guess of the IoU of each.
    """
    logits = prediction.low_res_logits.detach().float().cpu()[None]
    frame = replace(prediction.frame, original_size=size)
    masks: list[Mask] = [np.asarray(mask) for mask in (upsample_logits(logits, frame)[0] > 0).numpy()]
    return tuple(
        Candidate(index + 1, mask, float(prediction.pred_ious[index]), index == prediction.chosen)
        for index, mask in enumerate(masks)
    )
