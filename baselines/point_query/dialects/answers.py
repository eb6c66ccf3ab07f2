"""Reading places out of a model's answer: brackets, location tokens, coordinate attributes.

Whatever cannot be used is put into words in `problems`: too few numbers, a number outside the convention's range, a
box without an area. Nothing is repaired.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from baselines.point_query.dialects.conventions import CoordinateGrid, SpokenBox, SpokenPoint

_BRACKETED: Final = re.compile(r"\[([^\[\]]*)\]")
_PARENTHESISED: Final = re.compile(r"\(([^()]*)\)")
_INTEGER: Final = re.compile(r"[+-]?\d{1,9}")
_NO_OBJECT: Final = re.compile(r"\bno\s+objects?\s+found\b", re.IGNORECASE)
_NONE: Final = re.compile(r"\bthere\s+are\s+none\b", re.IGNORECASE)
_LOCATIONS: Final = re.compile(r"(?:<loc_\d{1,9}>)+")
_LOCATION: Final = re.compile(r"<loc_(\d{1,9})>")
_COORDS: Final = re.compile(r"<points\b[^<>]*?\bcoords=\"([^\"<>]*)\"")
_FRAME_SEPARATORS: Final = re.compile(r"[\t;:,]")


@dataclass(frozen=True)
class ParsedBoxes:
    """Boxes read from an answer.

    Attributes:
        boxes: usable boxes in the order of the answer: within the convention's range, with an area.
        problems: one sentence for each piece of the answer that is no usable box.
        says_no_object: whether the answer says that there is nothing to box, and holds no box.
    """

    boxes: tuple[SpokenBox, ...]
    problems: tuple[str, ...] = ()
    says_no_object: bool = False


@dataclass(frozen=True)
class PromptGroup:
    """Points on and off an object, as one generated answer gives them; the box is None where the family has none."""

    box: SpokenBox | None
    positives: tuple[SpokenPoint, ...]
    negatives: tuple[SpokenPoint, ...]


@dataclass(frozen=True)
class ParsedPromptPoints:
    """Groups read from a prompt-point answer, one an object; see `ParsedBoxes` for the other fields."""

    groups: tuple[PromptGroup, ...]
    problems: tuple[str, ...] = ()
    says_no_object: bool = False


def parse_brackets(text: str, grid: CoordinateGrid) -> ParsedBoxes:
    """Read every innermost `[a,b,c,d]` of an answer, be it prose or JSON.

    An answer without any other bracket than empty ones, such as the JSON list `[]`, says that there is no object.
    """
    boxes: list[SpokenBox] = []
    problems: list[str] = []
    found = _BRACKETED.findall(text)
    is_empty_list = bool(found) and not any(content.strip() for content in found)
    for content in () if is_empty_list else found:
        box = read_box(content, grid, problems)
        if box is not None:
            boxes.append(box)
    return ParsedBoxes(tuple(boxes), tuple(problems), is_empty_list or (not found and says_no_object(text)))


def parse_locations(text: str, grid: CoordinateGrid) -> ParsedBoxes:
    """Read every four `<loc_n>` tokens of an answer; nothing but words means that nothing was found."""
    boxes: list[SpokenBox] = []
    problems: list[str] = []
    runs = _LOCATIONS.findall(text)
    for run in runs:
        bins = [int(value) for value in _LOCATION.findall(run)]
        for start in range(0, len(bins), 4):
            part = bins[start : start + 4]
            shown = "".join(f"<loc_{value}>" for value in part)
            if len(part) < 4:
                problems.append(f"{shown} does not hold 4 whole numbers")
                continue
            box = _checked_box(tuple(part), shown, grid, problems)
            if box is not None:
                boxes.append(box)
    return ParsedBoxes(tuple(boxes), tuple(problems), not runs and says_no_object(text))


def parse_coords(text: str, grid: CoordinateGrid) -> ParsedPromptPoints:
    """Read `<points coords="1 1 459 350 2 612 380">`: the image's number, then number, x and y of each point.

    Each point is an object of its own.
    """
    groups: list[PromptGroup] = []
    problems: list[str] = []
    found = _COORDS.findall(text)
    for content in found:
        for frame in _FRAME_SEPARATORS.split(content):
            pieces = frame.split()
            if len(pieces) % 3 != 1 or not all(_INTEGER.fullmatch(piece) for piece in pieces):
                problems.append(f'coords="{frame}" does not hold an image number and triples of number, x and y')
                continue
            numbers = [int(piece) for piece in pieces[1:]]
            for start in range(0, len(numbers), 3):
                values = grid.in_xy(tuple(numbers[start + 1 : start + 3]))
                if grid.holds(values):
                    groups.append(PromptGroup(None, ((values[0], values[1]),), ()))
                else:
                    problems.append(f"({values[0]}, {values[1]}) leaves the range {grid.range_words}")
    is_none = not found and (says_no_object(text) or _NONE.search(text) is not None)
    return ParsedPromptPoints(tuple(groups), tuple(problems), is_none)


def says_no_object(text: str) -> bool:
    """Tell whether an answer says "No object found."."""
    return _NO_OBJECT.search(text) is not None


def bracket_spans(text: str) -> Sequence[re.Match[str]]:
    """Return the innermost brackets of a text; group 1 is what they hold."""
    return list(_BRACKETED.finditer(text))


def read_box(content: str, grid: CoordinateGrid, problems: list[str]) -> SpokenBox | None:
    """Read what stands between brackets as a box, or note what is wrong with it."""
    shown = f"[{content}]"
    values = _read_integers(content, 4, shown, problems)
    return None if values is None else _checked_box(values, shown, grid, problems)


def read_points(text: str, grid: CoordinateGrid, problems: list[str]) -> tuple[SpokenPoint, ...]:
    """Read every `(a,b)`; note what is wrong with those that cannot be used."""
    points: list[SpokenPoint] = []
    for content in _PARENTHESISED.findall(text):
        shown = f"({content})"
        values = _read_integers(content, 2, shown, problems)
        if values is None:
            continue
        x, y = grid.in_xy(values)
        if grid.holds((x, y)):
            points.append((x, y))
        else:
            problems.append(f"{shown} leaves the range {grid.range_words}")
    return tuple(points)


def _read_integers(content: str, expected_count: int, shown: str, problems: list[str]) -> tuple[int, ...] | None:
    pieces = [piece.strip() for piece in content.split(",")]
    if len(pieces) != expected_count or not all(_INTEGER.fullmatch(piece) for piece in pieces):
        problems.append(f"{shown} does not hold {expected_count} whole numbers")
        return None
    return tuple(int(piece) for piece in pieces)


def _checked_box(written: tuple[int, ...], shown: str, grid: CoordinateGrid, problems: list[str]) -> SpokenBox | None:
    x1, y1, x2, y2 = grid.in_xy(written)
    if not grid.holds((x1, y1, x2, y2)):
        problems.append(f"{shown} leaves the range {grid.range_words}")
    elif x1 > x2 or y1 > y2:
        first = "left, top, right, bottom" if grid.order == "xy" else "top, left, bottom, right"
        problems.append(f"{shown} has its corners reversed: expected {first}")
    elif x1 == x2 or y1 == y2:
        problems.append(f"{shown} has no area")
    else:
        return x1, y1, x2, y2
    return None
