"""Each family's wording, convention and parser, to the letter: a wrong convention is the most common silent bug."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.point_query import dialects
from baselines.point_query.dialects import (
    DIALECTS,
    CoordinateConvention,
    PromptGroup,
    SpokenBox,
    dialect_of_model,
    find_dialect,
)
from baselines.point_query.dialects.answer_parsing import parse_brackets
from evfsam.errors import ConfigurationError

GOLDEN: Mapping[str, Mapping[str, str]] = json.loads(
    (Path(__file__).parents[3] / "fixtures" / "golden" / "dialects.json").read_text(encoding="utf-8")
)
ANSWERS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "fixtures" / "golden" / "mllm_answers.json").read_text(encoding="utf-8")
)
SIZE = (480, 640)
RESIZED = (448, 672)
PHRASE = "the dog on the left"


def asked(key: str) -> dict[str, str]:
    """Every question of a dialect about one phrase, one box and its points."""
    dialect = DIALECTS[key]
    grid = dialect.convention.grid(SIZE, RESIZED)
    box = (100, 200, 300, 400)
    questions: dict[str, str] = {}
    if dialect.presence_question is not None:
        questions["presence"] = dialect.presence_question(PHRASE)
    if dialect.box_question is not None:
        for count in dialects.OBJECT_COUNTS:
            questions[f"box {count}"] = dialect.box_question(PHRASE, count)
    if dialect.points_question is not None:
        questions["point"] = dialect.points_question(PHRASE, box, [(150, 250)], grid)
        questions["points"] = dialect.points_question(PHRASE, box, [(150, 250), (290, 390)], grid)
    if dialect.prompt_points_question is not None:
        questions["prompt points"] = dialect.prompt_points_question(PHRASE, "0+")
    return questions


@pytest.mark.parametrize("key", list(DIALECTS))
def test_questions_keep_their_wording(key: str) -> None:
    assert asked(key) == GOLDEN[key]


def test_every_dialect_has_golden_texts() -> None:
    assert set(GOLDEN) == set(DIALECTS)


@pytest.mark.parametrize(
    ("key", "answer", "boxes", "pixels"),
    [
        (
            "qwen3-vl",
            '```json\n[\n\t{"bbox_2d": [125, 250, 500, 1000], "label": "dog"}\n]\n```',
            ((125, 250, 500, 1000),),
            ((80, 120, 320, 480),),
        ),
        ("qwen3.5", '[{"bbox_2d": [0, 0, 1000, 500], "label": "x"}]', ((0, 0, 1000, 500),), ((0, 0, 640, 240),)),
        (
            "qwen2.5-vl",
            '```json\n[{"bbox_2d": [168, 112, 672, 448], "label": "dog"}]\n```',
            ((168, 112, 672, 448),),
            ((160, 120, 640, 480),),
        ),
        (
            "internvl3.5",
            "<ref>the dog on the left</ref><box>[[125, 250, 500, 1000], [0, 0, 10, 10]]</box>",
            ((125, 250, 500, 1000), (0, 0, 10, 10)),
            ((80, 120, 320, 480), (0, 0, 6.4, 4.8)),
        ),
        ("llava-next", "[125,250,500,999]", ((125, 250, 500, 999),), ((80, 120, 320, 479.52),)),
        (
            "florence-2",
            "the dog<loc_0><loc_250><loc_499><loc_999>",
            ((0, 250, 499, 999),),
            ((0.32, 120.24, 319.68, 479.76),),
        ),
    ],
)
def test_boxes_are_read_and_turned_into_pixels(
    key: str, answer: str, boxes: tuple[tuple[int, ...], ...], pixels: tuple[tuple[float, ...], ...]
) -> None:
    dialect = DIALECTS[key]
    grid = dialect.convention.grid(SIZE, RESIZED)
    parsed = dialect.parse_boxes(answer, grid)
    assert parsed == dialects.ParsedBoxes(boxes)
    assert [grid.pixel_box(box) for box in parsed.boxes] == [pytest.approx(box) for box in pixels]


@pytest.mark.parametrize(
    ("key", "answer", "problem"),
    [
        ("qwen3-vl", '[{"bbox_2d": [100, 100, 1200, 300]}]', r"\[100, 100, 1200, 300\] leaves the range 0..1000"),
        ("qwen3.5", '[{"bbox_2d": [-51, 100, 200, 300]}]', r"\[-51, 100, 200, 300\] leaves the range 0..1000"),
        (
            "qwen2.5-vl",
            '[{"bbox_2d": [100, 100, 706, 300]}]',
            r"leaves the range 0\.\.672 x 0\.\.448 pixels \(x, y\) of the image as the processor resized it",
        ),
        ("qwen2.5-vl", '[{"bbox_2d": [100, 100, 600, 477]}]', r"leaves the range 0\.\.672 x 0\.\.448 pixels"),
        ("internvl3.5", "<box>[[100, 100, 1051, 300]]</box>", r"leaves the range 0\.\.1000"),
        ("florence-2", "dog<loc_0><loc_0><loc_1050><loc_9>", r"leaves the range 0\.\.999 of location bins"),
        ("florence-2", "dog<loc_5><loc_5><loc_5><loc_9>", r"<loc_5><loc_5><loc_5><loc_9> has no area"),
        ("florence-2", "dog<loc_5><loc_5><loc_7>", r"<loc_5><loc_5><loc_7> does not hold 4 whole numbers"),
        ("qwen3-vl", '[{"bbox_2d": [10, 10, 10, 300]}]', r"has no area"),
        ("qwen3-vl", '[{"bbox_2d": [300, 10, 10, 300]}]', r"corners reversed: expected left, top, right, bottom"),
        ("qwen3-vl", '[{"bbox_2d": [0.1, 0.2, 0.3, 0.4]}]', r"does not hold 4 whole numbers"),
    ],
)
def test_values_that_break_the_convention_are_reported_and_never_rescaled(key: str, answer: str, problem: str) -> None:
    dialect = DIALECTS[key]
    parsed = dialect.parse_boxes(answer, dialect.convention.grid(SIZE, RESIZED))
    assert parsed.boxes == ()
    assert not parsed.says_no_object
    (said,) = parsed.problems
    assert re.search(problem, said)


LIMITS = {"sam4mllm": (1000, 1050), "qwen2.5-vl": (672, 705), "florence-2": (999, 1048)}
"""The largest number of each convention, and the largest that is 5 % beyond it; 1000 and 1050 for the others."""


def _read_box(key: str, box: tuple[int, int, int, int]) -> tuple[tuple[SpokenBox | None, ...], tuple[str, ...]]:
    dialect = DIALECTS[key]
    grid = dialect.convention.grid(SIZE, RESIZED)
    numbers = ", ".join(map(str, box))
    if dialect.box_question is None:
        groups = dialect.parse_prompt_points(f'<boxes coords="1 1 {numbers.replace(",", "")}">', grid)
        return tuple(group.box for group in groups.groups), groups.problems
    answer = "dog" + "".join(f"<loc_{value}>" for value in box) if key == "florence-2" else f"[{numbers}]"
    parsed = dialect.parse_boxes(answer, grid)
    if key == "sam4mllm":
        groups = dialect.parse_prompt_points(f"{answer} inside (5,5) outside (6,6)", grid)
        assert (tuple(group.box for group in groups.groups), groups.problems) == (parsed.boxes, parsed.problems)
    return parsed.boxes, parsed.problems


@pytest.mark.parametrize("key", list(DIALECTS))
def test_a_box_that_leaves_its_range_by_a_little_is_cut_to_it_and_that_is_said(key: str) -> None:
    """By 5 %, in every family; beyond that the numbers may be of another convention, and are refused."""
    largest, slack = LIMITS.get(key, (1000, 1050))
    assert _read_box(key, (10, 20, largest, 30)) == (((10, 20, largest, 30),), ())
    for right in (largest + 1, slack):
        boxes, (said,) = _read_box(key, (10, 20, right, 30))
        assert boxes == ((10, 20, largest, 30),)
        assert said.endswith("by a little, and was cut to it")
    boxes, (said,) = _read_box(key, (10, 20, slack + 1, 30))
    assert boxes == ()
    assert "leaves the range 0.." in said
    assert "by a little" not in said


@pytest.mark.parametrize(
    ("key", "answer", "box"),
    [
        ("qwen3-vl", '[{"bbox_2d": [412, -50, 1050, 640]}]', (412, 0, 1000, 640)),
        ("qwen2.5-vl", '[{"bbox_2d": [100, 100, 705, 476]}]', (100, 100, 672, 448)),
        ("florence-2", "dog<loc_0><loc_0><loc_1000><loc_9>", (0, 0, 999, 9)),
    ],
)
def test_each_side_is_cut_to_its_own_end(key: str, answer: str, box: tuple[int, ...]) -> None:
    dialect = DIALECTS[key]
    parsed = dialect.parse_boxes(answer, dialect.convention.grid(SIZE, RESIZED))
    assert parsed.boxes == (box,)
    assert len(parsed.problems) == 1


@pytest.mark.parametrize(
    ("answer", "boxes", "problem"),
    [
        ('<think>[1, 2, 30, 40]</think>[{"bbox_2d": [5, 6, 7, 8]}]', ((5, 6, 7, 8),), None),
        ("<think>it may be at [1, 2, 30, 40]", (), None),
        ('[{"bbox_2d": [5, 6, 7, 8], "label": "seat [A1] [1, 2, 3, 4]"}]', ((5, 6, 7, 8),), None),
        ('[{"bbox_2d": "[5, 6, 7, 8]"}]', ((5, 6, 7, 8),), None),
        ("[5.4, 6.6, 7.0, 8]", ((5, 7, 7, 8),), None),
        ('[{"bbox_2d": [5, 6, 7, 8]}, {"bbox_2d": [9, 10', ((5, 6, 7, 8),), "was cut off within '[9, 10'"),
        ('[{"bbox_2d": [5, 6, 7, 8]}, {"bbo', ((5, 6, 7, 8),), "was cut off within a list"),
        ("[5, 6, 7, 8],[9, 1", ((5, 6, 7, 8),), "was cut off within '[9, 1'"),
    ],
)
def test_thoughts_labels_fractions_and_cut_ends_leave_the_boxes_right(
    answer: str, boxes: tuple[tuple[int, ...], ...], problem: str | None
) -> None:
    parsed = parse_brackets(answer, DIALECTS["qwen3-vl"].convention.grid(SIZE))
    assert parsed.boxes == boxes
    assert [problem in said for said in parsed.problems if problem] == ([True] if problem else [])
    assert len(parsed.problems) == (problem is not None)


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: f"{row['dialect']}: {row['answer'][:60]}")
def test_answers_of_published_models_are_read_as_they_were_meant(row: dict[str, Any]) -> None:
    dialect = DIALECTS[row["dialect"]]
    grid = dialect.convention.grid(SIZE, tuple(row.get("image_as_resized_hw", RESIZED)))
    if row["kind"] == "boxes":
        expected = dialects.ParsedBoxes(_pairs(row["boxes"]), tuple(row["problems"]), row["is_absent"])
        assert dialect.parse_boxes(row["answer"], grid) == expected
        return
    groups = [PromptGroup(None, (point,), ()) for point in _pairs(row["points"])]
    groups += [PromptGroup(box, (), ()) for box in _pairs(row["boxes"])]
    expected_points = dialects.ParsedPromptPoints(tuple(groups), tuple(row["problems"]), row["is_absent"])
    assert dialect.parse_prompt_points(row["answer"], grid) == expected_points


def _pairs(rows: list[list[int]]) -> tuple[Any, ...]:
    return tuple(tuple(row) for row in rows)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ('<points coords="1 1 555 169;2 3 649 154">', [(555, 169), (649, 154)]),  # the second image's third point
        ('<points coords="1 1 555 169;2 649 154">', [(555, 169), (649, 154)]),
        ('<points coords="1 354 612 2 700 4', [(354, 612), (700, 4)]),
        ('<points coords="1 354 612 2', [(354, 612)]),
        ('<points coords="1 1 354 612 2', [(354, 612)]),
        ('<points coords="1 1 354 612 2 700 480', [(354, 612), (700, 480)]),
        ('<points coords="1 1 354 612 2 700 480>dogs</points>', [(354, 612), (700, 480)]),
    ],
)
def test_the_number_of_an_image_is_told_from_that_of_a_point(text: str, points: list[tuple[int, int]]) -> None:
    parsed = DIALECTS["molmo2"].parse_prompt_points(text, DIALECTS["molmo2"].convention.grid(SIZE))
    assert [group.positives for group in parsed.groups] == [(point,) for point in points]
    assert [problem.endswith("what is whole was taken") for problem in parsed.problems] == [True] * (">" not in text)


def test_points_after_another_image_may_leave_its_number_out() -> None:
    grid = DIALECTS["molmo2"].convention.grid(SIZE)
    for text in ("1 1 354 612; 2 700 480", "1 1 354 612;2 2 700 480", "1 1 354 612 2 700 480"):
        parsed = DIALECTS["molmo2"].parse_prompt_points(f'<points coords="{text}"/>', grid)
        assert [group.positives for group in parsed.groups] == [((354, 612),), ((700, 480),)]
        assert parsed.problems == ()


@pytest.mark.parametrize(
    ("key", "answer"),
    [("qwen3-vl", "```json\n[]\n```"), ("qwen2.5-vl", "[ ]"), ("llava-next", "No object found.")],
)
def test_an_empty_list_says_that_there_is_nothing(key: str, answer: str) -> None:
    dialect = DIALECTS[key]
    parsed = dialect.parse_boxes(answer, dialect.convention.grid(SIZE, RESIZED))
    assert parsed == dialects.ParsedBoxes((), (), says_no_object=True)


@pytest.mark.parametrize("key", [key for key, dialect in DIALECTS.items() if dialect.box_question is not None])
@pytest.mark.parametrize("answer", ["", "The dog is brown.", "It is in the upper left corner, near 100, 200."])
def test_prose_holds_no_box(key: str, answer: str) -> None:
    dialect = DIALECTS[key]
    parsed = dialect.parse_boxes(answer, dialect.convention.grid(SIZE, RESIZED))
    assert parsed == dialects.ParsedBoxes(())


def test_cut_off_json_gives_the_boxes_that_are_whole() -> None:
    answer = '[{"bbox_2d": [1, 2, 3, 4], "label": "a"}, {"bbox_2d": [5, 6, 7'
    parsed = DIALECTS["qwen3-vl"].parse_boxes(answer, DIALECTS["qwen3-vl"].convention.grid(SIZE))
    assert parsed.boxes == ((1, 2, 3, 4),)


def test_molmo_points_are_objects_of_their_own() -> None:
    dialect = DIALECTS["molmo2"]
    grid = dialect.convention.grid(SIZE)
    parsed = dialect.parse_prompt_points('<points coords="1 1 500 250 2 1000 000">dogs</points>', grid)
    assert [group.positives for group in parsed.groups] == [((500, 250),), ((1000, 0),)]
    assert all(group.box is None and group.negatives == () for group in parsed.groups)
    assert grid.pixel_point(parsed.groups[0].positives[0]) == (320, 120)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ('<points coords="1 1 1500 250">x</points>', r"\(1500, 250\) leaves the range 0..1000"),
        ('<points coords="1 1 500">x</points>', "does not hold an image number and triples"),
        ('<points coords="1 1 0.5 0.2">x</points>', "does not hold an image number and triples"),
    ],
)
def test_molmo_points_that_break_the_convention_are_reported(answer: str, problem: str) -> None:
    dialect = DIALECTS["molmo2"]
    parsed = dialect.parse_prompt_points(answer, dialect.convention.grid(SIZE))
    assert parsed.groups == ()
    assert re.search(problem, parsed.problems[0])


def test_molmo_says_that_there_are_none() -> None:
    dialect = DIALECTS["molmo2"]
    assert dialect.parse_prompt_points("There are none.", dialect.convention.grid(SIZE)).says_no_object
    assert not dialect.parse_prompt_points("A dog.", dialect.convention.grid(SIZE)).says_no_object


def test_a_convention_may_write_y_before_x() -> None:
    grid = CoordinateConvention("bins", "yx", 1024).grid((100, 200))
    parsed = parse_brackets("[256, 0, 512, 1023]", grid)
    assert parsed.boxes == ((0, 256, 1023, 512),)
    assert grid.pixel_box(parsed.boxes[0]) == pytest.approx((0.0977, 25.05, 199.9, 50.05), abs=0.01)
    assert grid.written((0, 256, 1023, 512)) == (256, 0, 512, 1023)
    assert "expected top, left, bottom, right" in parse_brackets("[512, 0, 256, 9]", grid).problems[0]


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 1000), st.integers(0, 1000))
def test_every_written_point_lies_in_the_image(height: int, width: int, x: int, y: int) -> None:
    for dialect in DIALECTS.values():
        grid = dialect.convention.grid((height, width), (28, 56))
        if grid.holds((x, y)):
            at_x, at_y = grid.pixel_point((x, y))
            assert 0 <= at_x <= width
            assert 0 <= at_y <= height


def test_pixels_of_an_unknown_size_are_not_guessed() -> None:
    with pytest.raises(ConfigurationError, match="the processor tells no such size"):
        DIALECTS["qwen2.5-vl"].convention.grid(SIZE)


def test_families_are_known_by_their_model_type() -> None:
    for dialect in DIALECTS.values():
        for model_type in dialect.model_types:
            assert dialect_of_model(model_type) is dialect
    assert find_dialect("qwen3-vl").weights == "Qwen/Qwen3-VL-2B-Instruct"


def test_unknown_families_are_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match=r"no dialect is known for models of type 'kosmos-2' .* not guessed"):
        dialect_of_model("kosmos-2")
    with pytest.raises(ConfigurationError, match=r"unknown dialect 'qwen': expected one of sam4mllm, llava-next"):
        find_dialect("qwen")
