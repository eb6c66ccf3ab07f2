"""Phrases to token ids: a sentencepiece model with the ids of XLM-R, as BEiT-3 uses it.

Ids: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3; sentencepiece piece k becomes k + 1.
"""

from collections.abc import Sequence
from pathlib import Path

import sentencepiece
import torch

from evfsam.errors import CheckpointError, PhraseError
from evfsam.preprocess import check_phrase

TOKENIZER_NAME = "sentencepiece.bpe.model"
BOS_ID, PAD_ID, EOS_ID, UNK_ID = 0, 1, 2, 3

_SPECIAL_TOKENS = {BOS_ID: "<s>", PAD_ID: "<pad>", EOS_ID: "</s>", UNK_ID: "<unk>"}


class PhraseTokenizer:
    """Turns phrases into ids. Nothing in a phrase is read as a special token. Read-only, safe to share.

    Args:
        model: the sentencepiece model's bytes.
        max_tokens: longest phrase, specials included.

    Raises:
        CheckpointError: the bytes are not a sentencepiece model.
    """

    def __init__(self, model: bytes, max_tokens: int) -> None:
        self._model = model
        self.max_tokens = max_tokens
        self._pieces = sentencepiece.SentencePieceProcessor()
        try:
            self._pieces.LoadFromSerializedProto(model)
        except (RuntimeError, TypeError) as err:
            raise CheckpointError(f"{TOKENIZER_NAME} is damaged or of another kind ({err}); restore the file") from err

    @classmethod
    def from_pretrained(cls, directory: str | Path, max_tokens: int) -> "PhraseTokenizer":
        """Read `sentencepiece.bpe.model` from a checkpoint directory.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        path = Path(directory) / TOKENIZER_NAME
        try:
            return cls(path.read_bytes(), max_tokens)
        except OSError as err:
            raise CheckpointError(f"expected {TOKENIZER_NAME} in {directory}, cannot read it ({err})") from err

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `sentencepiece.bpe.model`, byte for byte as it was read."""
        Path(directory).mkdir(parents=True, exist_ok=True)
        (Path(directory) / TOKENIZER_NAME).write_bytes(self._model)

    @property
    def vocab_size(self) -> int:
        """Ids from 0 to this minus 1 can occur, XLM-R's mask token included."""
        return int(self._pieces.GetPieceSize()) + 2

    def encode(self, phrase: str) -> list[int]:
        """Return the ids of one phrase, `<s>` and `</s>` around it; an empty one gives just these.

        Raises:
            PhraseError: there are more than `max_tokens` ids.
        """
        pieces = self._pieces.EncodeAsIds(phrase)
        ids = [BOS_ID, *(piece + 1 if piece else UNK_ID for piece in pieces), EOS_ID]
        if len(ids) > self.max_tokens:
            raise PhraseError(
                f"expected a phrase of at most {self.max_tokens} word pieces, got {len(ids)}; shorten the phrase"
            )
        return ids

    def tokens(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Return the piece behind each id, for people."""
        return tuple(_SPECIAL_TOKENS.get(token) or str(self._pieces.IdToPiece(token - 1)) for token in ids)

    def encode_batch(self, phrases: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Check and encode phrases, padded on the right to the longest.

        Returns:
            (P, T) int64 ids and (P, T) bool attention mask, True on words.

        Raises:
            PhraseError: a phrase is empty or too long, or there is none.
        """
        if not phrases:
            raise PhraseError("expected at least one phrase, got none")
        rows = [torch.tensor(self.encode(check_phrase(phrase))) for phrase in phrases]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD_ID)
        return ids, ids != PAD_ID
