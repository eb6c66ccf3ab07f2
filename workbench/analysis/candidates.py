"""The decoder's candidates for one prompt, at a size for showing: the one that was chosen, and those that were not."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from evfsam.geometry import Frame, longest_side_frame, stretched_frame, upsample_logits
from evfsam.types import MaskPrediction
from workbench.metrics.masks import Mask

_LOGIT_STRIDE = 4
"""Pixels of SAM's square input a pixel of its low-resolution logits."""


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

    A prediction does not say whether its image was padded to SAM's square or stretched over it, so both are tried on
    the chosen candidate, whose mask is known at the original size.

    Args:
        prediction: the decoder's answer to one prompt.
        size: (h, w) with the original image's aspect.

    Source: SAM, arXiv:2304.02643, section 3 (resolving ambiguity): three masks and a guess of the IoU of each.
    """
    logits = prediction.low_res_logits.detach().float().cpu()[None]
    target = _LOGIT_STRIDE * max(logits.shape[-2:])
    known = F.interpolate(prediction.mask_logits.detach().float().cpu()[None, None], size, mode="nearest")[0, 0] > 0

    def mistakes(frame: Frame) -> int:
        shown = upsample_logits(logits[:, prediction.chosen : prediction.chosen + 1], frame)[0, 0] > 0
        return int(torch.count_nonzero(shown ^ known))

    frame = min((longest_side_frame(size, target), stretched_frame(size, target)), key=mistakes)
    masks: list[Mask] = [np.asarray(mask) for mask in (upsample_logits(logits, frame)[0] > 0).numpy()]
    return tuple(
        Candidate(index + 1, mask, float(prediction.pred_ious[index]), index == prediction.chosen)
        for index, mask in enumerate(masks)
    )
