"""Boxes in training scenes, seen as `evfsam.sam.closer_look` sees those that people draw."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from evfsam.preprocess import SAM_MEAN, SAM_STD
from evfsam.sam.closer_look import LARGEST, LEAST, MARGIN
from training.scene_stream import SIDE, SceneTensors, covered_share


@dataclass(frozen=True, eq=False)
class CloserViews:
    """R boxes, each alone in its image.

    Attributes:
        pixels: (R, 3, SIDE, SIDE) normalised, for SAM's encoder.
        masks: (R, SIDE, SIDE) float32: what is wanted there.
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
        boxes: (R, 4) XYXY there. A scene with more pixels than SAM's square is sharp where seen closer.
    """
    heights, widths = scenes.sizes[scene_of].float().T
    (left, top), (right, bottom) = boxes[:, :2].T, boxes[:, 2:].T
    longer = torch.maximum(right - left, bottom - top)
    margin = torch.maximum(MARGIN * longer, (LEAST - longer) / 2)  # as `region_around`
    left, top = (left - margin).clamp_min(0), (top - margin).clamp_min(0)
    right, bottom = torch.minimum(right + margin, widths), torch.minimum(bottom + margin, heights)
    longest = torch.maximum(right - left, bottom - top).clamp_min(1)
    centres = (torch.arange(SIDE, device=boxes.device) + 0.5) / SIDE * longest[:, None]
    xs, ys = left[:, None] + centres, top[:, None] + centres
    is_inside = ((ys < bottom[:, None])[:, :, None] & (xs < right[:, None])[:, None])[:, None]
    grid = torch.stack([xs[:, None].expand(-1, SIDE, -1), ys[:, :, None].expand(-1, -1, SIDE)], dim=-1)
    places = grid / scenes.side * 2 - 1
    pixels = scenes.normalised(SAM_MEAN, SAM_STD)[scene_of]
    seen = F.grid_sample(pixels, places, padding_mode="border", align_corners=False) * is_inside
    wanted = F.grid_sample(masks[:, None], places, mode="nearest", align_corners=False) * is_inside
    shifted = (boxes - torch.stack([left, top, left, top], dim=1)) * (SIDE / longest)[:, None]
    is_small = longest <= LARGEST * torch.maximum(heights, widths)
    return CloserViews(seen, wanted[:, 0], shifted, is_small)


def seen_closer(
    encoder: nn.Module,
    scenes: SceneTensors,
    scene_of: torch.Tensor,
    masks: torch.Tensor,
    boxes: torch.Tensor,
    is_asked: torch.Tensor,
    images: torch.Tensor,
    targets: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Put what is seen closer in the place of what is seen in the whole picture.

    Args:
        encoder: SAM's, of images.
        scenes: as of `closer_views`.
        scene_of: as there.
        masks: as there.
        boxes: as there.
        is_asked: (R,) which are to be seen closer, where they are small.
        images: (R, C, h, w) what the encoder makes of the whole pictures.
        targets: (R, h', w') covered shares there.

    Returns:
        Images, boxes in SAM's square, and targets, anew where seen closer.
    """
    boxes_there, asked = scenes.to_sam(boxes), is_asked.nonzero()[:, 0]
    if not len(asked):
        return images, boxes_there, targets
    views = closer_views(scenes, scene_of[asked], masks[asked], boxes[asked])
    small = views.is_small
    if not small.any():
        return images, boxes_there, targets
    rows, images, boxes_there, targets = asked[small], images.clone(), boxes_there.clone(), targets.clone()
    images[rows] = encoder(views.pixels[small]).to(images.dtype)
    boxes_there[rows] = views.boxes[small]
    targets[rows] = covered_share(views.masks[small])
    return images, boxes_there, targets
