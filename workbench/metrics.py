"""Measures of masks against known masks, as tallies that can be merged in any order.

Source: EVF-SAM, arXiv:2406.20076, section 4.1 (cIoU, gIoU); N-acc after GRES, arXiv:2306.00968.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evfsam.errors import GeometryError

HIT_IOU = 0.5
IGNORED_LABEL = 255

Mask = NDArray[np.bool_]
"""(H, W) bool."""

ReferenceMask = NDArray[np.bool_] | NDArray[np.uint8]
"""(H, W) bool, or uint8 labels: 1 is the object, 255 is left out of every count, anything else is background."""


def overlap(mask: Mask, reference: ReferenceMask) -> tuple[int, int]:
    """Count the pixels of the intersection and of the union of two masks.

    Raises:
        GeometryError: the shapes differ.
    """
    if mask.shape != reference.shape:
        raise GeometryError(
            f"expected two masks of one size, got {mask.shape} and {reference.shape}; bring both to the original size"
        )
    wanted = reference.astype(bool) if reference.dtype == np.bool_ else reference == 1
    counted = mask if reference.dtype == np.bool_ else mask & (reference != IGNORED_LABEL)
    return int(np.count_nonzero(counted & wanted)), int(np.count_nonzero(counted | wanted))


def iou_of(intersection: int, union: int) -> float:
    """Return intersection over union in [0, 1]; 1 where both masks are empty."""
    return intersection / union if union else 1.0


def mask_iou(mask: Mask, reference: ReferenceMask) -> float:
    """Return the IoU of two masks in [0, 1]; 1 where both are empty."""
    return iou_of(*overlap(mask, reference))


@dataclass(frozen=True)
class Tally:
    """Sums over expressions that name something in the image; `+` merges two.

    Attributes:
        intersection, union: pixels, summed.
        iou_sum: sum of the IoU of each expression.
        hit_count: expressions with an IoU above 0.5.
        count: expressions.
    """

    intersection: int = 0
    union: int = 0
    iou_sum: float = 0.0
    hit_count: int = 0
    count: int = 0

    @classmethod
    def of(cls, mask: Mask, reference: ReferenceMask) -> "Tally":
        """Measure one mask against the known one."""
        intersection, union = overlap(mask, reference)
        iou = iou_of(intersection, union)
        return cls(intersection, union, iou, int(iou > HIT_IOU), 1)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.intersection + other.intersection,
            self.union + other.union,
            self.iou_sum + other.iou_sum,
            self.hit_count + other.hit_count,
            self.count + other.count,
        )

    @property
    def ciou(self) -> float | None:
        """Summed intersection over summed union, in [0, 1]; None of nothing."""
        return iou_of(self.intersection, self.union) if self.count else None

    @property
    def giou(self) -> float | None:
        """Mean IoU over the expressions (not the generalised IoU of boxes), in [0, 1]; None of nothing."""
        return self.iou_sum / self.count if self.count else None

    @property
    def precision(self) -> float | None:
        """Pr@0.5: share of expressions with an IoU above 0.5, in [0, 1]; None of nothing."""
        return self.hit_count / self.count if self.count else None


@dataclass(frozen=True)
class AbsentTally:
    """Sums over expressions that name nothing in the image; `+` merges two.

    Attributes:
        right_count: expressions for which the mask was empty, as it should be.
        count: expressions.
    """

    right_count: int = 0
    count: int = 0

    def __add__(self, other: "AbsentTally") -> "AbsentTally":
        return AbsentTally(self.right_count + other.right_count, self.count + other.count)

    @property
    def n_acc(self) -> float | None:
        """N-acc: share of these expressions that were answered with nothing, in [0, 1]; None of nothing."""
        return self.right_count / self.count if self.count else None
