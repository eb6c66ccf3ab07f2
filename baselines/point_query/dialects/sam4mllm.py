"""SAM4MLLM's own wording and coordinates, as pure text: what the small language model was trained on.

Coordinates are integers relative to the image, 0..1000, x over width and y over height, zero-padded to three digits.
Three digits hold 0..999, so 1000 is written as 999. A number that leaves 0..1000 is reported, never rescaled: guessing
another convention is how a wrong box goes unnoticed.

Source: SAM4MLLM, arXiv:2409.10542, sections 3.1 (masks as text) and 3.2 (the two ways of asking).
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from baselines.point_query.dialects.answer_parsing import (
    ParsedBoxes,
    ParsedPromptPoints,
    PromptGroup,
    bracket_spans,
    note_cut_end,
    parse_brackets,
    read_box,
    read_points,
    says_no_object,
    spoken,
)
from baselines.point_query.dialects.conventions import CoordinateConvention
from evfsam.errors import ConfigurationError, GeometryError
from evfsam.types import BoxXyxy

RelativeBox = tuple[int, int, int, int]
"""(x1, y1, x2, y2), each 0..1000 of the image's width or height."""

RelativePoint = tuple[int, int]
"""(x, y), each 0..1000 of the image's width or height."""

ObjectCount = Literal["1", "1+", "0+"]
"""How many boxes the asker expects: exactly one, at least one, or maybe none."""

OBJECT_COUNTS: Final[tuple[ObjectCount, ...]] = ("1", "1+", "0+")
RELEASED_SYSTEM_PROMPT: Final = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
"""What LLaVA-NeXT on Llama 3 is told first; the released adapters were trained behind it."""
RELEASED_SIDE: Final = 672
"""Pixels of the square to which the released adapters' training squashed every image."""
NO_OBJECT: Final = "No object found."
YES: Final = "Yes"
NO: Final = "No"

RELATIVE_RANGE: Final = 1000
LARGEST_WRITTEN: Final = 999

SAM4MLLM_CONVENTION: Final = CoordinateConvention("relative", "xy", RELATIVE_RANGE)
_ANY_IMAGE: Final = SAM4MLLM_CONVENTION.grid((1, 1))  # relative numbers are read alike whatever the image's size

_YES_OR_NO: Final = re.compile(r"yes|no", re.IGNORECASE)
_OUTSIDE: Final = re.compile(r"\boutside\b", re.IGNORECASE)


def box_question(phrase: str, count: ObjectCount = "0+") -> str:
    """Ask for the boxes of what the phrase describes (turn 1 of a proactive query).

    Raises:
        ConfigurationError: the count is none of "1", "1+", "0+".
    """
    return (
        "Please provide the bounding box coordinate of the region this sentence describes "
        f'({_checked_count(count)}):\n"{phrase}"'
    )


def points_question(box: RelativeBox, points: Sequence[RelativePoint]) -> str:
    """Ask which points lie on the object in the box (turn 2 of a proactive query).

    Raises:
        GeometryError: a number lies outside 0..1000.
    """
    listed = ",".join(format_point(point) for point in points)
    return f"Check if the points listed below are located on the object with coordinates {format_box(box)}:\n{listed}"


def released_box_question(phrase: str, count: ObjectCount = "0+") -> str:
    """Ask as `box_question` does, in the wording that the released adapters were trained on.

    Raises:
        ConfigurationError: the count is none of "1", "1+", "0+".
    """
    return f"{box_question(phrase, count)}."


def released_points_question(box: RelativeBox, points: Sequence[RelativePoint]) -> str:
    """Ask as `points_question` does, in the wording that the released adapters were trained on.

    Raises:
        GeometryError: a number lies outside 0..1000.
    """
    return points_question(box, points).replace("),(", ") (")


def prompt_points_question(phrase: str, count: ObjectCount = "0+") -> str:
    """Ask for box and points in one answer (prompt-point generation); the wording is ours.

    Raises:
        ConfigurationError: the count is none of "1", "1+", "0+".
    """
    return (
        "Please provide the bounding box of the region this sentence describes, with two points inside the object "
        f'and one outside it ({_checked_count(count)}):\n"{phrase}"'
    )


def boxes_answer(boxes: Sequence[RelativeBox]) -> str:
    """Write the answer to `box_question`: boxes side by side, or "No object found."."""
    return ",".join(format_box(box) for box in boxes) if boxes else NO_OBJECT


def points_answer(are_on_object: Iterable[bool]) -> str:
    """Write the answer to `points_question`: one Yes or No a point, without separators."""
    return "".join(YES if is_on else NO for is_on in are_on_object)


