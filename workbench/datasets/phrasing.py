"""From what is meant to what is written: a wording, words for its slots, a sentence around it, and how people type."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final, Literal

from workbench.datasets.grammar import Wording, read_grammar
from workbench.datasets.meanings import Meaning
from workbench.datasets.typos import with_typo

Wordings = Literal["seen", "unseen", "all"]
_Form = Literal["single", "both", "pair", "uncounted"]
"""What words there are for what is compared: no plural, one, "scissors", and a plural without numbers ("clothes")."""
_Fitting = tuple[Wording, Mapping[str, Sequence[str]]]

FRAMED_SHARE: Final = 0.5
"""Share of the phrases that stand in a sentence."""
_HELD_OUT_WORDING_SHARE: Final = 0.5
"""Share of the unseen phrases whose own wording is held out; of the others the sentence is."""
_SYNONYM_SHARE: Final = 0.3
_BARE_SHARE: Final = 0.3
"""Share of the phrases without their first article; one in three of them has none at all."""
_CAPITAL_SHARE: Final = 0.12
_LOUD_SHARE: Final = 0.01
_FULL_STOP_SHARE: Final = 0.08
_NO_QUESTION_MARK_SHARE: Final = 0.3
_TYPO_SHARE: Final = 0.06

_ARTICLE: Final = re.compile(r"\bthe ")
_AFTER_ARTICLE: Final = re.compile(r"\ba {noun}|\bthe {nouns}$|two {nouns}$")
"""Where "one" and "ones" would stand alone."""
_AN: Final = re.compile(r"\ba (?=(?!uni|uku|eu|one\b|use)[aeiou]|hour)")


@dataclass(frozen=True)
class TypedPhrase:
    """A phrase as it is typed.

    Attributes:
        text: the phrase.
        wording: its template, in the sentence that stands around it.
        is_unseen: whether the template or the sentence is held out of training.
    """

    text: str
    wording: str
    is_unseen: bool


def phrase(meaning: Meaning, rng: Random, *, wordings: Wordings, is_plain: bool) -> TypedPhrase | None:
    """Say what is meant; None where no wording is left for it.

    Args:
        meaning: what to say.
        rng: draws wording and words.
        wordings: "seen" draws from what training may see, "unseen" from what it never does, "all" from both.
        is_plain: whether to write neither sentences around the phrase, nor slips, nor other ways to type it.
    """
    frames = () if is_plain else _frames(meaning.section, _form(meaning))
    chosen = _chosen(possible_wordings(meaning), frames, rng, wordings)
    if chosen is None:
        return None
    (wording, rows), frame = chosen
    text = wording.text.format_map(_filling(wording, rows, meaning, rng))
    is_typed = not is_plain and not wording.text.startswith("[")
    text = _without_articles(text, rng) if is_typed else text
    text = text if frame is None else frame.text.format(x=text)
    text = _AN.sub("an ", text)
    text = _as_typed(text, rng) if is_typed else text
    is_unseen = wording.is_held_out or (frame is not None and frame.is_held_out)
    return TypedPhrase(text, wording.text if frame is None else frame.text.format(x=wording.text), is_unseen)


def _form(meaning: Meaning) -> _Form:
    if any(word.is_pair for head in (meaning.head, *meaning.others) for word in head.words):
        return "pair"
    plurals = [word.plural for word in meaning.head.words if word.plural]
    if not plurals:
        return "single"
    return "uncounted" if any(plural in read_grammar().uncounted for plural in plurals) else "both"


def possible_wordings(meaning: Meaning) -> tuple[_Fitting, ...]:
    """Wordings that fit what is meant, each with the words for its tables."""
    return _possible(meaning.section, meaning.keys, _form(meaning))


@cache
def _possible(section: str, keys: tuple[str, ...], form: _Form) -> tuple[_Fitting, ...]:
    grammar = read_grammar()
    fitting = ((wording, grammar.rows(wording, keys)) for wording in grammar.sections[section].wordings)
    return tuple((wording, rows) for wording, rows in fitting if rows is not None and _takes(wording, form))


def _takes(wording: Wording, form: _Form) -> bool:
    if "nouns" in wording.naming_slots:
        return form == "both" or (form == "uncounted" and not wording.has_number)
    return form != "pair" or not wording.is_for_one


def _frames(section: str, form: _Form) -> tuple[Wording, ...]:
    grammar = read_grammar()
    return grammar.frames[form == "pair" or grammar.sections[section].is_plural]


def _chosen(
    possible: Sequence[_Fitting], frames: Sequence[Wording], rng: Random, wordings: Wordings
) -> tuple[_Fitting, Wording | None] | None:
    """Choose a wording and a sentence around it, or None for none."""
    if wordings == "unseen":
        held_out = [each for each in possible if each[0].is_held_out]
        unseen_frames = [frame for frame in frames if frame.is_held_out]
        framed = [each for each in possible if not each[0].is_whole] if unseen_frames else []
        if framed and not (held_out and rng.random() < _HELD_OUT_WORDING_SHARE):
            return rng.choice(framed), rng.choice(unseen_frames)
        possible = held_out
    elif wordings == "seen":
        possible = [each for each in possible if not each[0].is_held_out]
        frames = [frame for frame in frames if not frame.is_held_out]
    if not possible:
        return None
    fitting = rng.choice(possible)
    is_framed = bool(frames) and not fitting[0].is_whole and rng.random() < FRAMED_SHARE
    return fitting, rng.choice(frames) if is_framed else None


def possible_words(slot: str, wording: Wording, meaning: Meaning) -> list[str]:
    """Words that can fill a slot for objects, the usual one first."""
    head = meaning.head if slot in ("noun", "nouns") else meaning.others[slot == "third"]
    if slot == "nouns":
        texts = [word.plural for word in head.words if word.plural]
    else:
        texts = [word.text for word in head.words]
    takes_one = read_grammar().sections[meaning.section].takes_one and not _AFTER_ARTICLE.search(wording.text)
    return texts if takes_one or head.sort != "thing" else [text for text in texts if text not in ("one", "ones")]


def _filling(wording: Wording, rows: Mapping[str, Sequence[str]], meaning: Meaning, rng: Random) -> dict[str, str]:
    filling = {table: rng.choice(row) for table, row in rows.items()}
    for slot in wording.naming_slots:
        texts = possible_words(slot, wording, meaning)
        is_usual = meaning.head.sort != "thing" and (len(texts) == 1 or rng.random() >= _SYNONYM_SHARE)
        filling[slot] = texts[0] if is_usual else rng.choice(texts)
    return filling


def _without_articles(text: str, rng: Random) -> str:
    if rng.random() >= _BARE_SHARE:
        return text
    if rng.random() < 1 / 3:
        return _ARTICLE.sub("", text)
    return text.removeprefix("the ")


def _as_typed(text: str, rng: Random) -> str:
    if rng.random() < _TYPO_SHARE:
        text = with_typo(text, rng)
    if text.endswith("?"):
        text = text[:-1] if rng.random() < _NO_QUESTION_MARK_SHARE else text
    elif rng.random() < _FULL_STOP_SHARE:
        text += "."
    if rng.random() < _CAPITAL_SHARE:
        text = text[:1].upper() + text[1:]
    return text.upper() if rng.random() < _LOUD_SHARE else text
