"""Outlines agree within the tolerance, and no further."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from workbench.metrics.masks import TOLERANCE_SHARE, Mask, boundary_f

MASKS = arrays(np.bool_, (12, 17))


def square(left: int, side: int = 40, size: int = 250) -> Mask:
    mask = np.zeros((size, size), dtype=bool)
    mask[50 : 50 + side, left : left + side] = True
    return mask


def outline(mask: Mask) -> list[tuple[int, int]]:
    def is_inside(row: int, column: int) -> bool:
        return 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and bool(mask[row, column])

    around = ((0, 1), (1, 0), (0, -1), (-1, 0))
    return [(r, c) for r, c in np.argwhere(mask) if not all(is_inside(r + dr, c + dc) for dr, dc in around)]


def slow_f(one: Mask, other: Mask) -> float:
    """The definition, pixel by pixel."""
    first, second = outline(one), outline(other)
    if not first or not second:
        return float(len(first) == len(second))
    radius = np.ceil(TOLERANCE_SHARE * np.hypot(*one.shape))
    near = [
        np.mean([min(np.hypot(r - y, c - x) for y, x in far) <= radius for r, c in own])
        for own, far in ((first, second), (second, first))
    ]
    return float(2 * near[0] * near[1] / sum(near)) if sum(near) else 0.0


@given(MASKS, MASKS)
def test_the_measure_is_its_definition(one: Mask, other: Mask) -> None:
    assert boundary_f(one, other) == pytest.approx(slow_f(one, other), abs=1e-12)


def test_a_shift_within_the_tolerance_costs_nothing_and_one_beyond_it_does() -> None:
    tolerance = int(np.ceil(TOLERANCE_SHARE * np.hypot(250, 250)))
    assert tolerance == 3
    assert boundary_f(square(60), square(60 + tolerance)) == 1
    assert boundary_f(square(60), square(60 + tolerance + 1)) < 1
    assert boundary_f(square(60), square(180)) == 0


def test_an_empty_mask_agrees_with_an_empty_one_alone() -> None:
    empty = np.zeros((250, 250), dtype=bool)
    assert (boundary_f(empty, empty), boundary_f(empty, square(60)), boundary_f(square(60), empty)) == (1, 0, 0)


def test_pixels_that_the_reference_leaves_out_make_no_outline() -> None:
    labels = square(60).astype(np.uint8)
    labels[150:200, 150:200] = 255
    mask = square(60)
    mask[150:200, 150:200] = True
    assert boundary_f(mask, labels) == 1
