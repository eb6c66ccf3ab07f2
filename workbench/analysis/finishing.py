"""Finish a mask: another threshold, a smooth border, holes filled, islands dropped. The raw mask is kept beside it."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from evfsam.errors import ConfigurationError
from evfsam.types import Segmentation
from workbench.metrics.masks import Mask, iou_of

MaskLogits = NDArray[np.float32]
"""(H, W) float32; the decision border is 0."""

STABILITY_OFFSET: Final = 1.0
"""Of SAM's automatic mask generator."""
MAX_THRESHOLD: Final = 32.0
MAX_SMOOTHING: Final = 50.0
_EIGHT_NEIGHBOURS: Final = ((1, 1, 1), (1, 1, 1), (1, 1, 1))


@dataclass(frozen=True)
class FinishingOptions:
    """What to do to a mask, in this order. The defaults change nothing.

    Attributes:
        threshold: logits above it are the mask, -32 to 32.
        smoothing: standard deviation in pixels of the blur that rounds the border, 0 to 50; 0 leaves it.
        largest_hole: holes of at most this area in pixels are filled.
        least_island: parts below this area in pixels are dropped, but never the largest part.

    Raises:
        ConfigurationError: a value is out of range.
    """

    threshold: float = 0.0
    smoothing: float = 0.0
    largest_hole: int = 0
    least_island: int = 0

    def __post_init__(self) -> None:
        if not -MAX_THRESHOLD <= self.threshold <= MAX_THRESHOLD:
            raise ConfigurationError(
                "expected a threshold from -32 to 32, got {value}; 0 is the usual one", value=self.threshold
            )
        if not 0 <= self.smoothing <= MAX_SMOOTHING:
            raise ConfigurationError("expected a smoothing of 0 to 50 pixels, got {value}", value=self.smoothing)
        for name, area in (("largest hole", self.largest_hole), ("least island", self.least_island)):
            if area < 0:
                raise ConfigurationError(
                    "expected an area of at least 0 pixels as {name}, got {value}", name=name, value=area
                )


@dataclass(frozen=True, eq=False)
class FinishedMask:
    """A finished mask beside the one it was made from.

    Attributes:
        raw: (H, W) bool, logits above 0, as the strategy answered.
        mask: (H, W) bool, finished.
        options: what was done.
        stability: of the mask at the chosen threshold, in [0, 1]; see `stability_score`.
        filled_pixels, dropped_pixels: area of the holes filled and of the islands dropped.
        filled_count, dropped_count: how many of each.
    """

    raw: Mask
    mask: Mask
    options: FinishingOptions
    stability: float
    filled_pixels: int
    filled_count: int
    dropped_pixels: int
    dropped_count: int

    @property
    def changed_pixels(self) -> int:
        """Pixels in which the finished mask differs from the raw one."""
        return int(np.count_nonzero(self.raw ^ self.mask))


def finish(mask_logits: MaskLogits, options: FinishingOptions) -> FinishedMask:
    """Threshold the logits, smooth the border, fill holes and drop islands.

    Args:
        mask_logits: (H, W) float32 from `decision_logits`.
        options: what to do.

    Returns:
        The finished mask; with the default options it equals the raw one.
    """
    mask = smoothed(mask_logits > options.threshold, options.smoothing)
    filled, filled_count = without_holes(mask, options.largest_hole)
    kept, dropped_count = without_islands(filled, options.least_island)
    return FinishedMask(
        raw=mask_logits > 0,
        mask=kept,
        options=options,
        stability=stability_score(mask_logits, options.threshold),
        filled_pixels=int(np.count_nonzero(filled)) - int(np.count_nonzero(mask)),
        filled_count=filled_count,
        dropped_pixels=int(np.count_nonzero(filled)) - int(np.count_nonzero(kept)),
        dropped_count=dropped_count,
    )


def decision_logits(segmentation: Segmentation) -> MaskLogits:
    """(H, W) float32: the logits to threshold; -inf alone where no mask was drawn."""
    return np.asarray(segmentation.mask_logits.float().cpu().numpy(), dtype=np.float32)


def stability_score(mask_logits: MaskLogits, threshold: float = 0.0, offset: float = STABILITY_OFFSET) -> float:
    """Return how little the mask depends on the threshold: the IoU of the masks at threshold + and - offset.

    Args:
        mask_logits: (H, W) float32.
        threshold: the decision border.
        offset: in logits, above 0.

    Returns:
        In [0, 1]; 1 where both masks are empty.

    Source:
        SAM, arXiv:2304.02643, appendix B, automatic mask generation: stable masks.
    """
    # The mask at the higher threshold lies within the other: it is the intersection, the other the union.
    inner = int(np.count_nonzero(mask_logits > threshold + offset))
    return iou_of(inner, int(np.count_nonzero(mask_logits > threshold - offset)))


def smoothed(mask: Mask, sigma: float) -> Mask:
    """Round the border: blur the mask and keep where at least half is left. Structures thinner than sigma vanish."""
    if sigma <= 0 or not mask.any():
        return mask.copy()
    part = _surroundings(mask, int(np.ceil(4 * sigma)))
    finished = np.zeros_like(mask)
    blurred = ndimage.gaussian_filter(mask[part].astype(np.float32), sigma, mode="nearest")
    finished[part] = blurred >= 0.5
    return finished


def without_holes(mask: Mask, largest: int) -> tuple[Mask, int]:
    """Fill holes, background that the mask wholly surrounds (4-connected), of at most `largest` pixels; count them."""
    if largest <= 0 or not mask.any():
        return mask.copy(), 0
    part = _surroundings(mask, 1)
    regions, count = ndimage.label(~mask[part])
    areas = np.bincount(regions.ravel(), minlength=count + 1)
    is_filled = areas <= largest
    is_filled[0] = False
    rim = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    is_filled[rim] = False
    finished = mask.copy()
    finished[part] |= is_filled[regions]
    return finished, int(np.count_nonzero(is_filled))


def without_islands(mask: Mask, least: int) -> tuple[Mask, int]:
    """Drop the mask's parts (8-connected) below `least` pixels, but never the largest one; count them."""
    if least <= 1 or not mask.any():
        return mask.copy(), 0
    part = _surroundings(mask, 0)
    regions, count = ndimage.label(mask[part], structure=_EIGHT_NEIGHBOURS)
    areas = np.bincount(regions.ravel(), minlength=count + 1)
    is_dropped = areas < least
    is_dropped[0] = False
    is_dropped[1 + int(areas[1:].argmax())] = False
    finished = mask.copy()
    finished[part] &= ~is_dropped[regions]
    return finished, int(np.count_nonzero(is_dropped))


def _surroundings(mask: Mask, margin: int) -> tuple[slice, slice]:
    """Return the box around the mask with a margin, within the image: most masks are much smaller than theirs."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + 1 + margin),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + 1 + margin),
    )
