"""The wordings of scenes as they stand in `grammar.toml`; its comments say how to read and extend it."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from string import Formatter
from typing import Any, Final

from evfsam.errors import ConfigurationError
from workbench.datasets.vocabulary import COLOURS

_FILE: Final = Path(__file__).with_name("grammar.toml")
_NOT_SECTIONS: Final = ("frames", "words", "things", "doubtful")
_FOR_ONE: Final = frozenset(("a", "every", "each", "is", "isn't", "that's", "this", "one", "only", "{noun},"))
_COUNTING: Final = frozenset(("count", "both", "these", "two"))
_NAMING_SLOTS: Final = ("noun", "nouns", "other", "third")
"""Slots that are filled with words for objects; all others are tables of words."""


@dataclass(frozen=True)
class Wording:
    """One way to say something.

    Attributes:
        text: with slots in braces.
        is_held_out: whether it is kept out of training.
        naming_slots: slots that words for objects fill.
        tables: slots that `Grammar.words` fills.
    """

    text: str
    is_held_out: bool
    naming_slots: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()

    @cached_property
    def is_for_one(self) -> bool:
        """Whether it cannot be said of scissors, which are many in words and one thing in truth."""
        return not _FOR_ONE.isdisjoint(self.text.split())

    @cached_property
    def has_number(self) -> bool:
        """Whether it counts, so that no word can fill it that takes no number."""
        return not _COUNTING.isdisjoint((*self.text.split(), *self.tables))

    @property
    def is_whole(self) -> bool:
        """Whether it stands for itself and takes no sentence around it."""
        return self.text.endswith("?") or self.text.startswith("[")


@dataclass(frozen=True)
class Section:
    """The wordings of one meaning.

    Attributes:
        key: kind and meaning, such as "position.side".
        kind: the kind of expression.
        means: which objects they mean, in English.
        wordings: at least one.
        weight: how often it is drawn among those of its kind, relative to the others.
        is_plural: whether the phrase is a plural.
        takes_one: whether "one" can stand for the noun.
    """

    key: str
    kind: str
    means: str
    wordings: tuple[Wording, ...]
    weight: float
    is_plural: bool
    takes_one: bool


@dataclass(frozen=True)
class Grammar:
    """Everything in `grammar.toml`.

    Attributes:
        sections: by key.
        frames: sentences around a phrase, {x} being the phrase: (for a single thing, for several).
        words: tables of words by name and row.
        things: words for all objects of a scene, with their plurals.
        doubtful: names of things, by the words that people would not agree about.
        doubtful_colours: pairs of neighbouring colours.
        uncounted: plurals that take no number.
    """

    sections: Mapping[str, Section]
    frames: tuple[tuple[Wording, ...], tuple[Wording, ...]]
    words: Mapping[str, Mapping[str, tuple[str, ...]]]
    things: Mapping[str, str]
    doubtful: Mapping[str, tuple[str, ...]]
    doubtful_colours: frozenset[tuple[str, str]]
    uncounted: frozenset[str]

    def rows(self, wording: Wording, keys: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
        """Return the words for each table that a wording needs; None where a table has no row for what is meant.

        Args:
            wording: what is to be filled.
            keys: what is meant, such as ("red", "left"); the first that a table knows names its row.
        """
        found = {}
        for table in wording.tables:
            row = next((self.words[table][key] for key in keys if key in self.words[table]), None)
            if row is None:
                return None
            found[table] = row
        return found

    def known_words(self) -> frozenset[str]:
        """Every word that a wording, a sentence or a table writes by itself, in lower case."""
        wordings = chain(*(section.wordings for section in self.sections.values()), *self.frames)
        rows = chain.from_iterable(chain.from_iterable(table.values()) for table in self.words.values())
        texts = chain((_without_slots(wording.text) for wording in wordings), rows, self.things, self.things.values())
        return frozenset(word for text in texts for word in split_words(text))


def split_words(text: str) -> list[str]:
    """Split into words of letters, in lower case; hyphens, apostrophes and other signs part them."""
    return "".join(letter if letter.isalpha() else " " for letter in text.lower()).split()


@cache
def read_grammar(path: Path = _FILE) -> Grammar:
    """Read a grammar.

    Raises:
        ConfigurationError: a section has no wordings, or a wording a slot that no table fills.
    """
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    words = {name: {row: tuple(texts) for row, texts in table.items()} for name, table in content["words"].items()}
    words["colour"] = {colour.name: (colour.name, colour.name, *colour.synonyms) for colour in COLOURS.values()}
    sections: dict[str, Section] = {}
    for kind, meanings in content.items():
        if kind not in _NOT_SECTIONS:
            sections |= {f"{kind}.{name}": _section(kind, name, entry, words) for name, entry in meanings.items()}
    frames = content["frames"]
    common = _wordings(frames, (), ("x",))
    single, many = (common + _wordings(frames[number], (), ("x",)) for number in ("single", "many"))
    doubtful = content["doubtful"]
    return Grammar(
        sections,
        (single, many),
        words,
        content["things"],
        {word: tuple(names) for word, names in doubtful["words"].items()},
        frozenset((first, second) for first, second in doubtful["pairs_of_colours"]),
        frozenset(doubtful["uncounted"]),
    )


def _section(kind: str, name: str, entry: Mapping[str, Any], words: Iterable[str]) -> Section:
    key = f"{kind}.{name}"
    wordings = _wordings(entry, tuple(words), _NAMING_SLOTS)
    if not wordings or not entry.get("means"):
        raise ConfigurationError(f"expected wordings and `means` in the section {key} of the grammar; add them")
    weight, is_plural, takes_one = entry.get("weight", 1.0), entry.get("many", False), entry.get("one", False)
    return Section(key, kind, entry["means"], wordings, weight, is_plural, takes_one)


def _wordings(entry: Mapping[str, Any], tables: Sequence[str], others: Sequence[str]) -> tuple[Wording, ...]:
    found = []
    for text, is_held_out in [(t, False) for t in entry["seen"]] + [(t, True) for t in entry.get("held_out", ())]:
        slots = [name for _, name, _, _ in Formatter().parse(text) if name is not None]
        unknown = [name for name in slots if name not in tables and name not in others]
        if unknown:
            raise ConfigurationError(
                f"expected slots out of {', '.join([*others, *tables])} in {text!r}, got {', '.join(unknown)}; "
                "add a table of words or mend the slot"
            )
        naming = tuple(dict.fromkeys(name for name in slots if name in others))
        found.append(Wording(text, is_held_out, naming, tuple(dict.fromkeys(n for n in slots if n in tables))))
    return tuple(found)


def _without_slots(text: str) -> str:
    return " ".join(literal for literal, _, _, _ in Formatter().parse(text))
