"""The objects of a scene as expressions see them, and comparisons of them that are made only where they are clear.

Centres are compared as shares of the image's width and height, sizes by height and area. What cannot be told apart at a
glance has no answer here, and nothing is said of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from typing import Final, Literal, Protocol

from workbench.datasets.grammar import read_grammar
from workbench.datasets.naming import Head, heads_of

MARGIN: Final = 0.09
"""Least distance of two centres that are compared, as a share of the image's side."""
SIZE_RATIO: Final = 1.3
"""Least ratio of two heights that are compared; areas must differ as much, the same way."""
CORNER: Final = 0.35
"""A centre is in a corner where it is nearer than this to both sides, as shares of width and height."""
CENTRAL: Final = 0.15
"""A centre is in the centre of the picture where it is nearer to it than this; twice as far off is well away."""
NEAR: Final = 0.4
"""Largest distance of two centres that are next to each other."""
NEAR_RATIO: Final = 2.0
"""What else could be meant is at least this many times as far away; in a picture twice as wide as high that is clear
whichever way the two lie."""
ALIGNED: Final = 0.25
"""Largest offset to the side of what is over or under a thing."""
BESIDE_LINE: Final = 0.12
"""Largest distance from the line between two things of what is between them; twice as far off is well away."""

Side = Literal["left", "right", "top", "bottom"]
SIDES: Final[tuple[Side, ...]] = ("left", "right", "top", "bottom")
SizeWord = Literal["big", "small"]


class Describable(Protocol):
    """What expressions need to know of an object."""

    @property
    def category(self) -> str:
        """Name of its noun in the vocabulary."""
        ...

    @property
    def colour(self) -> str | None:
        """Colour word that it clearly has, or None."""
        ...

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) as shares of the image's width and height."""
        ...

    @property
    def height(self) -> float:
        """Height in a unit that all objects of the scene share."""
        ...

    @property
    def area(self) -> float:
        """Area in a unit that all objects of the scene share."""
        ...


