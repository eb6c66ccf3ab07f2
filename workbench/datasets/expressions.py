"""Referring expressions of a scene: what is worth saying about its objects, and which objects each one means.

An expression means exactly the objects its mask holds. With "foxes" for all objects of one category, sorted by the
centres of their full extents (hidden parts included), the wordings mean:

- category ("the fox", "fox"): the only fox of the scene.
- colour ("the red fox"): the only fox painted red, where every fox is painted.
- position ("the left fox", "the fox on the right", "the top fox", "the fox at the bottom", "the middle fox"): the fox
  with the smallest or largest centre x or y; "middle" is the second by x of exactly three.
- ordinal ("the second fox from the left"): the n-th by centre x, counted from the side named, of three or four foxes.
- size ("the big fox", "the largest fox", "the small fox", "the smallest fox"): the tallest or the least tall fox.
- relation ("the fox left of the cup", "right of", "above", "below"): the only fox whose centre lies on that side of the
  centre of the only cup.
- several ("both foxes", "the two foxes", "all foxes", "all three foxes", "the fox and the cup"): all of them.
- semantic ("[semantic] fox"): every fox, be it one or more.
- absent ("the zebra", "the blue fox", "the left zebra"): nothing; no such object is in the scene.

Comparisons are only made where they are clear: centres at least `MARGIN` of the image's side apart, heights at least
`SIZE_RATIO` apart.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, Protocol, get_args

import numpy as np

from workbench.datasets.vocabulary import CATEGORIES, HUES

ExpressionKind = Literal[
    "category", "colour", "position", "ordinal", "size", "relation", "several", "semantic", "absent"
]
KINDS: Final[tuple[ExpressionKind, ...]] = get_args(ExpressionKind)

MARGIN: Final = 0.09
"""Least distance of two centres that are compared, as a share of the image's side."""
SIZE_RATIO: Final = 1.3
"""Least ratio of two heights that are compared."""

_ORDINALS: Final = ("first", "second", "third", "fourth")
_NUMBERS: Final = {2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True)
class Expression:
    """A phrase and what it means.

    Attributes:
        text: the phrase.
        kind: see the module's list.
        object_indices: indices into the scene's objects, ascending; empty for "absent".
    """

    text: str
    kind: ExpressionKind
    object_indices: tuple[int, ...]


