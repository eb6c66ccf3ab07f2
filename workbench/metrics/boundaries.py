"""How well two outlines agree.

Source: Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation (DAVIS, 2016),
section 4, whose tolerance is used too. Here the image's edge counts as an outline where a mask reaches it.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from workbench.metrics.masks import Mask, ReferenceMask, counted_pixels, wanted_pixels
from workbench.pictures.rendering import contour

TOLERANCE_SHARE: Final = 0.008
"""Outlines this share of the image's diagonal apart, rounded up to whole pixels, still agree."""
_PLACES_AT_ONCE: Final = 2**18
"""Pixels that are marked by one step: bounds memory, and a small outline needs few steps."""


def boundary_f(mask: Mask, reference: ReferenceMask) -> float:
    """Return the F measure of two masks' outlines in [0, 1]; 1 where both are empty.

    Precision is the share of the mask's outline within the tolerance of the reference's, recall the reverse.

    Raises:
        GeometryError: the shapes differ.
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
