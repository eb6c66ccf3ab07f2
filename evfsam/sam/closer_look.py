"""A closer look at what a person drew a box around: that part of the picture, as large as the encoder's square.

A small SAM sees a picture of 12 megapixels as 288 x 288 pixels, and a thing a tenth as wide as 29. Published models are
asked as published: see `SamConfig.looks_closer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np
import torch
from torch.nn import functional as F

from evfsam.geometry import Frame
from evfsam.types import ImageEmbedding, MaskBackbone, MaskPrediction, RgbImage, SamPrompt, TraceEntry

MARGIN: Final = 0.4
"""What is seen around the marked thing on each side, as a share of its longer side."""
LARGEST: Final = 0.7
"""Longer side of a region above which the whole image shows as much, as a share of the image's longer side."""
LEAST: Final = 64
"""Longer side of a region, pixels: below it there is nothing to see closer."""
MOST_ENLARGED: Final = 6
"""Of the grid of logits; bounds memory."""


@dataclass(frozen=True)
class Region:
    """A part of an image, by its edges in whole pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def longest(self) -> int:
        """Its longer side."""
        return max(self.right - self.left, self.bottom - self.top)

    def of(self, image: RgbImage) -> RgbImage:
        """(h, w, 3) uint8: the pixels inside."""
        return np.ascontiguousarray(image[self.top : self.bottom, self.left : self.right])

    def prompt(self, prompt: SamPrompt) -> SamPrompt:
        """Return a prompt whose box lies inside as the region shows it; points outside are left out."""
        assert prompt.box is not None
        x1, y1, x2, y2 = prompt.box
        points = tuple(
            replace(point, x=point.x - self.left, y=point.y - self.top)
            for point in prompt.points
            if self.left <= point.x <= self.right and self.top <= point.y <= self.bottom
        )
        box = x1 - self.left, y1 - self.top, x2 - self.left, y2 - self.top
        return replace(prompt, box=box, points=points)


def region_around(prompt: SamPrompt, size: tuple[int, int]) -> Region | None:
    """Return what to look at: around the box and the points on the thing; None without a box, or for a large one.

    Args:
        prompt: pixels of the image.
        size: (H, W) of the image.
    """
    if prompt.box is None:
        return None
    on_it = [point for point in prompt.points if point.is_kept and point.label]
    xs = [*prompt.box[::2], *(point.x for point in on_it)]
    ys = [*prompt.box[1::2], *(point.y for point in on_it)]
    longer = max(max(xs) - min(xs), max(ys) - min(ys))
    margin = max(MARGIN * longer, (LEAST - longer) / 2)
    left, top = max(0, int(min(xs) - margin)), max(0, int(min(ys) - margin))
    right, bottom = min(size[1], ceil(max(xs) + margin)), min(size[0], ceil(max(ys) + margin))
    region = Region(left, top, right, bottom)
    return region if region.longest <= LARGEST * max(size) else None


def decode_marked(
    backbone: MaskBackbone,
    image: RgbImage,
    embedding: ImageEmbedding,
    prompts: Sequence[SamPrompt],
    given: SamPrompt,
    *,
    multimask: bool,
) -> tuple[tuple[MaskPrediction, ...], Region | None]:
    """Decode prompts on an image; on the part around a person's box where the SAM looks closer and the thing is small.

    Args:
        backbone: which SAM.
        image: (H, W, 3) uint8.
        embedding: of the whole image.
        prompts: original pixels; each holds the given box where there is one.
        given: what a person marked.
        multimask: as `MaskBackbone.decode`.

    Returns:
        The answers about the whole image, and the part that SAM saw alone, None where it saw the whole.
    """
    region = region_around(given, embedding.original_size) if backbone.looks_closer else None
    if region is None:
        return backbone.decode_many(embedding, prompts, multimask=multimask), None
    alone, frame = backbone.encode_image(region.of(image)), backbone.frame(embedding)
    answers = backbone.decode_many(alone, [region.prompt(each) for each in prompts], multimask=multimask)
    return tuple(in_whole_image(each, region, frame) for each in answers), region


def seen_closer(region: Region) -> TraceEntry:
    """Say in a trace where was looked."""
    edges = [region.left, region.top, region.right, region.bottom]
    return TraceEntry("let SAM see the part around the box alone", values={"region": edges})


def in_whole_image(prediction: MaskPrediction, region: Region, frame: Frame) -> MaskPrediction:
    """Lay an answer about a region into the whole image's square, on a finer grid; outside nothing is marked.

    Args:
        prediction: about the region alone.
        region: where it lies.
        frame: of the whole image.
    """
    times = min(MOST_ENLARGED, ceil(max(frame.original_size) / region.longest))
    logits, own = prediction.low_res_logits, prediction.frame
    side = logits.shape[-1] * times
    centres = (torch.arange(side, device=logits.device) + 0.5) * (frame.target / side)
    xs, ys = centres / frame.scale_xy[0], centres / frame.scale_xy[1]
    across = (xs.clamp(max=region.right) - region.left) * own.scale_xy[0] / own.target * 2 - 1
    down = (ys.clamp(max=region.bottom) - region.top) * own.scale_xy[1] / own.target * 2 - 1
    places = torch.stack([across.expand(side, side), down[:, None].expand(side, side)], dim=-1)
    laid = F.grid_sample(logits[None], places[None], padding_mode="border", align_corners=False)[0]
    # Where the region ends with the image it goes on into the padding: the last pixels lie between the two.
    rows, columns = frame.original_size
    is_inside_x = (xs >= region.left) & ((xs < region.right) | (region.right == columns))
    is_inside_y = (ys >= region.top) & ((ys < region.bottom) | (region.bottom == rows))
    nothing = logits.flatten(1).amin(1).clamp_max(-1.0)[:, None, None]
    laid = torch.where(is_inside_y[:, None] & is_inside_x, laid, nothing)
    height, width = frame.input_size
    finer = Frame(frame.original_size, (height * times, width * times), frame.target * times, frame.is_stretched)
    return MaskPrediction(laid, prediction.pred_ious, prediction.chosen, finer)
