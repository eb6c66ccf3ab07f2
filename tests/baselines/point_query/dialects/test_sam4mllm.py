"""The wording is part of the trained weights: a changed letter here is a changed model."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.point_query import dialects
from baselines.point_query.dialects import PromptGroup
from evfsam.errors import ConfigurationError, GeometryError

GROUP = PromptGroup((281, 240, 863, 1000), ((300, 400), (7, 600)), ((700, 300),))


def test_box_question_keeps_its_wording() -> None:
    assert dialects.box_question("the red cup") == (
        'Please provide the bounding box coordinate of the region this sentence describes (0+):\n"the red cup"'
    )


@pytest.mark.parametrize("count", ["1", "1+", "0+"])
def test_both_questions_name_the_expected_count(count: dialects.ObjectCount) -> None:
    assert f"({count}):" in dialects.box_question("cup", count)
    assert f"({count}):" in dialects.prompt_points_question("cup", count)


def test_unknown_count_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"count of 1, 1\+, 0\+, got '2'"):
        dialects.box_question("cup", "2")  # type: ignore[arg-type]


def test_points_question_keeps_its_wording() -> None:
    assert dialects.points_question((5, 40, 300, 1000), [(7, 41), (299, 1000)]) == (
        "Check if the points listed below are located on the object with coordinates [005,040,300,999]:\n"
        "(007,041),(299,999)"
    )


def test_prompt_points_question_keeps_its_wording() -> None:
    assert dialects.prompt_points_question("both cats", "1+") == (
        "Please provide the bounding box of the region this sentence describes, with two points inside the object "
        'and one outside it (1+):\n"both cats"'
    )


def test_answers_keep_their_wording() -> None:
    assert dialects.boxes_answer([(1, 2, 30, 400), (0, 0, 1000, 999)]) == "[001,002,030,400],[000,000,999,999]"
    assert dialects.boxes_answer([]) == dialects.prompt_points_answer([]) == "No object found."
    assert dialects.points_answer([False, False, True]) == "NoNoYes"
    assert dialects.prompt_points_answer([GROUP]) == "[281,240,863,999] inside (300,400) (007,600) outside (700,300)"


def test_turns_put_the_image_before_the_text() -> None:
    assert dialects.user_turn("where?", with_image=True) == {
        "role": "user",
        "content": [{"type": "image"}, {"type": "text", "text": "where?"}],
    }
    assert dialects.user_turn("where?")["content"] == [{"type": "text", "text": "where?"}]
    assert dialects.assistant_turn("there") == {"role": "assistant", "content": [{"type": "text", "text": "there"}]}


@pytest.mark.parametrize("value", [-1, 1001])
def test_numbers_outside_the_relative_range_are_not_written(value: int) -> None:
    with pytest.raises(GeometryError, match=rf"0\.\.1000, got {value}"):
        dialects.format_point((value, 5))


def test_several_boxes_are_read_in_order_and_prose_around_them_is_ignored() -> None:
    parsed = dialects.parse_boxes("Sure: [281,240,863,999], and [ 1, 2,30,400 ].")
    assert parsed == dialects.ParsedBoxes(((281, 240, 863, 999), (1, 2, 30, 400)))


def test_nested_lists_are_read() -> None:
    assert dialects.parse_boxes("[[1,2,3,4],[5,6,7,8]]").boxes == ((1, 2, 3, 4), (5, 6, 7, 8))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("12,34,1051,99", r"leaves the range 0\.\.1000"),
        ("-51,34,100,99", r"leaves the range 0\.\.1000"),
        ("300,40,100,99", "corners reversed"),
        ("30,400,100,99", "corners reversed"),
        ("30,40,30,99", "no area"),
        ("30,40,50,40", "no area"),
        ("0.1,0.2,0.3,0.4", "does not hold 4 whole numbers"),
        ("1,2,3", "does not hold 4 whole numbers"),
        ("the cup", "does not hold 4 whole numbers"),
        ("1" * 5000 + ",2,3,4", "does not hold 4 whole numbers"),
    ],
)
def test_unusable_boxes_are_named_and_left_out(content: str, problem: str) -> None:
    parsed = dialects.parse_boxes(f"[{content}][10,20,30,40]")
    assert parsed.boxes == ((10, 20, 30, 40),)
    assert len(parsed.problems) == 1
    assert f"[{content}]" in parsed.problems[0]
    assert re.search(problem, parsed.problems[0])


@pytest.mark.parametrize("text", ["No object found.", " no object found", "No objects found!"])
def test_no_object_is_recognised(text: str) -> None:
    assert dialects.parse_boxes(text).says_no_object
    assert dialects.parse_prompt_points(text).says_no_object


@pytest.mark.parametrize("text", ["", "I cannot see it.", "No object found. [1,2,3,4]", "[9,9,1,1] no object found"])
def test_no_object_is_not_read_into_other_answers(text: str) -> None:
    assert not dialects.parse_boxes(text).says_no_object
    assert not dialects.parse_prompt_points(text).says_no_object


def test_prompt_points_belong_to_the_box_before_them() -> None:
    text = dialects.prompt_points_answer([GROUP, PromptGroup((1, 2, 3, 4), ((2, 3),), ())])
    groups = dialects.parse_prompt_points(text).groups
    assert groups == (
        PromptGroup((281, 240, 863, 999), ((300, 400), (7, 600)), ((700, 300),)),
        PromptGroup((1, 2, 3, 4), ((2, 3),), ()),
    )


def test_bad_points_are_named_and_the_good_ones_kept() -> None:
    parsed = dialects.parse_prompt_points("[1,2,30,40] inside (1200,5) (5,6) outside (7)")
    assert parsed.groups == (PromptGroup((1, 2, 30, 40), ((5, 6),), ()),)
    assert [problem.split(")")[0] for problem in parsed.problems] == ["(1200,5", "(7"]


def test_yes_and_no_are_read_in_order() -> None:
    assert dialects.parse_points_answer("NoNoYes, yes no") == (False, False, True, True, False)


def test_x_goes_over_width_and_y_over_height() -> None:
    assert dialects.relative_box((10, 20, 40, 80), size=(100, 200)) == (50, 200, 200, 800)
    assert dialects.pixel_box((50, 200, 200, 800), size=(100, 200)) == (10, 20, 40, 80)


@pytest.mark.parametrize("point", [(-0.5, 5.0), (5.0, 100.5), (200.5, 5.0), (float("nan"), 5.0)])
def test_points_off_the_image_are_refused(point: tuple[float, float]) -> None:
    with pytest.raises(GeometryError, match="within 200 x 100 pixels"):
        dialects.relative_point(point, size=(100, 200))


@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_pixels_survive_the_words_within_a_bin(size: tuple[int, int], share: tuple[float, float]) -> None:
    height, width = size
    pixel = (share[0] * width, share[1] * height)
    written = dialects.format_box((0, 0, *dialects.relative_point(pixel, size)))
    x, y = (int(piece) for piece in written.strip("[]").split(",")[2:])
    back = dialects.pixel_point((x, y), size)
    assert abs(back[0] - pixel[0]) <= width / 1000 + 1e-9
    assert abs(back[1] - pixel[1]) <= height / 1000 + 1e-9