class Describable(Protocol):
    """What expressions need to know of an object; lengths are shares of the image's side."""

    @property
    def category(self) -> str:
        """Singular name."""
        ...

    @property
    def colour(self) -> str | None:
        """Colour word it was painted with, or None for its natural colours."""
        ...

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of its full extent."""
        ...

    @property
    def height(self) -> float:
        """Height of its full extent."""
        ...


def describe(objects: Sequence[Describable], rng: np.random.Generator, *, per_kind: int) -> tuple[Expression, ...]:
    """Draw up to `per_kind` expressions of every kind that the objects allow, in the order of `KINDS`."""
    groups = {name: [i for i, o in enumerate(objects) if o.category == name] for name in CATEGORIES}
    groups = {name: indices for name, indices in groups.items() if indices}
    candidates: list[Expression] = []
    for name, indices in groups.items():
        candidates += _category(name, indices, rng)
        candidates += _colours(name, indices, objects)
        candidates += _positions(name, indices, objects, rng)
        candidates += _ordinals(name, indices, objects)
        candidates += _sizes(name, indices, objects, rng)
        candidates += _relations(name, indices, groups, objects)
        candidates += _all_of(name, indices, rng)
        candidates.append(Expression(f"[semantic] {name}", "semantic", tuple(indices)))
    candidates += _pairs(groups)
    candidates += _absent(groups, objects, rng)
    chosen: list[Expression] = []
    for kind in KINDS:
        of_kind = [e for e in candidates if e.kind == kind]
        picks = rng.permutation(len(of_kind))[:per_kind]
        chosen += [of_kind[i] for i in picks]
    return tuple(chosen)


def _pick(rng: np.random.Generator, *texts: str) -> str:
    return texts[int(rng.integers(len(texts)))]


def _category(name: str, indices: list[int], rng: np.random.Generator) -> Iterator[Expression]:
    if len(indices) == 1:
        yield Expression(_pick(rng, f"the {name}", f"the {name}", name), "category", tuple(indices))


def _colours(name: str, indices: list[int], objects: Sequence[Describable]) -> Iterator[Expression]:
    colours = [objects[i].colour for i in indices]
    if None in colours:
        return
    for i, colour in zip(indices, colours, strict=True):
        if colours.count(colour) == 1:
            yield Expression(f"the {colour} {name}", "colour", (i,))


def _is_spread(values: Sequence[float], margin: float = MARGIN) -> bool:
    return all(b - a >= margin for a, b in pairwise(values))


def _positions(
    name: str, indices: list[int], objects: Sequence[Describable], rng: np.random.Generator
) -> Iterator[Expression]:
    if len(indices) < 2:
        return
    sides = ((0, "left", "on the left", "right", "on the right"), (1, "top", "at the top", "bottom", "at the bottom"))
    for axis, low, at_low, high, at_high in sides:
        order = sorted(indices, key=lambda i: objects[i].centre[axis])
        values = [objects[i].centre[axis] for i in order]
        if values[1] - values[0] >= MARGIN:
            yield Expression(_pick(rng, f"the {low} {name}", f"the {name} {at_low}"), "position", (order[0],))
        if values[-1] - values[-2] >= MARGIN:
            yield Expression(_pick(rng, f"the {high} {name}", f"the {name} {at_high}"), "position", (order[-1],))
        if axis == 0 and len(order) == 3 and _is_spread(values):
            yield Expression(_pick(rng, f"the middle {name}", f"the {name} in the middle"), "position", (order[1],))


def _ordinals(name: str, indices: list[int], objects: Sequence[Describable]) -> Iterator[Expression]:
    order = sorted(indices, key=lambda i: objects[i].centre[0])
    if len(order) not in (3, 4) or not _is_spread([objects[i].centre[0] for i in order]):
        return
    for side, ranked in (("left", order), ("right", order[::-1])):
        for word, i in zip(_ORDINALS, ranked, strict=False):
            yield Expression(f"the {word} {name} from the {side}", "ordinal", (i,))


def _sizes(
    name: str, indices: list[int], objects: Sequence[Describable], rng: np.random.Generator
) -> Iterator[Expression]:
    if len(indices) < 2:
        return
    order = sorted(indices, key=lambda i: objects[i].height)
    heights = [objects[i].height for i in order]
    if heights[1] >= SIZE_RATIO * heights[0]:
        yield Expression(_pick(rng, f"the small {name}", f"the smallest {name}"), "size", (order[0],))
    if heights[-1] >= SIZE_RATIO * heights[-2]:
        yield Expression(_pick(rng, f"the big {name}", f"the largest {name}"), "size", (order[-1],))


def _relations(
    name: str, indices: list[int], groups: dict[str, list[int]], objects: Sequence[Describable]
) -> Iterator[Expression]:
    for anchor_name, anchors in groups.items():
        if anchor_name == name or len(anchors) != 1:
            continue
        anchor = objects[anchors[0]].centre
        for word, axis, sign in (("left of", 0, -1), ("right of", 0, 1), ("above", 1, -1), ("below", 1, 1)):
            offsets = [sign * (objects[i].centre[axis] - anchor[axis]) for i in indices]
            on_side = [i for i, offset in zip(indices, offsets, strict=True) if offset > 0]
            if len(on_side) == 1 and all(abs(offset) >= MARGIN for offset in offsets):
                yield Expression(f"the {name} {word} the {anchor_name}", "relation", tuple(on_side))


def _all_of(name: str, indices: list[int], rng: np.random.Generator) -> Iterator[Expression]:
    if len(indices) < 2:
        return
    plural, number = CATEGORIES[name], _NUMBERS[len(indices)]
    texts = [f"all {plural}", f"the {number} {plural}"]
    texts.append(f"both {plural}" if len(indices) == 2 else f"all {number} {plural}")
    yield Expression(_pick(rng, *texts), "several", tuple(indices))


def _pairs(groups: dict[str, list[int]]) -> Iterator[Expression]:
    single = [(name, indices[0]) for name, indices in groups.items() if len(indices) == 1]
    for name, i in single:
        for other, j in single:
            if i != j:
                yield Expression(f"the {name} and the {other}", "several", tuple(sorted((i, j))))


def _absent(
    groups: dict[str, list[int]], objects: Sequence[Describable], rng: np.random.Generator
) -> Iterator[Expression]:
    missing = [name for name in CATEGORIES if name not in groups]
    for name in rng.permutation(missing)[:3]:
        text = _pick(rng, f"the {name}", f"the {name}", str(name), f"the {_pick(rng, 'left', 'right')} {name}")
        yield Expression(text, "absent", ())
    for name, indices in groups.items():
        present = {objects[i].colour for i in indices}
        if None not in present:
            others = [colour for colour in HUES if colour not in present]
            yield Expression(f"the {_pick(rng, *others)} {name}", "absent", ())
