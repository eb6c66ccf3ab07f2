import pytest

from evfsam.errors import ConfigurationError, EvfSamError, GeometryError
from webui.tabs.canvas.marks import (
    MAX_MARKS,
    Mark,
    drawn_prompt,
    open_corner,
    prompt_of,
    with_mark,
    without_open_corner,
)

SIZE = (40, 60)


def test_points_stand_in_the_middle_of_their_pixel_with_their_label() -> None:
    marks = with_mark(with_mark((), "on", 3, 4, SIZE), "off", 59, 39, SIZE)
    assert [(point.x, point.y, point.label) for point in prompt_of(marks).points] == [(3.5, 4.5, 1), (59.5, 39.5, 0)]


def test_two_corners_in_any_order_make_a_box_that_holds_both_pixels() -> None:
    marks = (Mark("corner", 20, 5), Mark("corner", 10, 30))
    assert prompt_of(marks).box == (10.0, 5.0, 21.0, 31.0)
    assert open_corner(marks) is None


def test_a_third_corner_waits_and_is_drawn_hollow_while_the_box_stays() -> None:
    marks = (Mark("corner", 0, 0), Mark("corner", 9, 9), Mark("corner", 30, 30))
    assert open_corner(marks) == marks[2]
    assert prompt_of(marks).box == (0.0, 0.0, 10.0, 10.0)
    assert [(point.x, point.is_kept) for point in drawn_prompt(marks).points] == [(30.5, False)]
    assert prompt_of((*marks, Mark("corner", 39, 39))).box == (30.0, 30.0, 40.0, 40.0)


def test_a_box_that_is_dragged_does_not_take_the_corner_that_waits() -> None:
    kept = (Mark("on", 1, 1), Mark("corner", 0, 0), Mark("corner", 9, 9))
    assert without_open_corner(kept) == kept
    dragged = (*without_open_corner((*kept, Mark("corner", 30, 30))), Mark("corner", 12, 12), Mark("corner", 20, 20))
    assert prompt_of(dragged).box == (12.0, 12.0, 21.0, 21.0)


@pytest.mark.parametrize(("column", "row"), [(-1, 0), (60, 0), (0, 40)])
def test_a_pixel_outside_the_image_is_refused(column: int, row: int) -> None:
    with pytest.raises(GeometryError, match="x from 0 to 59 and y from 0 to 39"):
        with_mark((), "on", column, row, SIZE)


@pytest.mark.parametrize("value", [None, "3", 2.5, True, float("nan"), float("inf")])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(EvfSamError):
        with_mark((), "on", value, 3, SIZE)


def test_an_unknown_kind_and_too_many_marks_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected one of on, off, corner"):
        with_mark((), "maybe", 1, 1, SIZE)
    with pytest.raises(ConfigurationError, match="at most"):
        with_mark((Mark("on", 1, 1),) * MAX_MARKS, "on", 1, 1, SIZE)
