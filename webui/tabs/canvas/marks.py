"""A person's marks on a picture: points on and off the object, and corners of a box. No Gradio."""

from dataclasses import dataclass
from typing import Final, Literal

from evfsam.errors import ConfigurationError, GeometryError
from evfsam.types import BoxXyxy, PromptPoint, SamPrompt
from webui.i18n.translate import translate

MarkKind = Literal["on", "off", "corner"]
MARK_TITLES: Final[dict[MarkKind, str]] = {
    "on": "A point on the object",
    "off": "A point off the object",
    "corner": "A corner of the box",
}
MARK_CHOICES: Final[dict[MarkKind, str]] = {"on": "Point on it", "off": "Point off it", "corner": "Box corner"}
"""What a click adds, in so few words that the three choices stand in one row of a phone."""
MAX_MARKS: Final = 40


@dataclass(frozen=True)
class Mark:
    """One mark.

    Attributes:
        kind: what it stands for.
        column, row: the pixel of the original image, from 0.
    """

    kind: MarkKind
    column: int
    row: int


Marks = tuple[Mark, ...]
"""In the order in which they were made: taking the last one away undoes a step."""


def with_mark(marks: Marks, kind: object, column: object, row: object, size: tuple[int, int]) -> Marks:
    """Add a mark to an image of `size` (H, W).

    Raises:
        ConfigurationError: the kind is unknown, a coordinate is missing, or there are too many marks.
        GeometryError: the pixel is outside the image.
    """
    if kind not in MARK_TITLES:
        raise ConfigurationError(
            "expected one of {choices} as a mark, got {value!r}", choices=", ".join(MARK_TITLES), value=kind
        )
    if len(marks) >= MAX_MARKS:
        raise ConfigurationError("expected at most {most} marks; undo some, or start over", most=MAX_MARKS)
    x, y, (height, width) = _whole(column, "x"), _whole(row, "y"), size
    if not (0 <= x < width and 0 <= y < height):
        raise GeometryError(
            "expected x from 0 to {width} and y from 0 to {height}, got {x} and {y}",
            width=width - 1,
            height=height - 1,
            x=x,
            y=y,
        )
    return (*marks, Mark(kind, x, y))


def points_of(marks: Marks) -> tuple[PromptPoint, ...]:
    """Return the points, each in the middle of its pixel."""
    return tuple(
        PromptPoint(mark.column + 0.5, mark.row + 0.5, 1 if mark.kind == "on" else 0)
        for mark in marks
        if mark.kind != "corner"
    )


def box_of(marks: Marks) -> BoxXyxy | None:
    """Return the box between the last two corners that belong together, both pixels included."""
    corners = [mark for mark in marks if mark.kind == "corner"]
    pair = corners[: len(corners) // 2 * 2][-2:]
    if not pair:
        return None
    columns, rows = [mark.column for mark in pair], [mark.row for mark in pair]
    return float(min(columns)), float(min(rows)), float(max(columns) + 1), float(max(rows) + 1)


def open_corner(marks: Marks) -> Mark | None:
    """Return the corner that waits for its second one."""
    corners = [mark for mark in marks if mark.kind == "corner"]
    return corners[-1] if len(corners) % 2 else None


def without_open_corner(marks: Marks) -> Marks:
    """Return the marks without a corner that waits: a box that is dragged brings both of its own."""
    waiting = open_corner(marks)
    return tuple(mark for mark in marks if mark is not waiting)


def prompt_of(marks: Marks) -> SamPrompt:
    """Return what SAM is given beside the phrase."""
    return SamPrompt(box=box_of(marks), points=points_of(marks))


def drawn_prompt(marks: Marks) -> SamPrompt:
    """Return the prompt with the waiting corner as a hollow point, for a picture."""
    corner, prompt = open_corner(marks), prompt_of(marks)
    hollow = () if corner is None else (PromptPoint(corner.column + 0.5, corner.row + 0.5, 1, is_kept=False),)
    return SamPrompt(box=prompt.box, points=(*prompt.points, *hollow))


def mark_title(kind: MarkKind) -> str:
    """Say what a kind of mark is."""
    return translate(MARK_TITLES[kind])


def mark_choice(kind: MarkKind) -> str:
    """Name a kind of mark to choose from."""
    return translate(MARK_CHOICES[kind])


def mark_in_words(mark: Mark) -> str:
    """Say what a mark is and where."""
    return translate("{mark} at x {x}, y {y}", mark=mark_title(mark.kind), x=mark.column, y=mark.row)


def _whole(value: object, axis: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise ConfigurationError("expected a whole number of pixels as {axis}, got {value!r}", axis=axis, value=value)
    return int(value)
