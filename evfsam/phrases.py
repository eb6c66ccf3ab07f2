"""What may be asked: a phrase, or several in one request, without surrounding white space and within bounds."""

from collections.abc import Sequence
from typing import Any, Final

from evfsam.errors import EmptyPhraseError, PhraseError

MAX_PHRASE_LENGTH: Final = 1_000
MAX_PHRASES: Final = 16
"""Phrases that one request may hold; bounds the memory of a batch."""
PHRASE_SEPARATOR: Final = ";"
ALL_OF_CLASS: Final = "[semantic] "
"""Before the name of a class: all of its instances are meant. It is the token of EVF-SAM's multi-task training, which
EVF-SAM alone knows; every other strategy says it in words, see `in_words`."""


class Phrase(str):
    """A phrase that `check_phrase` has passed: further down it is not looked at again."""

    __slots__ = ()


def check_phrase(phrase: object) -> Phrase:
    """Return the phrase without surrounding white space.

    Raises:
        PhraseError: it is not text, is empty, has more than 1,000 characters, or holds half of one.
    """
    if isinstance(phrase, Phrase):
        return phrase
    if not isinstance(phrase, str):
        raise PhraseError("expected a phrase as text, got {kind}; type what to segment", kind=type(phrase).__name__)
    stripped = phrase.strip()
    if not stripped:
        raise EmptyPhraseError(
            "expected a phrase, got an empty one; type what to segment, such as 'the dog on the left'"
        )
    if len(stripped) > MAX_PHRASE_LENGTH:
        raise PhraseError(
            "expected at most {most} characters, got {got}; shorten the phrase",
            most=MAX_PHRASE_LENGTH,
            got=len(stripped),
        )
    if any("\ud800" <= letter <= "\udfff" for letter in stripped):  # as a text cut by length leaves an emoji
        raise PhraseError("expected a phrase of whole characters, got half of one (a lone surrogate); type it again")
    return Phrase(stripped)


def in_words(phrase: str, every: str = "every {}") -> str:
    """Return a phrase as a strategy reads it that does not know the mark `ALL_OF_CLASS`.

    Args:
        phrase: checked.
        every: how this strategy asks for all instances of a class, "{}" in place of its name.
    """
    mark = ALL_OF_CLASS.strip()
    name = phrase.removeprefix(mark).strip()
    return every.format(name) if phrase.startswith(mark) and name else phrase


def split_phrases(request: object) -> tuple[Phrase, ...]:
    """Split a request into its phrases at each ";"; empty parts and repetitions are dropped.

    Returns:
        One phrase or more, checked, in their order.

    Raises:
        PhraseError: it is not text, no phrase is left, one is too long, or there are more than 16.
    """
    if not isinstance(request, str):
        return (check_phrase(request),)
    parts = [part for part in request.split(PHRASE_SEPARATOR) if part.strip()]
    return check_phrases(tuple(dict.fromkeys(check_phrase(part) for part in parts or [""])))


def check_phrases(phrases: Sequence[object]) -> tuple[Phrase, ...]:
    """Return phrases without surrounding white space.

    Raises:
        PhraseError: one is empty or too long, or there are none or more than 16.
    """
    if not 1 <= len(phrases) <= MAX_PHRASES:
        raise PhraseError(
            "expected 1 to {most} phrases in one request, got {got}; ask for fewer", most=MAX_PHRASES, got=len(phrases)
        )
    return tuple(check_phrase(phrase) for phrase in phrases)


def refuse_control_tokens(tokenizer: Any, phrase: str) -> None:
    """Refuse a phrase that spells a special token, such as an end-of-text mark or an image placeholder.

    Args:
        tokenizer: of transformers.
        phrase: as a person typed it.

    Raises:
        PhraseError: the model would take the token for structure and answer another question.
    """
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    for token in sorted(added | set(tokenizer.all_special_tokens)):
        if token in phrase:
            raise PhraseError("the phrase holds {token!r}, a control token of the model; leave it out", token=token)
