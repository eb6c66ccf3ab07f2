"""Phrases to token ids: a sentencepiece model with the ids of XLM-R, as BEiT-3 uses it.

Ids: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3; sentencepiece piece k becomes k + 1. Tokens that the checkpoint's own
files add, such as a "[semantic]" of a further training, are read as those files number them; without them,
"[semantic]" is made of ordinary pieces, as in the released multitask weights.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import sentencepiece
import torch

from evfsam.errors import CheckpointError, PhraseError
from evfsam.preprocess import check_phrase
from evfsam.tokenizer_files import RELEASED_SETTINGS, SETTINGS_FILES, added_tokens

TOKENIZER_NAME = "sentencepiece.bpe.model"
BOS_ID, PAD_ID, EOS_ID, UNK_ID = 0, 1, 2, 3

_SPECIAL_TOKENS = {BOS_ID: "<s>", PAD_ID: "<pad>", EOS_ID: "</s>", UNK_ID: "<unk>"}


def checked_length(ids: list[int], max_tokens: int) -> list[int]:
    """Return the ids of a phrase.

    Raises:
        PhraseError: there are more than `max_tokens`.
    """
    if len(ids) > max_tokens:
        raise PhraseError(f"expected a phrase of at most {max_tokens} word pieces, got {len(ids)}; shorten the phrase")
    return ids


def padded_batch(
    phrases: Sequence[str], encode: Callable[[str], list[int]], padding_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Check and encode phrases, padded on the right to the longest.

    Returns:
        (P, T) int64 ids and (P, T) bool attention mask, True on words.

    Raises:
        PhraseError: a phrase is empty or too long, or there is none.
    """
    if not phrases:
        raise PhraseError("expected at least one phrase, got none")
    rows = [torch.tensor(encode(check_phrase(phrase))) for phrase in phrases]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding_id)
    words = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    return ids, words


class PhraseTokenizer:
    """Turns phrases into ids. Read-only, safe to share.

    Nothing in a phrase is read as a special token, except tokens that the checkpoint's files add to XLM-R's own.

    Args:
        model: the sentencepiece model's bytes.
        max_tokens: longest phrase, specials included.
        settings: contents of the JSON files beside it, by name (`tokenizer_files.SETTINGS_FILES`).

    Raises:
        CheckpointError: the bytes are not a sentencepiece model, or a settings file is damaged or of another kind.
    """

    def __init__(self, model: bytes, max_tokens: int, settings: Mapping[str, bytes] | None = None) -> None:
        self._model = model
        self._settings = dict(settings or {})
        self.max_tokens = max_tokens
        self._pieces = sentencepiece.SentencePieceProcessor()
        try:
            self._pieces.LoadFromSerializedProto(model)
        except (RuntimeError, TypeError) as err:
            raise CheckpointError(f"{TOKENIZER_NAME} is damaged or of another kind ({err}); restore the file") from err
        added = added_tokens(self._settings, self._piece_id, int(self._pieces.GetPieceSize()) + 2)
        self._added = {token.text: token for token in added}
        self._names = {token.token_id: token.text for token in added} | _SPECIAL_TOKENS
        # The longest first, so that no added token hides behind its own beginning.
        texts = sorted(self._added, key=lambda text: (-len(text), text))
        self._splitter = re.compile("|".join(map(re.escape, texts))) if texts else None

    @classmethod
    def from_pretrained(cls, directory: str | Path, max_tokens: int) -> "PhraseTokenizer":
        """Read the tokenizer's files from a checkpoint directory.

        Raises:
            CheckpointError: `sentencepiece.bpe.model` is missing, or a file is damaged.
        """
        folder = Path(directory)
        try:
            model = (folder / TOKENIZER_NAME).read_bytes()
            settings = {name: (folder / name).read_bytes() for name in SETTINGS_FILES if (folder / name).is_file()}
        except OSError as err:
            raise CheckpointError(
                f"expected {TOKENIZER_NAME} in {directory}, cannot read it ({err}); copy the tokenizer there"
            ) from err
        try:
            return cls(model, max_tokens, settings)
        except CheckpointError as err:
            raise CheckpointError(f"{directory}: {err}") from err

    def save_pretrained(self, directory: str | Path, *, released: bool = False) -> None:
        """Write the files byte for byte as they were read.

        Args:
            directory: made if missing.
            released: whether to add the settings files of the released layout where there were none.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        files = {TOKENIZER_NAME: self._model, **self._settings}
        if released:
            for name, values in RELEASED_SETTINGS.items():
                files.setdefault(name, (json.dumps(values, indent=2) + "\n").encode())
        for name, content in files.items():
            (folder / name).write_bytes(content)

    @property
    def vocab_size(self) -> int:
        """Ids from 0 to this minus 1 can occur, XLM-R's mask token and added tokens included."""
        return max(int(self._pieces.GetPieceSize()) + 2, max(self._names) + 1)

    def encode(self, phrase: str) -> list[int]:
        """Return the ids of one phrase, `<s>` and `</s>` around it; an empty one gives just these.

        Raises:
            PhraseError: there are more than `max_tokens` ids.
        """
        ids = [BOS_ID, *self._inner_ids(phrase), EOS_ID]
        return checked_length(ids, self.max_tokens)

    def tokens(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Return the piece behind each id, for people."""
        return tuple(self._names.get(token) or str(self._pieces.IdToPiece(token - 1)) for token in ids)

    def encode_batch(self, phrases: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Check and encode phrases, padded on the right to the longest.

        Returns:
            (P, T) int64 ids and (P, T) bool attention mask, True on words.

        Raises:
            PhraseError: a phrase is empty or too long, or there is none.
        """
        return padded_batch(phrases, self.encode, PAD_ID)

    def _inner_ids(self, phrase: str) -> list[int]:
        if self._splitter is None:
            return self._plain_ids(phrase)
        ids: list[int] = []
        start = 0
        takes_left_over = False
        for match in self._splitter.finditer(phrase):
            token = self._added[match[0]]
            ids += self._between(phrase[start : match.start()], takes_left_over, token.takes_left)
            ids.append(token.token_id)
            start, takes_left_over = match.end(), token.takes_right
        return ids + self._between(phrase[start:], takes_left_over, False)

    def _between(self, text: str, cut_left: bool, cut_right: bool) -> list[int]:
        text = text.lstrip() if cut_left else text
        return self._plain_ids(text.rstrip() if cut_right else text)

    def _plain_ids(self, text: str) -> list[int]:
        return [piece + 1 if piece else UNK_ID for piece in self._pieces.EncodeAsIds(text)]

    def _piece_id(self, text: str) -> int | None:
        piece = int(self._pieces.PieceToId(text))
        return None if piece == self._pieces.unk_id() else piece + 1
