"""What can be meant in a scene, by sections of the grammar: the objects that its wordings mean, and what is absent.

Each function here is named after the sections it stands for; `means` there says the same in English. Comparisons are
made where they are clear only: see `comparisons.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from random import Random
from types import MappingProxyType
from typing import Final, NamedTuple

from workbench.datasets.comparisons import SIDES, Layout, Scenery, Side, SizeWord, are_neighbours
from workbench.datasets.naming import Head, Word, covers_nothing, known_words
from workbench.datasets.vocabulary import COLOURS, GROUPS

_MOST_RANKED: Final = 5
_SIZES: Final[tuple[SizeWord, ...]] = ("big", "small")
_CORNERS: Final[tuple[tuple[Side, Side], ...]] = (
    ("top", "left"),
    ("top", "right"),
    ("bottom", "left"),
    ("bottom", "right"),
)
_BESIDES: Final[tuple[tuple[Side, str, str], ...]] = (
    ("left", "left", ""),
    ("right", "right", ""),
    ("top", "above", "over"),
    ("bottom", "below", "under"),
)
"""Sides of a thing, the word for what is there, and the word for what is also in line with it."""
_WORDS: Final = 4
"""Words and colours that a scene is asked about in vain."""
_PLAIN_SHARE: Final = 0.5
"""Share of the words that stand alone, without a place, a size, a colour or the like."""


class Meaning(NamedTuple):
    """Something worth saying.

    Attributes:
        section: key of the section with its wordings.
        indices: of the objects meant, ascending.
        head: the words that compare them.
        keys: rows of the tables of words, such as ("red", "left").
        others: words for further things that are spoken of.
    """

    section: str
    indices: tuple[int, ...]
    head: Head
    keys: tuple[str, ...] = ()
    others: tuple[Head, ...] = ()


def _category(head: Head, _: Scenery) -> Iterator[Meaning]:
    if len(head.indices) == 1:
        yield Meaning("category.only", head.indices, head)
        yield Meaning("category.there", head.indices, head)


def _colour(head: Head, scenery: Scenery) -> Iterator[Meaning]:
    for colour, indices in scenery.by_colour(head.indices).items():
        if len(indices) == 1:
            yield Meaning("colour.only", tuple(indices), head, (colour,))


def _position(head: Head, scenery: Scenery) -> Iterator[Meaning]:
    layout, indices = scenery.layout, head.indices
    for side in SIDES:
        if (found := layout.furthest(indices, side)) is not None:
            yield Meaning("position.side", (found,), head, (side,))
        if len(indices) == 1 and layout.in_half(indices, side):
            yield Meaning("position.half", indices, head, (side,))
    for vertical, horizontal in _CORNERS:
        if (found := layout.in_corner(indices, vertical, horizontal)) is not None:
            yield Meaning("position.corner", (found,), head, (f"{vertical}-{horizontal}",))
    if len(indices) in (3, 5) and (order := layout.ranked(indices, "left")):
        yield Meaning("position.middle", (order[len(order) // 2],), head, ("middle",))
    if (found := layout.central(indices)) is not None:
        yield Meaning("position.centre", (found,), head, ("middle",))


def _ordinal(head: Head, scenery: Scenery) -> Iterator[Meaning]:
    if 3 <= len(head.indices) <= _MOST_RANKED:
        for side in SIDES:
            for number, index in enumerate(scenery.layout.ranked(head.indices, side) or (), start=1):
                yield Meaning("ordinal.nth", (index,), head, (str(number), side))


def _size(head: Head, scenery: Scenery) -> Iterator[Meaning]:
    for size in _SIZES:
        if (found := scenery.layout.extreme(head.indices, size)) is not None:
            yield Meaning("size.extreme", (found,), head, (size,))
            if len(head.indices) == 2:
                yield Meaning("size.pair", (found,), head, (size,))


def _relation(head: Head, scenery: Scenery) -> Iterator[Meaning]:
    layout, is_of_all = scenery.layout, head.sort == "thing"
    anchors = [anchor for anchor in scenery.singles if is_of_all or not _overlap(anchor, head)]
    for anchor in anchors:
        indices = [i for i in head.indices if i not in anchor.indices]
        for keys, found in _sides_of(indices, anchor, layout):
            yield Meaning("relation.side", found, head, keys, (anchor,))
        if (near := layout.nearest(indices, anchor.indices[0])) is not None:
            yield Meaning("relation.near", (near,), head, ("near",), (anchor,))
    if is_of_all:
        return
    for pair in combinations(anchors, 2):
        if not _overlap(*pair):
            middle = layout.between(head.indices, pair[0].indices[0], pair[1].indices[0])
            if middle is not None:
                yield Meaning("relation.between", (middle,), head, (), pair)


def _sides_of(indices: Sequence[int], anchor: Head, layout: Layout) -> Iterator[tuple[tuple[str], tuple[int, ...]]]:
    """Words for a side of a thing, with the only one of some objects that is there."""
    for side, word, aligned in _BESIDES:
        found = layout.on_side(indices, anchor.indices[0], side)
        if found is not None and len(found) == 1:
            yield (word,), tuple(found)
            if aligned and layout.is_aligned(found[0], anchor.indices[0]):
                yield (aligned,), tuple(found)


def _several(head: Head, scenery: Scenery) -> Iterator[Meaning]:
    count = len(head.indices)
    yield Meaning("several.any", head.indices, head)
    yield Meaning("several.each", head.indices, head)
    if count >= 2:
        yield Meaning("several.every", head.indices, head)
        yield Meaning("several.counted", head.indices, head, (str(count),))
    for colour, indices in scenery.by_colour(head.indices).items():
        if len(indices) >= 2:
            yield Meaning("several.coloured", tuple(indices), head, (colour, str(len(indices))))
    for side in SIDES:
        inside = scenery.layout.in_half(head.indices, side)
        if inside is not None and 2 <= len(inside) < count:
            yield Meaning("several.side", tuple(inside), head, (side, str(len(inside))))


def _lists(scenery: Scenery) -> Iterator[Meaning]:
    singles = scenery.singles
    for several in scenery.names:
        for other in singles:
            if several is not other and not _overlap(several, other):
                key = "several.pair" if len(several.indices) == 1 else "several.pairs"
                yield Meaning(key, _union(several, other), several, (), (other,))
    for first, second, third in combinations(singles, 3):
        if not (_overlap(first, second) or _overlap(first, third) or _overlap(second, third)):
            yield Meaning("several.three", _union(first, second, third), first, (), (second, third))


def _semantic(head: Head, _: Scenery) -> Iterator[Meaning]:
    yield Meaning("semantic.all", head.indices, head)


def _negation(head: Head, scenery: Scenery) -> Iterator[Meaning]:
    indices = head.indices
    by_colour = scenery.by_colour(indices)
    for colour, having in by_colour.items():
        rest = tuple(i for i in indices if i not in having)
        if rest and not any(are_neighbours(colour, other) for other in by_colour):
            yield Meaning("negation.colour" if len(rest) == 1 else "negation.colours", rest, head, (colour,))
    for side in SIDES if len(indices) == 2 else ():
        if (found := scenery.layout.furthest(indices, side)) is not None:
            yield Meaning("negation.side", tuple(i for i in indices if i != found), head, (side,))
    for other in scenery.singles:
        if len(indices) >= 2 and other.indices[0] in indices:
            rest = tuple(i for i in indices if i not in other.indices)
            key = "negation.everything" if head.sort == "thing" else "negation.except"
            yield Meaning(key, rest, head, (), (other,))


def _combined(head: Head, scenery: Scenery) -> Iterator[Meaning]:
    layout, by_colour = scenery.layout, scenery.by_colour(head.indices)
    furthest = {side: layout.furthest(head.indices, side) for side in SIDES}
    extremes = {size: layout.extreme(head.indices, size) for size in _SIZES}
    for colour, having in by_colour.items():
        for side, of_all in furthest.items():
            if (found := _of_colour(having, layout.furthest(having, side), of_all)) is not None:
                yield Meaning("combined.colour_side", (found,), head, (colour, side))
        for size, of_all in extremes.items():
            if (found := _of_colour(having, layout.extreme(having, size), of_all)) is not None:
                yield Meaning("combined.colour_size", (found,), head, (colour, size))
        for anchor in scenery.singles if len(head.indices) >= 2 else ():
            for keys, one in _sides_of(having, anchor, layout) if not _overlap(anchor, head) else ():
                yield Meaning("combined.colour_relation", one, head, (colour, *keys), (anchor,))
    for (side, one_furthest), (size, one_extreme) in product(furthest.items(), extremes.items()):
        if one_furthest is not None and one_furthest == one_extreme:
            yield Meaning("combined.size_side", (one_furthest,), head, (size, side))


def _of_colour(having: Sequence[int], best: int | None, best_of_all: int | None) -> int | None:
    """The best among those of a colour; a single one must be the best of all."""
    return best_of_all if best is None and list(having) == [best_of_all] else best


def _overlap(one: Head, other: Head) -> bool:
    return any(i in other.indices for i in one.indices)


def _union(*heads: Head) -> tuple[int, ...]:
    return tuple(sorted(i for head in heads for i in head.indices))


_Maker = Callable[[Head, Scenery], Iterator[Meaning]]
_OF_NAMES: Final[Mapping[str, _Maker]] = MappingProxyType(
    {
        "category": _category,
        "colour": _colour,
        "position": _position,
        "ordinal": _ordinal,
        "size": _size,
        "relation": _relation,
        "several": _several,
        "semantic": _semantic,
        "negation": _negation,
        "combined": _combined,
    }
)
_OF_GROUPS: Final[tuple[_Maker, ...]] = (_category, _colour, _position, _ordinal, _size, _several, _relation)


def meanings_of(kind: str, scenery: Scenery) -> list[Meaning]:
    """Return what can be meant by expressions of a kind, all but "absent"."""
    if kind == "group":
        return [meaning for head in scenery.groups for make in _OF_GROUPS for meaning in make(head, scenery)]
    heads = (*scenery.names, *scenery.groups) if kind == "negation" else scenery.names
    found = [meaning for head in heads for meaning in _OF_NAMES[kind](head, scenery)]
    return found + list(_lists(scenery)) if kind == "several" else found


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
