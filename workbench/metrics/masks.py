"""Measures of masks against known masks, as tallies that can be merged in any order, to the last bit.

Source: EVF-SAM, arXiv:2406.20076, section 4.1 (cIoU, gIoU); N-acc and T-acc after GRES, arXiv:2306.00968. Pr@X is the
share with an IoU of at least X, as the evaluations of LAVT (arXiv:2112.02244) and GRES count it.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evfsam.errors import GeometryError
from evfsam.types import BoxXyxy

HIT_IOUS: Final = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Thresholds X of Pr@X."""
IGNORED_LABEL: Final = 255

Mask = NDArray[np.bool_]
"""(H, W) bool."""

ReferenceMask = NDArray[np.bool_] | NDArray[np.uint8]
"""(H, W) bool, or uint8 labels: 1 is the object, 255 is left out of every count, anything else is background."""
TOLERANCE_SHARE: Final = 0.008
"""Outlines this share of the image's diagonal apart, rounded up to whole pixels, still agree."""
_PLACES_AT_ONCE: Final = 2**18
"""Pixels that are marked by one step: bounds memory, and a small outline needs few steps."""


def wanted_pixels(reference: ReferenceMask) -> Mask:
    """(H, W) bool: the pixels of the object."""
    return reference.astype(bool) if reference.dtype == np.bool_ else reference == 1


def counted_pixels(mask: Mask, reference: ReferenceMask) -> Mask:
    """(H, W) bool: the mask without the pixels that the reference leaves out.

    Raises:
        GeometryError: the shapes differ.
    """
    if mask.shape != reference.shape:
        raise GeometryError(
            "expected two masks of one size, got {shape} and {other}; bring both to the original size",
            shape=mask.shape,
            other=reference.shape,
        )
    return mask if reference.dtype == np.bool_ else mask & (reference != IGNORED_LABEL)


def overlap(mask: Mask, reference: ReferenceMask) -> tuple[int, int]:
    """Count the pixels of the intersection and of the union of two masks.

    Raises:
        GeometryError: the shapes differ.
    """
    counted, wanted = counted_pixels(mask, reference), wanted_pixels(reference)
    return int(np.count_nonzero(counted & wanted)), int(np.count_nonzero(counted | wanted))


def iou_of(intersection: int, union: int) -> float:
    """Return intersection over union in [0, 1]; 1 where both masks are empty."""
    return intersection / union if union else 1.0


def mask_iou(mask: Mask, reference: ReferenceMask) -> float:
    """Return the IoU of two masks in [0, 1]; 1 where both are empty."""
    return iou_of(*overlap(mask, reference))


def box_iou(box: BoxXyxy | None, reference: BoxXyxy | None) -> float:
    """Return the IoU of two XYXY boxes in [0, 1]; of no box, 1 against no box and 0 against any other."""
    if box is None or reference is None:
        return float(box is reference)
    width = min(box[2], reference[2]) - max(box[0], reference[0])
    height = min(box[3], reference[3]) - max(box[1], reference[1])
    intersection = max(width, 0.0) * max(height, 0.0)
    areas = sum((each[2] - each[0]) * (each[3] - each[1]) for each in (box, reference))
    return intersection / (areas - intersection)


@dataclass(frozen=True)
class Tally:
    """Sums over expressions that name something in the image; `+` merges two.

    Attributes:
        intersection, union: pixels, summed.
        iou_sum: sum of the IoU of each expression, kept exactly, so that the order of merging cannot show.
        hit_counts: expressions with an IoU of at least each of `HIT_IOUS`.
        count: expressions.
    """

    intersection: int = 0
    union: int = 0
    iou_sum: Fraction = Fraction(0)
    hit_counts: tuple[int, ...] = (0,) * len(HIT_IOUS)
    count: int = 0

    @classmethod
    def of(cls, mask: Mask, reference: ReferenceMask) -> "Tally":
        """Measure one mask against the known one."""
        return cls.of_counts(*overlap(mask, reference))

    @classmethod
    def of_counts(cls, intersection: int, union: int) -> "Tally":
        """Measure one mask of which only the overlap is known, in pixels."""
        iou = iou_of(intersection, union)
        return cls(intersection, union, Fraction(iou), tuple(int(iou >= least) for least in HIT_IOUS), 1)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.intersection + other.intersection,
            self.union + other.union,
            self.iou_sum + other.iou_sum,
            tuple(mine + theirs for mine, theirs in zip(self.hit_counts, other.hit_counts, strict=True)),
            self.count + other.count,
        )

    @property
    def ciou(self) -> float | None:
        """Summed intersection over summed union, in [0, 1]; None where no pixel was marked or wanted."""
        return self.intersection / self.union if self.union else None

    @property
    def giou(self) -> float | None:
        """Mean IoU over the expressions (not the generalised IoU of boxes), in [0, 1]; None of nothing."""
        return float(self.iou_sum / self.count) if self.count else None

    @property
    def precisions(self) -> dict[float, float | None]:
        """Pr@X by X: share of expressions with an IoU of at least X, in [0, 1]; None of nothing."""
        shares = (hits / self.count if self.count else None for hits in self.hit_counts)
        return dict(zip(HIT_IOUS, shares, strict=True))

    @property
    def precision(self) -> float | None:
        """Pr@0.5, in [0, 1]; None of nothing."""
        return self.precisions[HIT_IOUS[0]]