def prompt_points_answer(groups: Sequence[PromptGroup]) -> str:
    """Write the answer to `prompt_points_question`: one line an object, or "No object found."."""
    return "\n".join(_format_group(group) for group in groups) if groups else NO_OBJECT


def format_box(box: RelativeBox) -> str:
    """Write `[x1,y1,x2,y2]` with three digits a number.

    Raises:
        GeometryError: a number lies outside 0..1000.
    """
    return f"[{','.join(_three_digits(value) for value in box)}]"


def format_point(point: RelativePoint) -> str:
    """Write `(x,y)` with three digits a number.

    Raises:
        GeometryError: a number lies outside 0..1000.
    """
    return f"({','.join(_three_digits(value) for value in point)})"


def parse_boxes(text: str) -> ParsedBoxes:
    """Read every `[x1,y1,x2,y2]` of an answer; what cannot be used is named in `problems`."""
    return parse_brackets(text, _ANY_IMAGE)


def parse_prompt_points(text: str) -> ParsedPromptPoints:
    """Read every group `[x1,y1,x2,y2] inside (x,y) (x,y) outside (x,y)` of an answer.

    Points belong to the box before them; those after the word "outside" are negative.
    """
    text = spoken(text)
    groups: list[PromptGroup] = []
    problems: list[str] = []
    found = bracket_spans(text)
    for index, match in enumerate(found):
        end = found[index + 1].start() if index + 1 < len(found) else len(text)
        inside, *outside = _OUTSIDE.split(text[match.end() : end], maxsplit=1)
        box = read_box(match.group(1), _ANY_IMAGE, problems)
        positives = read_points(inside, _ANY_IMAGE, problems)
        negatives = read_points("".join(outside), _ANY_IMAGE, problems)
        if box is not None:
            groups.append(PromptGroup(box, positives, negatives))
    note_cut_end(text, problems)
    return ParsedPromptPoints(tuple(groups), tuple(problems), not found and says_no_object(text))


def parse_points_answer(text: str) -> tuple[bool, ...]:
    """Read the Yes and No of an answer to `points_question`, in order."""
    return tuple(word.lower() == YES.lower() for word in _YES_OR_NO.findall(text))


def relative_box(box: BoxXyxy, size: tuple[int, int]) -> RelativeBox:
    """Turn pixels into relative numbers.

    Args:
        box: XYXY in pixels, within the image.
        size: (H, W) of the image.

    Raises:
        GeometryError: the box leaves the image.
    """
    x1, y1 = relative_point((box[0], box[1]), size)
    x2, y2 = relative_point((box[2], box[3]), size)
    return x1, y1, x2, y2


def pixel_box(box: RelativeBox, size: tuple[int, int]) -> BoxXyxy:
    """Turn relative numbers into XYXY pixels of an image of `size` (H, W)."""
    x1, y1 = pixel_point((box[0], box[1]), size)
    x2, y2 = pixel_point((box[2], box[3]), size)
    return x1, y1, x2, y2


def relative_point(point: tuple[float, float], size: tuple[int, int]) -> RelativePoint:
    """Turn XY pixels of an image of `size` (H, W) into relative numbers.

    Raises:
        GeometryError: the point leaves the image.
    """
    height, width = size
    x, y = point
    if not (0 <= x <= width and 0 <= y <= height):
        raise GeometryError(
            "expected a point within {width} x {height} pixels (W x H), got ({x:g}, {y:g})",
            width=width,
            height=height,
            x=x,
            y=y,
        )
    return round(x / width * RELATIVE_RANGE), round(y / height * RELATIVE_RANGE)


def pixel_point(point: RelativePoint, size: tuple[int, int]) -> tuple[float, float]:
    """Turn relative numbers into XY pixels of an image of `size` (H, W)."""
    height, width = size
    return point[0] * width / RELATIVE_RANGE, point[1] * height / RELATIVE_RANGE


def _checked_count(count: str) -> str:
    if count not in OBJECT_COUNTS:
        raise ConfigurationError(
            "expected an object count of {choices}, got {count!r}", choices=", ".join(OBJECT_COUNTS), count=count
        )
    return count


def _three_digits(value: int) -> str:
    if not 0 <= value <= RELATIVE_RANGE:
        raise GeometryError(
            "expected a relative coordinate 0..{range}, got {value}; convert pixels first",
            range=RELATIVE_RANGE,
            value=value,
        )
    return f"{min(value, LARGEST_WRITTEN):03d}"


def _format_group(group: PromptGroup) -> str:
    assert group.box is not None
    inside = " ".join(format_point(point) for point in group.positives)
    outside = " ".join(format_point(point) for point in group.negatives)
    return f"{format_box(group.box)} inside {inside} outside {outside}"
