"""Polygons painted with their outline, on whole pixels, as OpenCV's `fillPoly` paints them.

COCO's rule covers the pixels whose centre is inside; this one covers every pixel that the outline touches too, so that
a shape is up to a pixel wider. ReasonSeg's masks are made so. Equal to OpenCV's pixel by pixel where all corners lie in
the image; of shapes that reach beyond it, some pixels beside the border differ.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workbench.metrics.masks import Mask


def painted_polygon(points: Sequence[Sequence[float]], size: tuple[int, int]) -> Mask:
    """(H, W) bool: the pixels of a polygon and of its outline, which is one pixel wide.

    Args:
        points: corners (x, y) in pixels; fractions are cut off. The last is joined with the first. Where the outline
            crosses itself, what it goes around twice is outside.
        size: (H, W) of the image; what lies beyond it is left out.
    """
    corners = np.trunc(np.asarray(points, dtype=np.float64)).astype(np.int64).reshape(-1, 2)
    mask = np.zeros(size, dtype=np.bool_)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        x, y = _line(start, end)
        is_inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
        mask[y[is_inside], x[is_inside]] = True
    return mask | _inside(corners, size)


def _line(start: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows of the pixels between two corners, both included, by Bresenham's rule from the left one."""
    if end[0] < start[0]:
        start, end = end, start
    along = end - start
    length = int(np.abs(along).max())
    steps = np.arange(length + 1)
    # Half a pixel beside the line is rounded back to where it came from.
    x, y = (
        first + np.sign(by) * -((length - 2 * steps * abs(by)) // (2 * max(length, 1)))
        for first, by in zip(start, along, strict=True)
    )
    return x, y


def _inside(corners: NDArray[np.int64], size: tuple[int, int]) -> Mask:
    """(H, W) bool: pixels on or between the first and second, third and fourth ... crossing of their row."""
    height, width = size
    mask = np.zeros(size, dtype=np.bool_)
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    for row in range(max(0, int(corners[:, 1].min())), min(height, int(corners[:, 1].max()) + 1)):
        crossing = (np.minimum(y0, y1) <= row) & (row < np.maximum(y0, y1))
        x = np.sort((x0 + (row - y0) * (x1 - x0) / np.where(y0 == y1, 1, y1 - y0))[crossing])
        for left, right in zip(x[::2], x[1::2], strict=True):
            mask[row, max(0, int(np.ceil(left))) : max(0, int(np.floor(right)) + 1)] = True
    return mask[:, :width]
