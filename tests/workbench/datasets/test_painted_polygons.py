"""Polygons with their outline cover the pixels that OpenCV paints; the masks here were drawn by hand."""

import numpy as np
import pytest

from workbench.datasets.reason_seg import painted_polygon


def drawn(*rows: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


@pytest.mark.parametrize(
    ("points", "rows"),
    [
        ([(1, 1), (4, 1), (4, 3), (1, 3)], [".......", ".####..", ".####..", ".####..", "......."]),
        ([(1.9, 1.2), (4.8, 1.0), (4.0, 3.7), (1.1, 3.0)], [".......", ".####..", ".####..", ".####..", "......."]),
        ([(0, 0), (6, 4)], ["#......", ".##....", "...#...", "....##.", "......#"]),
        ([(3, 2)], [".......", ".......", "...#...", ".......", "......."]),
        ([(0, 0), (6, 0), (0, 4)], ["#######", "######.", "####...", "###....", "#......"]),
        ([(5, 2), (9, 2), (9, 9), (5, 9)], [".......", ".......", ".....##", ".....##", ".....##"]),
    ],
)
def test_a_shape_covers_its_inside_and_its_outline(points: list[tuple[float, float]], rows: list[str]) -> None:
    np.testing.assert_array_equal(painted_polygon(points, (5, 7)), drawn(*rows))


def test_what_is_gone_around_twice_is_outside_but_for_the_outline() -> None:
    twice = [(0, 0), (6, 0), (6, 6), (0, 6), (0, 0), (2, 2), (2, 4), (4, 4), (4, 2), (2, 2)]
    mask = painted_polygon(twice, (7, 7))
    assert not mask[3, 3]
    assert mask[2:5, 2].all()
    assert mask.sum() == 48