@dataclass(frozen=True)
class AbsentTally:
    """Sums over expressions that name nothing in the image; `+` merges two.

    Attributes:
        right_count: expressions for which the mask was empty, as it should be.
        count: expressions.
        marked: pixels of the masks that should have been empty, summed.
    """

    right_count: int = 0
    count: int = 0
    marked: int = 0

    def __add__(self, other: "AbsentTally") -> "AbsentTally":
        return AbsentTally(self.right_count + other.right_count, self.count + other.count, self.marked + other.marked)

    @property
    def n_acc(self) -> float | None:
        """N-acc: share of these expressions that were answered with nothing, in [0, 1]; None of nothing."""
        return self.right_count / self.count if self.count else None

    def as_region(self) -> Tally:
        """Return these expressions as part of cIoU and gIoU: an IoU of 1 where rightly nothing was marked, else 0.

        Source: GRES, arXiv:2306.00968, section 4.1, which counts them so.
        """
        return Tally(0, self.marked, Fraction(self.right_count), (self.right_count,) * len(HIT_IOUS), self.count)


@dataclass(frozen=True)
class MeanTally:
    """A mean over those expressions for which a measure exists; `+` merges two.

    Attributes:
        total: exact sum.
        count: expressions.
    """

    total: Fraction = Fraction(0)
    count: int = 0

    @classmethod
    def of(cls, value: float | None) -> "MeanTally":
        """Count one value, or nothing for None."""
        return cls() if value is None else cls(Fraction(value), 1)

    def __add__(self, other: "MeanTally") -> "MeanTally":
        return MeanTally(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> float | None:
        """The mean; None of nothing."""
        return float(self.total / self.count) if self.count else None


@dataclass(frozen=True)
class DetailTally:
    """What is measured beside the region, over expressions that name something; `+` merges two.

    Attributes:
        boundary_f: F measure of the outlines.
        box_hit: 1 where the boxes around mask and reference have an IoU of at least 0.5 (box accuracy), else 0.
        answered: 1 where anything was marked (T-acc, target accuracy), else 0.
        attention_mass: share of the attention that lies on the object.
        attention_gain: that share over the object's share of the image.
    """

    boundary_f: MeanTally = field(default_factory=MeanTally)
    box_hit: MeanTally = field(default_factory=MeanTally)
    answered: MeanTally = field(default_factory=MeanTally)
    attention_mass: MeanTally = field(default_factory=MeanTally)
    attention_gain: MeanTally = field(default_factory=MeanTally)

    def __add__(self, other: "DetailTally") -> "DetailTally":
        return DetailTally(
            self.boundary_f + other.boundary_f,
            self.box_hit + other.box_hit,
            self.answered + other.answered,
            self.attention_mass + other.attention_mass,
            self.attention_gain + other.attention_gain,
        )


def contour(mask: Mask, width: int = 1) -> Mask:
    """Return the pixels of the mask within `width` steps (4-connected) of its border; the image's edge is a border."""
    border = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return border
    # Outside the mask's box there is nothing to do: most masks are much smaller than their image.
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inner = mask[part]
    for _ in range(width):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    border[part] = mask[part] & ~inner
    return border


def boundary_f(mask: Mask, reference: ReferenceMask) -> float:
    """Return the F measure of two masks' outlines in [0, 1]; 1 where both are empty.

    Precision is the share of the mask's outline within the tolerance of the reference's, recall the reverse.

    Raises:
        GeometryError: the shapes differ.

    Source: Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation (DAVIS, 2016),
    section 4, whose tolerance is used too.
    """
    outline = contour(counted_pixels(mask, reference))
    wanted = contour(wanted_pixels(reference))
    if not outline.any() or not wanted.any():
        return float(outline.any() == wanted.any())
    radius = int(np.ceil(TOLERANCE_SHARE * np.hypot(*mask.shape)))
    precision = np.count_nonzero(outline & _widened(wanted, radius)) / np.count_nonzero(outline)
    recall = np.count_nonzero(wanted & _widened(outline, radius)) / np.count_nonzero(wanted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _widened(outline: Mask, radius: int) -> Mask:
    """(H, W) bool: pixels whose centre is at most `radius` from that of a pixel of the outline."""
    height, width = outline.shape
    rows, columns = np.nonzero(outline)
    offsets: NDArray[np.intp] = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1)
    offsets = offsets[:, (offsets**2).sum(axis=0) <= radius**2]
    wide = np.zeros((height + 2 * radius, width + 2 * radius), dtype=np.bool_)
    places = rows * wide.shape[1] + columns
    steps = np.array([wide.shape[1], 1]) @ (offsets + radius)
    at_once = max(1, _PLACES_AT_ONCE // len(places))
    for start in range(0, len(steps), at_once):
        wide.ravel()[places + steps[start : start + at_once, None]] = True
    return wide[radius : radius + height, radius : radius + width]
