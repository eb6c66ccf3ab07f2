"""A phrase may not spell the marks by which a tokenizer frames its input."""

from typing import Any

from evfsam.errors import PhraseError


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
