"""Reading places out of a model's answer: brackets, location tokens, coordinate attributes.

Whatever cannot be used is put into words in `problems`: too few numbers, a number outside the convention's range, a
box without an area. A box that leaves its range by a little is cut to it, fractions of a unit are rounded, and of an
answer that was cut off the whole places count; all but the rounding is said there too. Nothing else is repaired.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from baselines.point_query.dialects.conventions import CoordinateGrid, SpokenBox, SpokenPoint
from evfsam.errors import Sentence

_BRACKETED: Final = re.compile(r"\[([^\[\]]*)\]")
_PARENTHESISED: Final = re.compile(r"\(([^()]*)\)")
_INTEGER: Final = re.compile(r"[+-]?\d{1,9}")
_NUMBER: Final = re.compile(r"[+-]?\d{1,9}(?:\.\d{1,9})?")
_NO_OBJECT: Final = re.compile(
    r"\bno\s+objects?\s+found\b|\bthere\s+(?:is|are)\s+(?:none\b|no\b[^.]*\bin\s+th(?:e|is)\s+(?:image|picture|photo))",
    re.IGNORECASE,
)
_THOUGHT: Final = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_QUOTED: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_PLACE_IN_QUOTES: Final = re.compile(r'"[\[\]\s\d.,+-]*"')
_CUT_PLACE: Final = re.compile(r"\[[\s\d.,+-]*\Z")
_LOCATIONS: Final = re.compile(r"(?:<loc_\d{1,9}>)+")
_LOCATION: Final = re.compile(r"<loc_(\d{1,9})>")
_COORDS: Final = re.compile(r"<(points|boxes)\b[^<>]*?\bcoords=\"([^\"<>]*)(\"?)")
_CUT_COORDS: Final = re.compile(r"\bcoords=\"[^\"<>]*\Z")
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
    """Read every innermost `[a,b,c,d]` of an answer, be it prose or JSON; labels in quotes hold no box.

    An answer without any other bracket than empty ones, such as the JSON list `[]`, says that there is no object.
    """
    text = without_labels(spoken(text))
    boxes: list[SpokenBox] = []
    problems: list[str] = []
    found = _BRACKETED.findall(text)
    is_empty_list = bool(found) and not any(content.strip() for content in found)
    for content in () if is_empty_list else found:
        box = read_box(content, grid, problems)
        if box is not None:
            boxes.append(box)
    note_cut_end(text, problems)
    says_none = is_empty_list or (not found and not problems and says_no_object(text))
    return ParsedBoxes(tuple(boxes), tuple(problems), says_none)


def parse_locations(text: str, grid: CoordinateGrid) -> ParsedBoxes:
    """Read every four `<loc_n>` tokens of an answer; nothing but words means that nothing was found."""
    text = spoken(text)
    boxes: list[SpokenBox] = []
    problems: list[str] = []
    runs = _LOCATIONS.findall(text)
    for run in runs:
        bins = [int(value) for value in _LOCATION.findall(run)]
        for start in range(0, len(bins), 4):
            part = bins[start : start + 4]
            shown = "".join(f"<loc_{value}>" for value in part)
            if len(part) < 4:
                problems.append(Sentence("{place} does not hold {count} whole numbers", place=shown, count=4))
                continue
            box = _checked_box(tuple(part), shown, grid, problems)
            if box is not None:
                boxes.append(box)
    return ParsedBoxes(tuple(boxes), tuple(problems), not runs and says_no_object(text))


def parse_coords(text: str, grid: CoordinateGrid) -> ParsedPromptPoints:
    """Read `<points coords="1 1 459 350 2 612 380">`: the image's number, then number, x and y of each point.

    Each point is an object of its own, and so is each box of `<boxes coords="1 1 160 230 480 590">`. Later parts may
    leave the image's number out.
    """
    text = spoken(text)
    groups: list[PromptGroup] = []
    problems: list[str] = []
    found = _COORDS.findall(text)
    for kind, content, end in found:
        width, last = (2 if kind == "points" else 4), 0
        for part in _FRAME_SEPARATORS.split(content):
            numbers, last = _numbered(part, last, width, bool(end), problems)
            groups += [group for values in numbers if (group := _coords_group(values, grid, problems)) is not None]
    if _CUT_COORDS.search(text) and not (problems and problems[-1].endswith("what is whole was taken")):
        problems.append(Sentence("the answer was cut off within a list; what is whole was taken"))
    return ParsedPromptPoints(tuple(groups), tuple(problems), not found and says_no_object(text))


def _numbered(
    part: str, last: int, width: int, is_closed: bool, problems: list[str]
) -> tuple[list[tuple[int, ...]], int]:
    """Read the places of one part of `coords`, each behind its number, which counts on from `last`.

    A part that has one number too many for its places has its image's number in front, unless it was cut off.

    Returns:
        What stands behind each number, and the last number.
    """
    pieces = part.split()
    what = Sentence("triples of number, x and y" if width == 2 else "five numbers a box: its own, then its corners")
    refusal = Sentence('coords="{part}" does not hold an image number and {what}', part=part, what=what)
    if not all(_INTEGER.fullmatch(piece) for piece in pieces):
        problems.append(refusal)
        return [], last
    values = [int(piece) for piece in pieces]
    has_no_image = values[:1] == [last + 1] and values[1:2] != [last + 1]
    has_no_image &= not is_closed or len(values) % (width + 1) != 1
    values = values if has_no_image else values[1:]
    whole = len(values) // (width + 1) * (width + 1)
    places = [tuple(values[start + 1 : start + 1 + width]) for start in range(0, whole, width + 1)]
    if whole != len(values) or not places:
        problems.append(Sentence("{refusal}; what is whole was taken", refusal=refusal) if places else refusal)
    return places, (values[whole - width - 1] if places else last)


def _coords_group(values: tuple[int, ...], grid: CoordinateGrid, problems: list[str]) -> PromptGroup | None:
    if len(values) == 4:
        box = _checked_box(values, f"[{', '.join(map(str, values))}]", grid, problems)
        return None if box is None else PromptGroup(box, (), ())
    x, y = grid.in_xy(values)
    if not grid.holds((x, y)):
        problems.append(_out_of_range(f"({x}, {y})", grid))
        return None
    return PromptGroup(None, ((x, y),), ())


def spoken(text: str) -> str:
    """Return an answer without what the model thought before it."""
    return _THOUGHT.sub("", text)


def without_labels(text: str) -> str:
    """Blank what stands in quotation marks, unless it is a place: a label may hold brackets of its own."""
    return _QUOTED.sub(lambda found: found[0] if _PLACE_IN_QUOTES.fullmatch(found[0]) else '""', text)


def note_cut_end(text: str, problems: list[str]) -> None:
    """Say that an answer ends within a place, or within a list of them: it was cut off."""
    if found := _CUT_PLACE.search(text):
        problems.append(
            Sentence(
                "the answer was cut off within {place!r}; what is whole before it was taken", place=found[0].strip()
            )
        )
    elif text.count("[") > text.count("]"):
        problems.append(Sentence("the answer was cut off within a list; what is whole was taken"))


def says_no_object(text: str) -> bool:
    """Tell whether an answer says "No object found.", "There are none." or "There are no X in the image."."""
    return _NO_OBJECT.search(text) is not None


def bracket_spans(text: str) -> Sequence[re.Match[str]]:
    """Return the innermost brackets of a text; group 1 is what they hold."""
    return list(_BRACKETED.finditer(text))


def read_box(content: str, grid: CoordinateGrid, problems: list[str]) -> SpokenBox | None:
    """Read what stands between brackets as a box, or note what is wrong with it."""
    shown = f"[{content}]"
    values = _read_numbers(content, 4, shown, problems)
    return None if values is None else _checked_box(values, shown, grid, problems)


def read_points(text: str, grid: CoordinateGrid, problems: list[str]) -> tuple[SpokenPoint, ...]:
    """Read every `(a,b)`; note what is wrong with those that cannot be used."""
    points: list[SpokenPoint] = []
    for content in _PARENTHESISED.findall(text):
        shown = f"({content})"
        values = _read_numbers(content, 2, shown, problems)
        if values is None:
            continue
        x, y = grid.in_xy(values)
        if grid.holds((x, y)):
            points.append((x, y))
        else:
            problems.append(_out_of_range(shown, grid))
    return tuple(points)


def _out_of_range(shown: str, grid: CoordinateGrid) -> Sentence:
    return Sentence("{place} leaves the range {range}", place=shown, range=grid.range_words)


def _read_numbers(content: str, expected_count: int, shown: str, problems: list[str]) -> tuple[int, ...] | None:
    """Read numbers, rounded to whole ones; fractions of the image's sides are another convention, and refused."""
    pieces = [piece.strip() for piece in content.split(",")]
    are_numbers = len(pieces) == expected_count and all(_NUMBER.fullmatch(piece) for piece in pieces)
    if not are_numbers or ("." in content and all(abs(float(piece)) <= 1 for piece in pieces)):
        problems.append(Sentence("{place} does not hold {count} whole numbers", place=shown, count=expected_count))
        return None
    return tuple(round(float(piece)) for piece in pieces)


def _checked_box(written: tuple[int, ...], shown: str, grid: CoordinateGrid, problems: list[str]) -> SpokenBox | None:
    within = grid.clipped(grid.in_xy(written))
    if within is None:
        problems.append(_out_of_range(shown, grid))
        return None
    x1, y1, x2, y2 = within
    if x1 > x2 or y1 > y2:
        first = Sentence("left, top, right, bottom" if grid.order == "xy" else "top, left, bottom, right")
        problems.append(Sentence("{place} has its corners reversed: expected {first}", place=shown, first=first))
    elif x1 == x2 or y1 == y2:
        problems.append(Sentence("{place} has no area", place=shown))
    else:
        if not grid.holds(grid.in_xy(written)):
            problems.append(
                Sentence(
                    "{place} leaves the range {range} by a little, and was cut to it",
                    place=shown,
                    range=grid.range_words,
                )
            )
        return x1, y1, x2, y2
    return None
