"""Masks from COCO's notations: polygons, and run lengths with or without compression."""

import math
from collections.abc import Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from evfsam.image_files import MAX_SIDE
from workbench.datasets.contract import SampleError
from workbench.metrics.masks import Mask

_LEAST_COORDINATES: Final = 6
_FARTHEST: Final = 1e6
"""Pixels from the image's corner; the decoder walks along every edge, however far it leads."""
_PIXEL_VALUES: Final = ((0, 1), (0, 255))
_MOST_BITS: Final = 60
"""Of a compressed run; no image has so many pixels, and to add digits without end takes time that grows as a square."""


def empty_mask(size: tuple[int, int]) -> Mask:
    """(H, W) bool: the mask of what is not there.

    Raises:
        SampleError: no image has this size.
    """
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise SampleError(f"expected an image of 1 to {MAX_SIDE} pixels a side, got {size}; correct its record")
    return np.zeros(size, dtype=np.bool_)


def is_drawable(segmentation: object) -> bool:
    """Whether a segmentation can mark a pixel: it has run lengths, or a polygon of at least three points."""
    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    return any(isinstance(part, dict) or (isinstance(part, list) and len(part) >= _LEAST_COORDINATES) for part in parts)


def part_masks(segmentation: object, size: tuple[int, int]) -> list[Mask]:
    """Decode each part of a segmentation by itself.

    Args:
        segmentation: a list of polygons [x1, y1, x2, y2, ...] in pixels, a run-length record {"size", "counts"}, or a
            list of such records. A polygon of fewer than three points covers nothing, beside others that do.
        size: (H, W) of the image.

    Returns:
        (H, W) bool each; empty only where run lengths say so, or where there is no part.

    Raises:
        SampleError: it is none of these, belongs to an image of another size, or is of polygons that mark nothing.
    """
    parts = segmentation if isinstance(segmentation, list) else [segmentation]
    _check_no_rows(parts, size)
    masks = [_decoded(part, size) for part in parts]
    if any(isinstance(part, list) for part in parts) and not any(mask.any() for mask in masks):
        raise SampleError(
            f"expected a polygon of three points or more that covers pixels of the image {size}, got one that covers "
            "none; only an empty segmentation names nothing"
        )
    return masks


def union_mask(segmentations: Sequence[object], size: tuple[int, int]) -> Mask:
    """(H, W) bool: pixels of any part of any of the segmentations.

    Raises:
        SampleError: see `part_masks`.
    """
    mask = empty_mask(size)
    for segmentation in segmentations:
        for part in part_masks(segmentation, size):
            mask |= part
    return mask


