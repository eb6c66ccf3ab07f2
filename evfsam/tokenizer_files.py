"""What the files beside a sentencepiece model say: which class reads it, and which tokens were added to it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from evfsam.errors import CheckpointError

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
    config, specials, numbered, whole = (_object(name, settings) for name in SETTINGS_FILES)
    kind = config.get("tokenizer_class")
    if kind is not None and kind not in _CLASSES:
        raise CheckpointError(
            f"expected an XLMRobertaTokenizer in {CONFIG_FILE}, got {kind!r}; use EVF-SAM's own files"
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


def _object(name: str, settings: Mapping[str, bytes]) -> dict[str, object]:
    try:
        values = json.loads(settings.get(name, b"{}"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as err:
        raise CheckpointError(f"{name} cannot be read as JSON ({err}); restore the file") from err
    if not isinstance(values, dict):
        raise CheckpointError(f"{name} holds a {type(values).__name__}, expected a JSON object; restore the file")
    return values


def _part(values: Mapping[str, object], key: str, name: str) -> dict[str, object]:
    part = values.get(key) or {}
    if not isinstance(part, dict):
        raise CheckpointError(f"{name}: expected {key} to be an object, got a {type(part).__name__}; restore the file")
    return part


def _list(values: object, name: str) -> list[object]:
    if not isinstance(values, list):
        raise CheckpointError(f"{name}: expected a list of tokens, got a {type(values).__name__}; restore the file")
    return values


def _number(value: object, name: str) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise CheckpointError(f"{name}: expected the id of a token, got {value!r}; restore the file")
    return number


def _token(entry: object, name: str, token_id: int) -> AddedToken:
    fields = {"content": entry} if isinstance(entry, str) else entry
    text = fields.get("content") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not isinstance(text, str):
        raise CheckpointError(f"{name}: expected a token, got {str(entry)[:80]!r}; restore the file")
    return AddedToken(text, token_id, bool(fields.get("lstrip")), bool(fields.get("rstrip")))