@dataclass(frozen=True)
class Layout:
    """Where the objects of a scene are and how large.

    Attributes:
        centres: (x, y) of each.
        heights, areas: of each.
        depths: how far each is towards a side, in [0, 1] inside of the picture.
    """

    centres: tuple[tuple[float, float], ...]
    heights: tuple[float, ...]
    areas: tuple[float, ...]
    depths: Mapping[Side, tuple[float, ...]]

    @classmethod
    def of(cls, objects: Sequence[Describable]) -> "Layout":
        """Read it from the objects."""
        centres = tuple(o.centre for o in objects)
        right, bottom = tuple(x for x, _ in centres), tuple(y for _, y in centres)
        left, top = tuple(1 - x for x in right), tuple(1 - y for y in bottom)
        depths: Mapping[Side, tuple[float, ...]] = {"left": left, "right": right, "top": top, "bottom": bottom}
        return cls(centres, tuple(o.height for o in objects), tuple(o.area for o in objects), depths)

    def furthest(self, indices: Sequence[int], side: Side) -> int | None:
        """Return the one furthest to a side, of two or more."""
        if len(indices) < 2:
            return None
        depths = self.depths[side]
        first, second = sorted(indices, key=lambda i: -depths[i])[:2]
        return first if depths[first] - depths[second] >= MARGIN else None

    def ranked(self, indices: Sequence[int], side: Side) -> list[int] | None:
        """Return all in order, the one furthest to that side first, where each is clear of the next."""
        depths = self.depths[side]
        order = sorted(indices, key=lambda i: -depths[i])
        return order if all(depths[a] - depths[b] >= MARGIN for a, b in pairwise(order)) else None

    def in_half(self, indices: Sequence[int], side: Side) -> list[int] | None:
        """Return those in a half of the picture, where each is clearly in one."""
        depths = self.depths[side]
        is_clear = all(abs(depths[i] - 0.5) >= MARGIN for i in indices)
        return [i for i in indices if depths[i] > 0.5] if is_clear else None

    def in_corner(self, indices: Sequence[int], vertical: Side, horizontal: Side) -> int | None:
        """Return the only one in a corner, where no other is near that quarter of the picture."""
        one, other = self.depths[vertical], self.depths[horizontal]
        near = [i for i in indices if one[i] > 0.5 and other[i] > 0.5]
        return near[0] if len(near) == 1 and min(one[near[0]], other[near[0]]) >= 1 - CORNER else None

    def central(self, indices: Sequence[int]) -> int | None:
        """Return the only one in the centre of the picture, where the others are well away from it."""
        offsets = {i: max(abs(self.centres[i][0] - 0.5), abs(self.centres[i][1] - 0.5)) for i in indices}
        inside = [i for i, offset in offsets.items() if offset <= CENTRAL]
        is_clear = all(offset >= 2 * CENTRAL for i, offset in offsets.items() if i not in inside)
        return inside[0] if len(inside) == 1 and is_clear else None

    def extreme(self, indices: Sequence[int], size: SizeWord) -> int | None:
        """Return the largest or smallest of two or more."""
        if len(indices) < 2:
            return None
        best, *rest = sorted(indices, key=lambda i: self.heights[i], reverse=size == "big")
        pairs = [(best, i) if size == "big" else (i, best) for i in rest]
        return best if all(self._is_larger(large, small) for large, small in pairs) else None

    def _is_larger(self, one: int, other: int) -> bool:
        return all(values[one] >= SIZE_RATIO * values[other] for values in (self.heights, self.areas))

    def on_side(self, indices: Sequence[int], anchor: int, side: Side) -> list[int] | None:
        """Return those on a side of another object, where each is clearly on one."""
        depths = self.depths[side]
        its = depths[anchor]
        is_clear = all(abs(depths[i] - its) >= MARGIN for i in indices)
        return [i for i in indices if depths[i] > its] if is_clear else None

    def is_aligned(self, index: int, anchor: int) -> bool:
        """Whether an object is over or under another one rather than to its side."""
        return abs(self.centres[index][0] - self.centres[anchor][0]) <= ALIGNED

    def nearest(self, indices: Sequence[int], anchor: int) -> int | None:
        """Return the one near another object, where the others are well away from it."""
        x, y = self.centres[anchor]
        distances = {i: hypot(self.centres[i][0] - x, self.centres[i][1] - y) for i in indices}
        if not distances:
            return None
        best = min(distances, key=lambda i: distances[i])
        is_clear = all(distance >= NEAR_RATIO * distances[best] for i, distance in distances.items() if i != best)
        return best if distances[best] <= NEAR and is_clear else None

    def between(self, indices: Sequence[int], first: int, second: int) -> int | None:
        """Return the only one between two other objects that lie apart, where the others are clearly not."""
        if hypot(*(a - b for a, b in zip(self.centres[first], self.centres[second], strict=True))) < 3 * MARGIN:
            return None
        places = {i: self._along(i, first, second) for i in indices}
        inside = [i for i, (share, off) in places.items() if 0.2 <= share <= 0.8 and off <= BESIDE_LINE]
        is_clear = all(
            share < 0 or share > 1 or off >= 2 * BESIDE_LINE for i, (share, off) in places.items() if i not in inside
        )
        return inside[0] if len(inside) == 1 and is_clear else None

    def _along(self, index: int, first: int, second: int) -> tuple[float, float]:
        """How far along the line between two objects one is, and how far off it."""
        (x1, y1), (x2, y2), (x, y) = (self.centres[i] for i in (first, second, index))
        dx, dy = x2 - x1, y2 - y1
        length = hypot(dx, dy)
        return ((x - x1) * dx + (y - y1) * dy) / length**2, abs((x - x1) * dy - (y - y1) * dx) / length


@dataclass(frozen=True)
class Scenery:
    """What is known of a scene's objects.

    Attributes:
        categories, colours: of each object.
        layout: where they are and how large.
        names, groups: the heads of names, and of group words and all objects.
    """

    categories: tuple[str, ...]
    colours: tuple[str | None, ...]
    layout: Layout
    names: tuple[Head, ...]
    groups: tuple[Head, ...]

    @classmethod
    def of(cls, objects: Sequence[Describable]) -> "Scenery":
        """Read it from the objects."""
        categories = tuple(o.category for o in objects)
        heads = heads_of(categories)
        names, groups = (tuple(h for h in heads if (h.sort == "name") == is_name) for is_name in (True, False))
        return cls(categories, tuple(o.colour for o in objects), Layout.of(objects), names, groups)

    @property
    def singles(self) -> list[Head]:
        """The heads of names that cover one object."""
        return [head for head in self.names if len(head.indices) == 1]

    def by_colour(self, indices: Sequence[int]) -> dict[str, list[int]]:
        """Sort objects by their colour; nothing where one has no clear colour."""
        found: dict[str, list[int]] = {}
        for i in indices:
            colour = self.colours[i]
            if colour is None:
                return {}
            found.setdefault(colour, []).append(i)
        return found


def are_neighbours(one: str, other: str) -> bool:
    """Whether two colours are so alike that one is not said to be absent, or left out, beside the other."""
    pairs = read_grammar().doubtful_colours
    return (one, other) in pairs or (other, one) in pairs
