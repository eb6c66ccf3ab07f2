"""How far the strategies agree with each other and with a known mask: figures, votes and regions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from evfsam.errors import ConfigurationError, GeometryError
from workbench.comparison import StrategyResult
from workbench.metrics.masks import IGNORED_LABEL, Mask, ReferenceMask, iou_of, wanted_pixels

VoteMap = NDArray[np.uint8]
"""(H, W) uint8: how many strategies marked each pixel."""


@dataclass(frozen=True, eq=False)
class TwoWayRegions:
    """Where two masks lie apart and together; the three regions do not overlap.

    Attributes:
        only_a, only_b, both: (H, W) bool.
        ignored: (H, W) bool, pixels that a reference leaves out of every count; empty between two strategies.
    """

    only_a: Mask
    only_b: Mask
    both: Mask
    ignored: Mask

    @property
    def iou(self) -> float:
        """IoU of the two masks in [0, 1]; 1 where both are empty."""
        together = int(np.count_nonzero(self.both))
        return iou_of(together, together + int(np.count_nonzero(self.only_a)) + int(np.count_nonzero(self.only_b)))


def answered_masks(results: Iterable[StrategyResult]) -> dict[str, Mask]:
    """Return the masks by strategy key; failed strategies have no opinion and are left out."""
    return {result.key: result.segmentation.mask for result in results if _has_answered(result)}


def pairwise_iou(results: Iterable[StrategyResult]) -> dict[str, dict[str, float]]:
    """Return the IoU in [0, 1] of every two strategies' masks, by key and key; failed strategies are left out.

    Symmetric with ones on the diagonal; two strategies that both found nothing agree wholly.
    """
    masks = {result.key: result.segmentation.mask_bits for result in results if _has_answered(result)}
    areas = {key: _count(bits) for key, bits in masks.items()}
    ious: dict[str, dict[str, float]] = {key: {} for key in masks}
    for one, other in combinations_with_replacement(masks, 2):
        together = areas[one] if one == other else _count(masks[one] & masks[other])
        ious[one][other] = ious[other][one] = iou_of(together, areas[one] + areas[other] - together)
    return {one: {other: ious[one][other] for other in masks} for one in masks}


def vote_map(masks: Mapping[str, Mask]) -> VoteMap:
    """Count for every pixel how many of the masks hold it.

    Args:
        masks: (H, W) bool by strategy key, one to 255 of one size.

    Raises:
        ConfigurationError: there are no masks, or more than 255.
        GeometryError: their sizes differ.
    """
    if not 1 <= len(masks) <= np.iinfo(np.uint8).max:
        raise ConfigurationError("expected 1 to 255 masks to count, got {got}; run a strategy first", got=len(masks))
    sizes = {mask.shape for mask in masks.values()}
    if len(sizes) > 1:
        raise GeometryError(
            "expected masks of one size, got {sizes}; compare answers to one image", sizes=sorted(sizes)
        )
    votes = np.zeros(sizes.pop(), dtype=np.uint8)
    for mask in masks.values():
        votes += mask
    return votes


def disagreement_map(masks: Mapping[str, Mask]) -> NDArray[np.float32]:
    """Return how divided the strategies are on every pixel.

    Returns:
        (H, W) float32: the number of pairs that differ over the most that can: 0 where all say the same, 1 where they
        are split as evenly as their number allows. With one mask all is 0.

    Raises:
        ConfigurationError: as `vote_map`.
        GeometryError: as `vote_map`.
    """
    count = len(masks)
    votes = vote_map(masks)
    most = max(1, (count // 2) * (count - count // 2))
    by_votes = np.array([vote * (count - vote) / most for vote in range(count + 1)], dtype=np.float32)
    divided: NDArray[np.float32] = by_votes[votes]
    return divided


def regions_of_pair(one: Mask, other: Mask) -> TwoWayRegions:
    """Split two strategies' masks into only the first, only the second, and both.

    Raises:
        GeometryError: the sizes differ.
    """
    _check_sizes(one, other)
    return TwoWayRegions(one & ~other, other & ~one, one & other, np.zeros_like(one))


def regions_against_reference(mask: Mask, reference: ReferenceMask) -> TwoWayRegions:
    """Split a mask and a known one: only the strategy's (too much), only the reference's (missed), and both (right).

    Raises:
        GeometryError: the sizes differ.
    """
    _check_sizes(mask, reference)
    wanted = wanted_pixels(reference)
    ignored = np.zeros_like(mask) if reference.dtype == np.bool_ else reference == IGNORED_LABEL
    return TwoWayRegions(mask & ~wanted & ~ignored, wanted & ~mask, mask & wanted, ignored)


def _has_answered(result: StrategyResult) -> bool:
    return result.segmentation.verdict.kind != "failed"


def _count(bits: NDArray[np.uint8]) -> int:
    """Count the pixels of a mask held as bits."""
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def _check_sizes(one: Mask, other: ReferenceMask) -> None:
    if one.shape != other.shape:
        raise GeometryError(
            "expected two masks of one size, got {shape} and {other}; bring both to the original size",
            shape=one.shape,
            other=other.shape,
        )
