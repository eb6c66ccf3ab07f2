"""The objects of a scene as expressions see them: words that cover them, their colours, and where they are."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.datasets.comparisons import Describable, Layout
from workbench.datasets.grammar import read_grammar
from workbench.datasets.naming import Head, heads_of


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
