"""How far the strategies agree with each other."""

from collections.abc import Iterable

from workbench.comparison import StrategyResult
from workbench.metrics import mask_iou


def pairwise_iou(results: Iterable[StrategyResult]) -> dict[str, dict[str, float]]:
    """Return the IoU in [0, 1] of every two strategies' masks, by key and key; failed strategies are left out.

    Symmetric with ones on the diagonal; two strategies that both found nothing agree wholly.
    """
    masks = {result.key: result.segmentation.mask for result in results if result.segmentation.verdict.kind != "failed"}
    return {one: {other: mask_iou(masks[one], masks[other]) for other in masks} for one in masks}
