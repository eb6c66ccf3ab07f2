"""The decoder's candidates for one prompt, at a size for showing: the one that was chosen, and those that were not."""

from dataclasses import dataclass, replace

import numpy as np

from evfsam.geometry import upsample_logits
from evfsam.types import MaskPrediction
from workbench.metrics.masks import Mask


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
