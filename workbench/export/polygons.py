"""Masks as polygons without holes, through the centres of their border pixels: filled and outlined, they come back."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workbench.metrics.masks import Mask

Polygon = tuple[tuple[int, int], ...]
"""(x, y) of pixels, in order; the last joins the first."""

_EIGHT_NEIGHBOURS: Final = np.ones((3, 3), dtype=np.int8)
_CLOCKWISE: Final = ((0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1))
"""Steps (row, column) to the eight neighbours, from the left one clockwise."""
_NUMBER_OF_STEP: Final = {step: number for number, step in enumerate(_CLOCKWISE)}
_LEAST_POINTS: Final = 3


def mask_polygons(mask: Mask) -> tuple[tuple[Polygon, ...], ...]:
    """Return the polygons of each part of a mask (8-connected), in raster order of the parts.

    A part with holes is cut through them into several polygons that share the pixels of the cut.

    Returns:
        Polygons by part; each has at least three points, repeated where a part is smaller than that.
    """
    regions, count = ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
    boxes = ndimage.find_objects(regions, count)
    return tuple(
        tuple(
            tuple((x + box[1].start, y + box[0].start) for x, y in _border(piece, top, left))
            for piece, top, left in _without_holes(regions[box] == number)
        )
        for number, box in enumerate(boxes, start=1)
    )


def _without_holes(part: Mask) -> Iterator[tuple[Mask, int, int]]:
    """Yield connected pieces that have no holes and together are the part, with their row and column in it."""
    waiting = [(part, 0, 0)]
    while waiting:
        piece, top, left = waiting.pop()
        column = _column_of_a_hole(piece)
        if column is None:
            yield piece, top, left
            continue
        for half, offset in ((piece[:, : column + 1], 0), (piece[:, column:], column)):
            regions, count = ndimage.label(half, structure=_EIGHT_NEIGHBOURS)
            for number, box in enumerate(ndimage.find_objects(regions, count), start=1):
                waiting.append((regions[box] == number, top + box[0].start, left + offset + box[1].start))


def _column_of_a_hole(piece: Mask) -> int | None:
    """Return the middle column of a hole; None where there is none."""
    background, count = ndimage.label(np.pad(~piece, 1, constant_values=True))
    if count < 2:  # the surroundings alone, which are region 1 since they hold the first pixel
        return None
    columns: NDArray[np.intp] = np.flatnonzero((background == count).any(axis=0)) - 1
    return int(columns[0] + columns[-1]) // 2


def _border(piece: Mask, top: int, left: int) -> Polygon:
    """Follow the border of a connected piece clockwise (Moore neighbours), leaving out points on straight lines."""
    framed = np.pad(piece, 1)
    start = (1, 1 + int(piece[0].argmax()))
    place, back, points, first_step = start, 0, [start], None
    while True:
        step = next((n % 8 for n in range(back + 1, back + 9) if _is_set(framed, place, n % 8)), None)
        if step is None or (place == start and step == first_step):
            break
        first_step = step if first_step is None else first_step
        previous = _moved(place, (step - 1) % 8)
        place = _moved(place, step)
        back = _NUMBER_OF_STEP[previous[0] - place[0], previous[1] - place[1]]
        points.append(place)
    corners = _corners([(x - 1 + left, y - 1 + top) for y, x in points])
    return corners + corners[-1:] * (_LEAST_POINTS - len(corners))


def _is_set(framed: Mask, place: tuple[int, int], step: int) -> bool:
    return bool(framed[_moved(place, step)])


def _moved(place: tuple[int, int], step: int) -> tuple[int, int]:
    down, right = _CLOCKWISE[step]
    return place[0] + down, place[1] + right


def _corners(points: list[tuple[int, int]]) -> Polygon:
    """Drop the closing point and every point on the straight way between its neighbours."""
    if len(points) > 1 and points[0] == points[-1]:
        points = points[:-1]
    if len(points) < _LEAST_POINTS:
        return tuple(points)
    around = np.array(points)
    before, after = around - np.roll(around, 1, axis=0), np.roll(around, -1, axis=0) - around
    kept = (before != after).any(axis=1)
    return tuple(point for point, is_kept in zip(points, kept, strict=True) if is_kept)
