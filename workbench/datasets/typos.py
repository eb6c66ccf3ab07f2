"""Slips of the finger: one letter of a long word swapped, dropped, doubled or wrong, and never another word."""

from collections.abc import Iterator, Mapping
from functools import cache
from random import Random
from string import ascii_lowercase
from typing import Final

from workbench.datasets.grammar import read_grammar, split_words
from workbench.datasets.naming import known_words

_SHORTEST: Final = 5
"""Letters of the shortest word that is written wrongly."""
_TRIES: Final = 4


def with_typo(phrase: str, rng: Random) -> str:
    """Write one long word of a phrase with a slip; the phrase as it is where none is long enough.

    A slip is only made where what comes out could be no other word of the vocabulary and the grammar, even with a slip
    in that one.
    """
    words = phrase.split(" ")
    places = [i for i, word in enumerate(words) if len(word) >= _SHORTEST and word.isascii() and word.isalpha()]
    if not places:
        return phrase
    place = rng.choice(places)
    for _ in range(_TRIES):
        slipped = _slip(words[place], rng)
        if could_be(slipped) == {words[place].lower()}:
            return " ".join([*words[:place], slipped, *words[place + 1 :]])
    return phrase


def _slip(word: str, rng: Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    slip = rng.randrange(4)
    if slip == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if slip == 1:
        return word[:at] + word[at + 1 :]
    if slip == 2:
        return word[:at] + word[at] + word[at:]
    return word[:at] + rng.choice(ascii_lowercase) + word[at + 1 :]


def could_be(word: str) -> frozenset[str] | set[str]:
    """Return all known words that a word could be meant for: those that it shares a form with, one letter left out.

    A known word stands for itself alone.
    """
    index, written = _index(), word.lower()
    if written in index.get(written, ()):
        return {written}
    return {known for form in _forms(written) for known in index.get(form, ())}


def unknown_words(phrase: str) -> dict[str, str | None]:
    """Return the words of a phrase that neither the vocabulary nor the grammar has, each with what it may be a slip of.

    Returns:
        By word in lower case; None where it could be one of several, or is no slip as `with_typo` makes them: a short
        word and a first letter are never slipped there, and "road" is no toad.
    """
    found: dict[str, str | None] = {}
    for word in split_words(phrase):
        meant = could_be(word)
        if word not in meant:
            only = next(iter(meant)) if len(meant) == 1 else ""
            found[word] = only if len(only) >= _SHORTEST and only[0] == word[0] else None
    return found


def _forms(word: str) -> Iterator[str]:
    yield word
    for at in range(len(word)):
        yield word[:at] + word[at + 1 :]


@cache
def _index() -> Mapping[str, frozenset[str]]:
    """Known words by what they are with at most one letter left out."""
    texts = [text for word in known_words().values() for text in (word.text, word.plural or "")]
    known = read_grammar().known_words() | {word for text in texts for word in split_words(text)}
    index: dict[str, set[str]] = {}
    for word in known:
        for form in _forms(word):
            index.setdefault(form, set()).add(word)
    return {form: frozenset(words) for form, words in index.items()}
