"""Phrases to ids for the encoders that transformers builds, ViLT and CLIP, by the tokenizers they were trained with."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from evfsam.encoders.tokenizers import checked_length, padded_batch
from evfsam.errors import CheckpointError


class PretrainedPhraseTokenizer:
    """Does for a tokenizer of transformers what `PhraseTokenizer` does for sentencepiece. Read-only, safe to share.

    Args:
        pretrained: with a padding token; it puts its own marks around a phrase.
        max_tokens: longest phrase, marks included.

    Raises:
        CheckpointError: there is no padding token.
    """

    def __init__(self, pretrained: PreTrainedTokenizerBase, max_tokens: int) -> None:
        if pretrained.pad_token_id is None:
            raise CheckpointError("expected a tokenizer with a padding token; name one in tokenizer_config.json")
        self.pretrained = pretrained
        self.max_tokens = max_tokens

    @classmethod
    def from_pretrained(cls, directory: str | Path, max_tokens: int) -> "PretrainedPhraseTokenizer":
        """Read the tokenizer's files from a checkpoint directory.

        Raises:
            CheckpointError: files are missing or damaged.
        """
        try:
            pretrained = AutoTokenizer.from_pretrained(Path(directory), local_files_only=True)
        except (OSError, ValueError, TypeError, KeyError) as err:
            raise CheckpointError(
                f"expected a tokenizer in {directory}, cannot read it ({err}); copy the encoder's tokenizer files there"
            ) from err
        return cls(pretrained, max_tokens)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the tokenizer's files; the directory is made if missing."""
        self.pretrained.save_pretrained(directory)

    @property
    def vocab_size(self) -> int:
        """Ids from 0 to this minus 1 can occur."""
        return len(self.pretrained)

    def encode(self, phrase: str) -> list[int]:
        """Return the ids of one phrase, with the marks that the tokenizer puts around it.

        Raises:
            PhraseError: there are more than `max_tokens` ids.
        """
        ids: list[int] = self.pretrained(phrase)["input_ids"]
        return checked_length(ids, self.max_tokens)

    def tokens(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Return the piece behind each id, for people."""
        return tuple(self.pretrained.convert_ids_to_tokens(list(ids)))

    def encode_batch(self, phrases: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Check and encode phrases, padded on the right to the longest.

        Returns:
            (P, T) int64 ids and (P, T) bool attention mask, True on words.

        Raises:
            PhraseError: a phrase is empty or too long, or there is none.
        """
        return padded_batch(phrases, self.encode, int(self.pretrained.pad_token_id))
