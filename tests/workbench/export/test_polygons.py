"""Polygons, drawn as labelme draws them, are the mask again."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageDraw

from tests.workbench.export.runs import ring
from workbench.export.polygons import Polygon, mask_polygons
from workbench.metrics.masks import Mask, mask_iou

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=16))


def drawn(polygons: list[Polygon], shape: tuple[int, ...]) -> Mask:
    canvas = Image.new("L", (shape[1], shape[0]))
    for polygon in polygons:
        ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in polygon], outline=1, fill=1)
    return np.asarray(canvas).astype(bool)


def flat(mask: Mask) -> list[Polygon]:
    return [polygon for part in mask_polygons(mask) for polygon in part]


@settings(deadline=None, max_examples=200)
@given(MASKS)
def test_any_mask_comes_back_from_its_polygons(mask: Mask) -> None:
    np.testing.assert_array_equal(drawn(flat(mask), mask.shape), mask)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_smooth_shapes_with_holes_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[:90, :120]
    mask = np.zeros((90, 120), dtype=bool)
    for is_added in (True, True, False, True, False):
        centre, radius = rng.uniform((0, 0), (90, 120)), rng.uniform(3, 40)
        mask[np.hypot(rows - centre[0], columns - centre[1]) < radius] = is_added
    assert mask_iou(drawn(flat(mask), mask.shape), mask) > 0.98


def test_parts_are_kept_together_and_each_polygon_can_be_read_by_labelme() -> None:
    parts = mask_polygons(ring())
    assert len(parts) == 2, "the ring, cut open, and its island"
    sizes = sorted(len(part) for part in parts)
    assert sizes == [1, 2]
    assert all(len(polygon) >= 3 for part in parts for polygon in part)


def test_points_on_straight_lines_are_left_out() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[2:7, 3:8] = True
    assert [set(polygon) for polygon in flat(mask)] == [{(3, 2), (7, 2), (7, 6), (3, 6)}]


def test_an_empty_mask_has_none() -> None:
    assert mask_polygons(np.zeros((3, 3), dtype=bool)) == ()
