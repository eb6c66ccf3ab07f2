"""What is not in a scene: words that cover nothing in it, and colours that none of some objects has."""

from collections.abc import Iterator
from itertools import product
from random import Random
from typing import Final

from workbench.datasets.comparisons import SIDES
from workbench.datasets.meanings import Meaning
from workbench.datasets.naming import Head, Word, covers_nothing, known_words
from workbench.datasets.scenery import Scenery, are_neighbours
from workbench.datasets.vocabulary import COLOURS, GROUPS

_WORDS: Final = 4
"""Words and colours that a scene is asked about in vain."""
_PLAIN_SHARE: Final = 0.5
"""Share of the words that stand alone, without a place, a size, a colour or the like."""


def absent_things(word: Word, scenery: Scenery) -> Iterator[Meaning]:
    """Yield what can be said with a word that covers nothing in a scene, the plain ways first."""
    head = Head((word,), (), "group" if word.text in GROUPS else "name")
    for section in ("category.only", "category.there", "several.any", "several.each"):
        yield Meaning(section, (), head)
    for side in SIDES:
        yield Meaning("position.side", (), head, (side,))
    for size in ("big", "small"):
        yield Meaning("size.extreme", (), head, (size,))
    for colour in COLOURS:
        yield Meaning("colour.only", (), head, (colour,))
    for other, where in product(scenery.singles, ("left", "right", "above", "below")):
        yield Meaning("relation.side", (), head, (where,), (other,))


def absent_colours(scenery: Scenery) -> Iterator[Meaning]:
    """Yield colours that none of some objects has, nor one like it, where each of them has a clear colour."""
    for head in (*scenery.names, *scenery.groups):
        present = scenery.by_colour(head.indices)
        for colour in COLOURS if present else ():
            if colour not in present and not any(are_neighbours(colour, other) for other in present):
                yield Meaning("colour.only", (), head, (colour,))


def some_absent(scenery: Scenery, rng: Random) -> list[Meaning]:
    """Draw a few words and colours that nobody would find in a scene."""
    words = list(known_words().values())
    absent = [word for word in rng.sample(words, 3 * _WORDS) if covers_nothing(word, scenery.categories)]
    things = []
    for word in absent[:_WORDS]:
        possible = list(absent_things(word, scenery))
        plain = [meaning for meaning in possible if not meaning.keys]
        things.append(rng.choice(plain if rng.random() < _PLAIN_SHARE else possible))
    colours = list(absent_colours(scenery))
    return things + rng.sample(colours, min(len(colours), _WORDS))
