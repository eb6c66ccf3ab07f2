"""Boxes in training scenes, seen as `evfsam.sam.closer_look` sees those that people draw."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from evfsam.preprocess import SAM_MEAN, SAM_STD
from evfsam.sam.closer_look import LARGEST, MARGIN
from training.scene_stream import SIDE, SceneTensors


@dataclass(frozen=True, eq=False)
class CloserViews:
    """R boxes, each alone in its image.

    Attributes:
        pixels: (R, 3, s, s) normalised, for SAM's encoder.
        masks: (R, s, s) float32: what is wanted there.
        boxes: (R, 4) XYXY there.
        is_small: (R,) whether a person's box of this size is looked at closer.
    """

    pixels: torch.Tensor
    masks: torch.Tensor
    boxes: torch.Tensor
    is_small: torch.Tensor


def closer_views(scenes: SceneTensors, scene_of: torch.Tensor, masks: torch.Tensor, boxes: torch.Tensor) -> CloserViews:
    """See boxes alone.

    Args:
        scenes: B of them.
        scene_of: (R,) scene of each box.
        masks: (R, s, s) float32 in the scenes' squares.
        boxes: (R, 4) XYXY there.
    """
    heights, widths = scenes.sizes[scene_of].float().T
    (left, top), (right, bottom) = boxes[:, :2].T, boxes[:, 2:].T
    margin = MARGIN * torch.maximum(right - left, bottom - top)
    left, top = (left - margin).clamp_min(0), (top - margin).clamp_min(0)
    right, bottom = torch.minimum(right + margin, widths), torch.minimum(bottom + margin, heights)
    longest = torch.maximum(right - left, bottom - top).clamp_min(1)
    centres = (torch.arange(SIDE, device=boxes.device) + 0.5) / SIDE * longest[:, None]
    xs, ys = left[:, None] + centres, top[:, None] + centres
    is_inside = ((ys < bottom[:, None])[:, :, None] & (xs < right[:, None])[:, None])[:, None]
    grid = torch.stack([xs[:, None].expand(-1, SIDE, -1), ys[:, :, None].expand(-1, -1, SIDE)], dim=-1)
    places = grid / SIDE * 2 - 1
    pixels = scenes.sam_pixels(SAM_MEAN, SAM_STD)[scene_of]
    seen = F.grid_sample(pixels, places, padding_mode="border", align_corners=False) * is_inside
    wanted = F.grid_sample(masks[:, None], places, mode="nearest", align_corners=False) * is_inside
    shifted = (boxes - torch.stack([left, top, left, top], dim=1)) * (SIDE / longest)[:, None]
    is_small = longest <= LARGEST * torch.maximum(heights, widths)
    return CloserViews(seen, wanted[:, 0], shifted, is_small)


def chosen(is_first: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Take rows (R, ...) of the first where so said, else of the second."""
    return torch.where(is_first.view(-1, *[1] * (first.ndim - 1)), first, second)
