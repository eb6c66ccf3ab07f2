"""Phrases to token ids: BEiT-3's sentencepiece model with the ids of XLM-R, and the tokenizers of ViLT and CLIP.

BEiT-3's ids: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3; sentencepiece piece k becomes k + 1. Tokens that the
checkpoint's own files add are read as those files number them: `[semantic]` is one such token, 64002, in the released
multitask weights. Without it, as in the other weights, "[semantic]" is made of ordinary pieces.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import sentencepiece
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from evfsam.errors import CheckpointError, PhraseError
from evfsam.phrases import check_phrase
from evfsam.weights.checkpoint_files import json_object

TOKENIZER_NAME = "sentencepiece.bpe.model"
BOS_ID, PAD_ID, EOS_ID, UNK_ID = 0, 1, 2, 3

_SPECIAL_TOKENS = {BOS_ID: "<s>", PAD_ID: "<pad>", EOS_ID: "</s>", UNK_ID: "<unk>"}

CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
WHOLE_FILE = "tokenizer.json"
SETTINGS_FILES: Final = (CONFIG_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE, WHOLE_FILE)

STANDARD_TOKENS: Final = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
RELEASED_SETTINGS: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        CONFIG_FILE: {"tokenizer_class": "XLMRobertaTokenizer"},
        SPECIAL_TOKENS_FILE: {
            **{"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"},
            **{"mask_token": "<mask>", "pad_token": "<pad>", "unk_token": "<unk>"},
        },
    }
)

_CLASSES = ("XLMRobertaTokenizer", "XLMRobertaTokenizerFast")


def checked_length(ids: list[int], max_tokens: int) -> list[int]:
    """Return the ids of a phrase.

    Raises:
        PhraseError: there are more than `max_tokens`.
    """
    if len(ids) > max_tokens:
        raise PhraseError(
            "expected a phrase of at most {most} word pieces, got {got}; shorten the phrase",
            most=max_tokens,
            got=len(ids),
        )
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
        settings: contents of the JSON files beside it, by name (`SETTINGS_FILES`).

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
            raise CheckpointError(
                "{file} is damaged or of another kind ({reason}); restore the file", file=TOKENIZER_NAME, reason=err
            ) from err
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
                "expected {file} in {directory}, cannot read it ({reason}); copy the tokenizer there",
                file=TOKENIZER_NAME,
                directory=directory,
                reason=err,
            ) from err
        try:
            return cls(model, max_tokens, settings)
        except CheckpointError as err:
            raise CheckpointError("{directory}: {reason}", directory=directory, reason=err) from err

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


@dataclass(frozen=True)
class AddedToken:
    """A piece of text that is one token whatever the sentencepiece model says.

    Attributes:
        text: as it stands in a phrase.
        token_id: its row in the word embedding.
        takes_left: whether it swallows the spaces before it.
        takes_right: whether it swallows the spaces after it.
    """

    text: str
    token_id: int
    takes_left: bool = False
    takes_right: bool = False


def added_tokens(settings: Mapping[str, bytes], piece_id: Callable[[str], int | None], size: int) -> list[AddedToken]:
    """Collect the tokens that were added to XLM-R's own.

    Args:
        settings: contents of the files of `SETTINGS_FILES` that are there.
        piece_id: gives the id of a text that the sentencepiece model itself holds as one piece, or None.
        size: number of ids before any were added; a token that no file numbers takes the next one.

    Raises:
        CheckpointError: a file is not what it should be, or the tokenizer is of another kind.
    """
    config, specials, numbered, whole = (json_object(settings.get(name, b"{}"), name) for name in SETTINGS_FILES)
    kind = config.get("tokenizer_class")
    if kind is not None and kind not in _CLASSES:
        raise CheckpointError(
            "expected an XLMRobertaTokenizer in {file}, got {kind!r}; use EVF-SAM's own files",
            file=CONFIG_FILE,
            kind=kind,
        )
    found: dict[str, AddedToken] = {}
    for entry in _list(whole.get("added_tokens") or [], WHOLE_FILE):
        number = entry.get("id") if isinstance(entry, dict) else None
        _keep(found, _token(entry, WHOLE_FILE, _number(number, WHOLE_FILE)))
    for number, entry in _part(config, "added_tokens_decoder", CONFIG_FILE).items():
        _keep(found, _token(entry, CONFIG_FILE, _number(number, CONFIG_FILE)))
    for text, number in numbered.items():
        _keep(found, AddedToken(text, _number(number, ADDED_TOKENS_FILE)))
    for name, values in ((CONFIG_FILE, config), (SPECIAL_TOKENS_FILE, specials)):
        for field in ("additional_special_tokens", "extra_special_tokens"):
            for entry in _entries(values.get(field) or [], name):
                text = _token(entry, name, 0).text
                known = piece_id(text)
                following = max([size, *(token.token_id + 1 for token in found.values())])
                _keep(found, _token(entry, name, following if known is None else known))
    return [token for token in found.values() if token.text and token.text not in STANDARD_TOKENS]


def _keep(found: dict[str, AddedToken], token: AddedToken) -> None:
    found.setdefault(token.text, token)


def _entries(values: object, name: str) -> list[object]:
    return list(values.values()) if isinstance(values, dict) else _list(values, name)


def _part(values: Mapping[str, object], key: str, name: str) -> dict[str, object]:
    part = values.get(key) or {}
    if not isinstance(part, dict):
        raise CheckpointError(
            "{name}: expected {key} to be an object, got a {kind}; restore the file",
            name=name,
            key=key,
            kind=type(part).__name__,
        )
    return part


def _list(values: object, name: str) -> list[object]:
    if not isinstance(values, list):
        raise CheckpointError(
            "{name}: expected a list of tokens, got a {kind}; restore the file", name=name, kind=type(values).__name__
        )
    return values


def _number(value: object, name: str) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise CheckpointError(
            "{name}: expected the id of a token, got {value!r}; restore the file", name=name, value=value
        )
    return number


def _token(entry: object, name: str, token_id: int) -> AddedToken:
    fields = {"content": entry} if isinstance(entry, str) else entry
    text = fields.get("content") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not isinstance(text, str):
        raise CheckpointError(
            "{name}: expected a token, got {entry!r}; restore the file", name=name, entry=str(entry)[:80]
        )
    return AddedToken(text, token_id, bool(fields.get("lstrip")), bool(fields.get("rstrip")))


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
                "expected a tokenizer in {directory}, cannot read it ({reason}); copy the encoder's tokenizer "
                "files there",
                directory=directory,
                reason=err,
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