def summed_mask(segmentation: object, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) uint8: how many parts cover each pixel. Scored as labels, where parts overlap is no object.

    The published figures of the RefCOCO family were measured so.

    Raises:
        SampleError: see `part_masks`.
    """
    total = empty_mask(size).astype(np.uint8)
    for part in part_masks(segmentation, size):
        # More than two are no more an object than two, and 255 of them would be a label.
        total = np.minimum(total + part, 2, dtype=np.uint8)
    return total


def pixel_coordinates(values: Sequence[object]) -> list[float]:
    """Return the numbers of a polygon's points.

    Raises:
        SampleError: they are no finite numbers, or lead far beyond any image.
    """
    try:
        numbers = [float(cast(float, value)) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        raise SampleError(f"expected numbers as a polygon's points, got something else: {error}") from error
    if not all(math.isfinite(number) and abs(number) <= _FARTHEST for number in numbers):
        raise SampleError(f"expected a polygon's points in pixels, got {numbers[:8]}; annotate it again")
    return numbers


def decode_mask(counts: str, size: tuple[int, int]) -> Mask:
    """Return the (H, W) bool mask of compressed run lengths.

    Raises:
        SampleError: they do not fill an image of this size.
    """
    return _decoded({"size": list(size), "counts": counts}, size)


def run_length_iou(one: str, other: str, size: tuple[int, int]) -> float:
    """Return the IoU of two masks given as compressed run lengths, without decoding them; 1 where both are empty.

    Raises:
        SampleError: they do not fill an image of this size.
    """
    records = [_run_lengths({"size": list(size), "counts": counts}, size) for counts in (one, other)]
    if not any(coco_mask.area(record) for record in records):
        return 1.0
    return float(coco_mask.iou(records[:1], records[1:], [False])[0, 0])


def _check_no_rows(parts: Sequence[object], size: tuple[int, int]) -> None:
    """Refuse a mask written pixel by pixel, whose rows would pass for polygons that cover a pixel or all."""
    rows = [part for part in parts if isinstance(part, list)]
    # No two polygons have all their corners between the same two coordinates.
    values = [value for row in rows for value in row] if len(rows) == len(parts) > 1 else []
    if values and any(all(value in pair for value in values) for pair in _PIXEL_VALUES):
        raise SampleError(
            f"expected polygons or run lengths of an image of {size}, got {len(rows)} rows of {len(rows[0])} pixels; "
            "save the mask as run lengths, in the image's size"
        )


def _decoded(part: object, size: tuple[int, int]) -> Mask:
    nothing = empty_mask(size)
    try:
        if not isinstance(part, dict | list):
            raise SampleError(f"expected a polygon or run lengths for a mask, got {type(part).__name__}")
        record = _run_lengths(part, size) if isinstance(part, dict) else _polygon(part, size)
        if record is None:
            return nothing
        return np.asarray(coco_mask.decode(record)).astype(np.bool_)
    except (KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise SampleError(f"expected a mask in COCO's notation, got one that cannot be decoded: {error}") from error


def _polygon(part: list[object], size: tuple[int, int]) -> dict[str, object] | None:
    """Return a polygon as run lengths; None where it has fewer than three points."""
    numbers = pixel_coordinates(part)
    if len(numbers) < _LEAST_COORDINATES:
        return None
    if len(numbers) % 2:
        raise SampleError(f"expected two numbers a point of a polygon, got {len(numbers)} numbers; annotate it again")
    return cast(dict[str, object], coco_mask.frPyObjects([numbers], *size)[0])


def _run_lengths(part: dict[str, object], size: tuple[int, int]) -> dict[str, object]:
    """Check a run-length record: the decoder itself writes past its memory where the runs are too long."""
    counts, stated = part["counts"], part["size"]
    if not isinstance(stated, list) or stated != list(size):
        raise SampleError(f"expected a mask of the image's size {size}, got {stated}")
    if isinstance(counts, list):
        runs = [_whole(count) for count in counts]
    elif isinstance(counts, str | bytes):
        runs = _decompressed(counts if isinstance(counts, str) else counts.decode("ascii"))
    else:
        raise SampleError(f"expected run lengths as counts, got {type(counts).__name__}")
    total = size[0] * size[1]
    if any(run < 0 for run in runs) or sum(runs) != total:
        raise SampleError(f"expected runs of {total} pixels together, got {sum(runs)}")
    return cast(dict[str, object], coco_mask.frPyObjects({"size": list(size), "counts": runs}, *size))


def _whole(count: object) -> int:
    if isinstance(count, bool) or not isinstance(count, int | float) or count != int(count):
        raise SampleError(f"expected whole numbers as run lengths, got {count!r}")
    return int(count)


def _decompressed(text: str) -> list[int]:
    """Read COCO's compressed counts: six-bit digits, least first; from the fourth run on differences."""
    runs: list[int] = []
    place = 0
    while place < len(text):
        value, shift, is_more = 0, 0, True
        while is_more:
            if place >= len(text) or shift > _MOST_BITS:
                raise SampleError("expected compressed run lengths, got a number that does not end")
            digit = ord(text[place]) - 48
            if not 0 <= digit < 64:
                raise SampleError(f"expected compressed run lengths, got the character {text[place]!r}")
            value |= (digit & 0x1F) << shift
            is_more = bool(digit & 0x20)
            place += 1
            shift += 5
            if not is_more and digit & 0x10:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs
