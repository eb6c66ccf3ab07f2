"""What a visitor should know before believing an answer: words and pictures foreign to the mini suite. No gradio."""

from collections.abc import Iterable
from functools import cache
from html import escape
from typing import Final

from webui.i18n.translate import translate
from webui.tabs.compare.runs import Progress
from workbench.datasets.grammar import read_grammar, split_words
from workbench.datasets.naming import known_words
from workbench.datasets.typos import unknown_words
from workbench.datasets.vocabulary import CATEGORIES, COLOURS, HUES
from workbench.suites.registry import MINI

_SAMPLE: Final = ("dog", "bus", "hat", "pizza")


def makes_notes(suite_key: str) -> bool:
    """Whether anything is foreign to a suite that is known here; of published models it is not."""
    return suite_key == MINI.key


def note_on(progress: Progress, suite_key: str, *, is_scene: bool) -> str:
    """Say what of a question is foreign to the suite; empty where nothing is, or the suite is of published models.

    Args:
        progress: the question.
        suite_key: who is asked.
        is_scene: whether the picture is drawn from the suite's own objects.
    """
    if not makes_notes(suite_key):
        return ""
    sentences = []
    if not is_scene:
        on_photographs = translate(
            "The mini suite learnt from generated scenes: in photographs EVF-SAM and point query find some things, "
            "CLIP text hardly any."
        )
        sentences.append(on_photographs)
    words = unknown_words(progress.phrase.replace("[semantic]", ""))
    if any(not word.isascii() for word in words):
        sentences.append(translate("It reads English only."))
    slips = {word: meant for word, meant in words.items() if meant}
    sentences += [
        translate("The mini suite does not know “{word}”; it may have read “{meant}”.", word=w, meant=m)
        for w, m in slips.items()
    ]
    strange = [word for word in words if word.isascii() and word not in slips]
    if strange:
        known = translate(
            "The mini suite does not know {words}. It knows the things of its drawn scenes, such as {sample}, their "
            "colours, sizes and places.",
            words=_quoted(strange),
            sample=", ".join(_SAMPLE),
        )
        sentences.append(known)
    undrawn = [word for word in dict.fromkeys(split_words(progress.phrase)) if word in _undrawn_words()]
    if undrawn and "clip-text" in progress.chosen:
        sentences.append(translate("CLIP text has not learnt {words}.", words=_quoted(undrawn)))
    return f'<p class="foreign" role="note">{escape(" ".join(sentences))}</p>' if sentences else ""


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"“{word}”" for word in words)


@cache
def _undrawn_words() -> frozenset[str]:
    """Words of the vocabulary for what the scenes that taught CLIP text never show, and for nothing else."""
    words = known_words().values()
    drawn = _single(text for word in words if word.nouns & CATEGORIES.keys() for text in (word.text, word.plural))
    drawn |= _single(text for name in HUES for text in (name, *COLOURS[name].synonyms))
    every = _single(text for word in words for text in (word.text, word.plural))
    every |= _single(text for colour in COLOURS.values() for text in (colour.name, *colour.synonyms))
    return frozenset(every - drawn - read_grammar().known_words())


def _single(texts: Iterable[str | None]) -> set[str]:
    return {word for text in texts if text for word in split_words(text)}
