"""Referring expressions of a scene: what is worth saying about its objects, and which objects each one means.

An expression means exactly the objects its mask holds. The wordings, and what each of them means, are in
`grammar.toml`; `meanings.py` finds what can be meant in a scene, and `phrasing.py` writes it down. The kinds are those
of the grammar, and two more:

- group: a group word, or a word for all objects, in place of a name ("the animal", "every fruit", "the thing on the
  left").
- absent: names, synonyms, groups and colours that are not in the scene; they mean nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal, get_args

import numpy as np

from workbench.datasets.comparisons import Describable, Scenery
from workbench.datasets.grammar import read_grammar
from workbench.datasets.meanings import Meaning, meanings_of, some_absent
from workbench.datasets.phrasing import Wordings, phrase

ExpressionKind = Literal[
    "category",
    "colour",
    "position",
    "ordinal",
    "size",
    "relation",
    "several",
    "semantic",
    "negation",
    "group",
    "combined",
    "absent",
]
KINDS: Final[tuple[ExpressionKind, ...]] = get_args(ExpressionKind)

_PATIENCE: Final = 50
"""Meanings without a fitting wording that `draw` meets in a kind before it gives the kind up."""


@dataclass(frozen=True)
class Expression:
    """A phrase and what it means.

    Attributes:
        text: the phrase.
        kind: see the module's list and the grammar.
        object_indices: indices into the scene's objects, ascending; empty for "absent".
        wording: the template that it fills, in the sentence around it.
        is_unseen_wording: whether template or sentence are held out of training.
    """

    text: str
    kind: ExpressionKind
    object_indices: tuple[int, ...]
    wording: str = ""
    is_unseen_wording: bool = False


def describe(
    objects: Sequence[Describable],
    rng: np.random.Generator,
    *,
    per_kind: int,
    wordings: Wordings = "all",
    is_plain: bool = False,
) -> tuple[Expression, ...]:
    """Draw up to `per_kind` expressions of every kind that the objects allow, in the order of `KINDS`.

    With the same generator, more of each kind begin with the same ones as fewer.

    Args:
        objects: of the scene.
        rng: draws.
        per_kind: at most so many of each kind, no meaning twice.
        wordings: "seen" keeps to what training may see, "unseen" to what it never does.
        is_plain: whether to leave out sentences around phrases, slips and capital letters.
    """
    seed = int(rng.integers(2**48))
    source = _Source(objects)
    chosen: list[Expression] = []
    for number, kind in enumerate(KINDS):
        own = Random(seed * len(KINDS) + number)
        by_section = source.shuffled(kind, own)
        found: list[Expression] = []
        while by_section and len(found) < per_kind:
            key = _section(by_section, own)
            expression = _expression(kind, by_section[key].pop(), own, wordings, is_plain)
            found += [expression] if expression and all(expression.text != e.text for e in found) else []
            by_section = {key: left for key, left in by_section.items() if left}
        chosen += found
    return tuple(chosen)


def draw(
    objects: Sequence[Describable],
    rng: np.random.Generator,
    count: int,
    weights: Mapping[ExpressionKind, float],
    *,
    wordings: Wordings = "seen",
    is_plain: bool = False,
) -> list[Expression]:
    """Draw expressions one by one, kinds by their weights; the same may come again.

    Args:
        objects: of the scene.
        rng: draws.
        count: how many.
        weights: how often each kind is drawn, where the objects allow it; kinds not named are not drawn.
        wordings: as for `describe`.
        is_plain: as for `describe`.

    Returns:
        `count` expressions; fewer where the objects allow no kind that has a weight, or no wording is left to say it.
    """
    own, source = Random(int(rng.integers(2**48))), _Source(objects)
    left = {kind: weight for kind, weight in weights.items() if weight > 0}
    drawn: list[Expression] = []
    missed: Counter[ExpressionKind] = Counter()
    while left and len(drawn) < count:
        (kind,) = own.choices(list(left), list(left.values()))
        by_section = source.by_section(kind, own)
        if not by_section:
            del left[kind]
            continue
        meaning = own.choice(by_section[_section(by_section, own)])
        expression = _expression(kind, meaning, own, wordings, is_plain)
        if expression is not None:
            drawn.append(expression)
        else:
            missed[kind] += 1
            if missed[kind] == _PATIENCE:
                del left[kind]
    return drawn


def _section(by_section: Mapping[str, object], rng: Random) -> str:
    sections = read_grammar().sections
    (key,) = rng.choices(list(by_section), [sections[key].weight for key in by_section])
    return key


def _expression(
    kind: ExpressionKind, meaning: Meaning, rng: Random, wordings: Wordings, is_plain: bool
) -> Expression | None:
    said = phrase(meaning, rng, wordings=wordings, is_plain=is_plain)
    return None if said is None else Expression(said.text, kind, meaning.indices, said.wording, said.is_unseen)


class _Source:
    """What can be meant in a scene, found when a kind is first asked for."""

    def __init__(self, objects: Sequence[Describable]) -> None:
        self._scenery = Scenery.of(objects)
        self._found: dict[ExpressionKind, dict[str, list[Meaning]]] = {}

    def by_section(self, kind: ExpressionKind, rng: Random) -> dict[str, list[Meaning]]:
        """Meanings of a kind by section of the grammar."""
        if kind not in self._found:
            meanings = some_absent(self._scenery, rng) if kind == "absent" else meanings_of(kind, self._scenery)
            by_section: dict[str, list[Meaning]] = {}
            for meaning in meanings:
                by_section.setdefault(meaning.section, []).append(meaning)
            self._found[kind] = by_section
        return self._found[kind]

    def shuffled(self, kind: ExpressionKind, rng: Random) -> dict[str, list[Meaning]]:
        """Return copies of the lists in random order."""
        return {key: rng.sample(found, len(found)) for key, found in self.by_section(kind, rng).items()}
