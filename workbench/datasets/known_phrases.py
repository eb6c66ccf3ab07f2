"""What a typed phrase means in a scene, where it is one that the grammar could have said.

Case, articles, a full stop and the sentence around it do not matter; slips of the finger do.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, product
from typing import Final

from workbench.datasets.comparisons import Describable, Scenery
from workbench.datasets.expressions import KINDS, Expression, ExpressionKind
from workbench.datasets.grammar import read_grammar
from workbench.datasets.meanings import Meaning, absent_colours, absent_things, meanings_of
from workbench.datasets.naming import Word, covers_nothing, known_words
from workbench.datasets.phrasing import possible_wordings, possible_words

_ARTICLE: Final = re.compile(r"\b(?:the|an?) ")


def known_expression(objects: Sequence[Describable], text: str) -> Expression | None:
    """Return a phrase with what it means; None for a phrase that the grammar does not know, or not in this scene.

    Args:
        objects: of the scene.
        text: as it was typed.
    """
    scenery, phrases = Scenery.of(objects), list(_phrases_in(text))
    words = [word for word in known_words().values() if covers_nothing(word, scenery.categories)]
    absent = [word for word in words if any(_names(phrase, word) for phrase in phrases)]
    meanings: dict[ExpressionKind, Iterable[Meaning]] = {
        "absent": chain(absent_colours(scenery), *(absent_things(word, scenery) for word in absent)),
        **{kind: meanings_of(kind, scenery) for kind in KINDS if kind != "absent"},
    }
    known = {
        phrase: Expression(text, kind, meaning.indices)
        for kind, found in meanings.items()
        for meaning in found
        for phrase in _said(meaning)
    }
    return next((known[phrase] for phrase in phrases if phrase in known), None)


def _names(phrase: str, word: Word) -> bool:
    """Whether a phrase has the word or its plural in it."""
    return any(f" {text} " in f" {phrase} " for text in (word.text, word.plural) if text)


def _said(meaning: Meaning) -> Iterator[str]:
    """Every way to say it."""
    for wording, rows in possible_wordings(meaning):
        words = {slot: possible_words(slot, wording, meaning) for slot in wording.naming_slots} | dict(rows)
        for chosen in product(*words.values()):
            yield _ARTICLE.sub("", wording.text.format_map(dict(zip(words, chosen, strict=True))).removesuffix("?"))


def _phrases_in(text: str) -> Iterator[str]:
    """The text itself, what each sentence would leave of it, and that without another sentence ("find ... please")."""
    bare = _bare(text)
    once = list(_unframed(bare))
    return chain((bare,), once, *(_unframed(inner) for inner in once))


def _unframed(bare: str) -> Iterator[str]:
    for frame in dict.fromkeys(frame for frames in read_grammar().frames for frame in frames):
        before, after = (_bare(part) for part in frame.text.split("{x}"))
        inner = bare.removeprefix(f"{before} " if before else "").removesuffix(after).strip(" ,")
        if inner != bare:
            yield inner


def _bare(text: str) -> str:
    words = " ".join(text.casefold().split()).rstrip(".?! ")
    return _ARTICLE.sub("", f"{words} ").strip()
