"""Words for objects: which objects of a scene a name, a synonym or a group word covers.

A word covers the objects whose noun has it as its name, as a synonym or as a group: "bird" covers owls and parrots, and
"the bird" means something in a scene with one of them only. Where people would not agree whether a word covers a thing
of the scene, as with "bear" and a panda, the word is not used in that scene; see `[doubtful]` in `grammar.toml`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from workbench.datasets.grammar import read_grammar
from workbench.datasets.vocabulary import GROUPS, NOUNS

Sort = Literal["name", "group", "thing"]


@dataclass(frozen=True)
class Word:
    """A word for objects.

    Attributes:
        text: in the singular.
        plural: None where there is none, or none that differs.
        is_pair: whether it is a plural for one thing, such as "scissors"; it has no other plural then.
        nouns: names of the nouns that it covers.
        doubtful: names of the nouns of which people would not agree whether it covers them.
    """

    text: str
    plural: str | None
    is_pair: bool
    nouns: frozenset[str]
    doubtful: frozenset[str]


@dataclass(frozen=True)
class Head:
    """Objects of a scene that some words cover, and no others.

    Attributes:
        words: at least one; each covers all of the objects.
        indices: of the objects, ascending; empty for words that cover nothing in the scene.
        sort: "name" for names and synonyms, "group" for group words, "thing" for words that cover all objects.
    """

    words: tuple[Word, ...]
    indices: tuple[int, ...]
    sort: Sort


@cache
def known_words() -> Mapping[str, Word]:
    """Return every name, synonym and group word of the vocabulary."""
    covered: dict[str, set[str]] = {}
    for noun in NOUNS.values():
        for text in (noun.name, *noun.synonyms, *noun.groups):
            covered.setdefault(text, set()).add(noun.name)
    return {text: _word(text, frozenset(nouns)) for text, nouns in covered.items()}


def _word(text: str, nouns: frozenset[str]) -> Word:
    plural = NOUNS[text].plural if text in NOUNS else GROUPS.get(text)
    own = [noun for noun in NOUNS.values() if text == noun.name or text in noun.synonyms]
    is_pair = text.endswith("s") and any(noun.name == noun.plural and noun.name.endswith("s") for noun in own)
    return Word(text, None if plural == text else plural, is_pair, nouns, _doubtful(text, nouns))


@cache
def _words_for(noun: str) -> tuple[Word, ...]:
    entry, words = NOUNS[noun], known_words()
    return tuple(words[text] for text in dict.fromkeys((entry.name, *entry.synonyms, *entry.groups)))


def heads_of(categories: Sequence[str]) -> tuple[Head, ...]:
    """Return the heads of a scene: those of names first, then of groups, then the one of all objects.

    A scene without objects has none.

    Args:
        categories: name of each object.
    """
    if not categories:
        return ()
    present = frozenset(categories)
    named: dict[tuple[int, ...], list[Word]] = {}
    grouped = []
    for word in dict.fromkeys(word for noun in dict.fromkeys(categories) for word in _words_for(noun)):
        if word.doubtful & present:
            continue
        indices = tuple(i for i, category in enumerate(categories) if category in word.nouns)
        if word.text in GROUPS and (word.text not in NOUNS or any(categories[i] != word.text for i in indices)):
            grouped.append(Head((word,), indices, "group"))
        else:
            named.setdefault(indices, []).append(word)
    names = (Head(tuple(words), indices, "name") for indices, words in named.items())
    return (*names, *grouped, Head(_things(), tuple(range(len(categories))), "thing"))


def covers_nothing(word: Word, categories: Iterable[str]) -> bool:
    """Whether nobody would find anything in a scene that the word covers."""
    return not any(category in word.nouns or category in word.doubtful for category in categories)


@cache
def _things() -> tuple[Word, ...]:
    nouns = frozenset(NOUNS)
    return tuple(Word(text, plural, False, nouns, frozenset()) for text, plural in read_grammar().things.items())


def _doubtful(text: str, nouns: frozenset[str]) -> frozenset[str]:
    """Names of nouns that a word does not cover, but that end in it as a word, or are listed as doubtful."""
    ends = {noun.name for noun in NOUNS.values() for name in (noun.name, *noun.synonyms) if name.endswith(f" {text}")}
    own = {text} | {noun.name for noun in NOUNS.values() if text in noun.synonyms}
    listed = {name for word in own for name in read_grammar().doubtful.get(word, ())}
    return frozenset((ends | listed) - nouns)
