"""A second look at what a person marked: the part of the picture around it, as large as the encoder's square.

A small SAM sees a picture of 12 megapixels as 288 x 288 pixels, and a thing a tenth as wide as 29. Published models are
asked once, as published.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional as F

from evfsam.geometry import BoxXyxy, Frame
from evfsam.sam.backbone import BaseMaskBackbone
from evfsam.types import MaskPrediction, PromptPoint, RgbImage, SamPrompt

MARGIN: Final = 0.4
"""What is seen around the marked thing on each side, as a share of its longer side."""
LARGEST: Final = 0.7
"""Longer side of a region from which on the first look was as good, as a share of the image's."""
LEAST: Final = 64
"""Longer side of a region, pixels: below, there is nothing to see closer."""
MOST_ENLARGED: Final = 6
"""Of the grid of logits; bounds memory."""


@dataclass(frozen=True)
class Region:
    """A part of an image, in whole pixels.

    Attributes:
        left, top, right, bottom: its edges.
    """

    left: int
    top: int
    right: int
    bottom: int

    def of(self, image: RgbImage) -> RgbImage:
        """(h, w, 3) uint8: the pixels inside."""
        return np.ascontiguousarray(image[self.top : self.bottom, self.left : self.right])

    def prompt(self, prompt: SamPrompt) -> SamPrompt:
        """Return a prompt as the region shows it: what lies outside is left out, the box is cut off."""
        width, height = self.right - self.left, self.bottom - self.top
        points = tuple(
            replace(point, x=point.x - self.left, y=point.y - self.top)
            for point in prompt.points
            if self.left <= point.x <= self.right and self.top <= point.y <= self.bottom
        )
        if prompt.box is None:
            return replace(prompt, points=points)
        x1, y1, x2, y2 = prompt.box
        box = max(x1 - self.left, 0), max(y1 - self.top, 0), min(x2 - self.left, width), min(y2 - self.top, height)
        return replace(prompt, box=box, points=points)


def look_closer(
    backbone: BaseMaskBackbone[Any, Any],
    image: RgbImage,
    prompts: Sequence[SamPrompt],
    predictions: Sequence[MaskPrediction],
    *,
    multimask: bool,
) -> tuple[list[MaskPrediction], list[Region | None]]:
    """Ask again about regions that are small in the image.

    Args:
        backbone: that answered first.
        image: (H, W, 3) uint8.
        prompts: with a box, points or both, original pixels.
        predictions: the first answers, one a prompt.
        multimask: as the first were asked.

    Returns:
        The answers, the first where there is nothing to see closer, and where was looked, None there.
    """
    answers, regions = list(predictions), [region_around(*pair) for pair in zip(prompts, predictions, strict=True)]
    embeddings = {region: backbone.encode_image(region.of(image)) for region in {*regions} if region is not None}
    for index, region in enumerate(regions):
        if region is not None:
            closer = backbone.decode(embeddings[region], region.prompt(prompts[index]), multimask=multimask)
            answers[index] = in_whole_image(closer, region, predictions[index].frame)
    return answers, regions


def region_around(prompt: SamPrompt, prediction: MaskPrediction) -> Region | None:
    """Return what to look at: around the box, or without one around the first mask, and around the points on it.

    None where that is most of the image.
    """
    height, width = prediction.size
    bounds = _bounds(prompt, prediction)
    if bounds is None:
        return None
    x1, y1, x2, y2 = bounds
    longer = max(x2 - x1, y2 - y1)
    margin = max(MARGIN * longer, (LEAST - longer) / 2)
    left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
    right, bottom = min(width, ceil(x2 + margin)), min(height, ceil(y2 + margin))
    is_small = max(right - left, bottom - top) <= LARGEST * max(height, width)
    return Region(left, top, right, bottom) if is_small else None


def _bounds(prompt: SamPrompt, prediction: MaskPrediction) -> BoxXyxy | None:
    on_it: list[PromptPoint] = [point for point in prompt.points if point.is_kept and point.label]
    xs, ys = [point.x for point in on_it], [point.y for point in on_it]
    if prompt.box is not None:
        xs += prompt.box[::2]
        ys += prompt.box[1::2]
    else:
        mask = prediction.mask
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if not columns.size:
            return None
        xs += [float(columns[0]), float(columns[-1] + 1)]
        ys += [float(rows[0]), float(rows[-1] + 1)]
    return min(xs), min(ys), max(xs), max(ys)


def in_whole_image(prediction: MaskPrediction, region: Region, frame: Frame) -> MaskPrediction:
    """Lay an answer about a region into the whole image's square, on a finer grid; outside nothing is marked.

    Args:
        prediction: about the region alone.
        region: where it lies.
        frame: of the whole image.
    """
    longest = max(region.right - region.left, region.bottom - region.top)
    times = min(MOST_ENLARGED, ceil(max(frame.original_size) / longest))
    logits = prediction.low_res_logits
    side = logits.shape[-1] * times
    centres = (torch.arange(side, device=logits.device) + 0.5) * (frame.target / side)
    (scale_x, scale_y), (own_x, own_y) = frame.scale_xy, prediction.frame.scale_xy
    xs, ys = centres / scale_x, centres / scale_y
    across = (xs - region.left) * own_x / prediction.frame.target * 2 - 1
    down = (ys - region.top) * own_y / prediction.frame.target * 2 - 1
    grid = torch.stack([across.expand(side, side), down[:, None].expand(side, side)], dim=-1)
    laid = F.grid_sample(logits[None], grid[None], padding_mode="border", align_corners=False)[0]
    is_inside_x, is_inside_y = (xs >= region.left) & (xs < region.right), (ys >= region.top) & (ys < region.bottom)
    nothing = logits.flatten(1).amin(1).clamp_max(-1.0)[:, None, None]
    laid = torch.where(is_inside_y[:, None] & is_inside_x, laid, nothing)
    height, width = frame.input_size
    finer = Frame(frame.original_size, (height * times, width * times), frame.target * times, frame.is_stretched)
    return MaskPrediction(laid, prediction.pred_ious, prediction.chosen, finer)
