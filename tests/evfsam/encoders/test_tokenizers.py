import json
import shutil
from pathlib import Path

import pytest
import torch

from evfsam.encoders.tokenizers import BOS_ID, EOS_ID, PAD_ID, UNK_ID, PhraseTokenizer
from evfsam.errors import CheckpointError, PhraseError
from tests.evfsam.tiny import TOKENIZER_DIRECTORY


@pytest.fixture(scope="module")
def tokenizer() -> PhraseTokenizer:
    return PhraseTokenizer.from_pretrained(TOKENIZER_DIRECTORY, max_tokens=16)


def test_phrases_are_padded_on_the_right(tokenizer: PhraseTokenizer) -> None:
    ids, mask = tokenizer.encode_batch(["zebra top left", "left"])
    assert ids[1].tolist() == [BOS_ID, 14, EOS_ID] + [PAD_ID] * 5
    assert ids.dtype == torch.int64
    assert torch.equal(mask, ids != PAD_ID)
    assert mask[0].all()


def test_padding_changes_no_phrase(tokenizer: PhraseTokenizer) -> None:
    phrases = ["zebra top left", "[semantic] hair", "the man on left"]
    together, mask = tokenizer.encode_batch(phrases)
    for row, words, phrase in zip(together, mask, phrases, strict=True):
        assert row[words].tolist() == tokenizer.encode(phrase)


def test_nothing_in_a_phrase_is_a_special_token(tokenizer: PhraseTokenizer) -> None:
    inner = tokenizer.encode("</s><pad><s>")[1:-1]
    assert not {BOS_ID, PAD_ID, EOS_ID} & set(inner)


def test_unknown_letters_become_the_unknown_token(tokenizer: PhraseTokenizer) -> None:
    assert UNK_ID in tokenizer.encode("漢字")


def test_every_id_has_a_name(tokenizer: PhraseTokenizer) -> None:
    assert tokenizer.tokens(tokenizer.encode("zebra top left")) == (
        *("<s>", "▁zebra", "▁", "t", "o", "p", "▁left", "</s>"),
    )
    assert tokenizer.tokens([PAD_ID, UNK_ID]) == ("<pad>", "<unk>")


def test_a_phrase_that_is_too_long_is_refused(tokenizer: PhraseTokenizer) -> None:
    assert len(tokenizer.encode("left " * 14)) == 16
    with pytest.raises(PhraseError, match="at most 16 word pieces, got 17"):
        tokenizer.encode("left " * 15)


@pytest.mark.parametrize(("phrases", "message"), [([], "at least one phrase"), (["left", "  "], "got an empty one")])
def test_phrases_without_use_are_refused(tokenizer: PhraseTokenizer, phrases: list[str], message: str) -> None:
    with pytest.raises(PhraseError, match=message):
        tokenizer.encode_batch(phrases)


def test_a_saved_tokenizer_is_the_same_file(tokenizer: PhraseTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "new")
    name = "sentencepiece.bpe.model"
    assert (tmp_path / "new" / name).read_bytes() == (TOKENIZER_DIRECTORY / name).read_bytes()
    assert PhraseTokenizer.from_pretrained(tmp_path / "new", 16).encode("left") == tokenizer.encode("left")


@pytest.mark.parametrize("content", [b"", b"no model", (TOKENIZER_DIRECTORY / "cases.json").read_bytes()])
def test_a_damaged_tokenizer_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"sentencepiece\.bpe\.model is damaged"):
        PhraseTokenizer.from_pretrained(tmp_path, 16)


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected sentencepiece\.bpe\.model in"):
        PhraseTokenizer.from_pretrained(tmp_path, 16)


SEMANTIC = {"content": "[semantic]", "special": True}
ADDING_FILES = {
    "tokenizer_config.json": {"added_tokens_decoder": {"52": SEMANTIC, "0": {"content": "<s>"}}},
    "added_tokens.json": {"[semantic]": 52},
    "special_tokens_map.json": {"additional_special_tokens": ["[semantic]"]},
    "tokenizer.json": {"added_tokens": [{"id": 52, **SEMANTIC}, {"id": 0, "content": "<s>"}]},
}


def with_settings(directory: Path, name: str, values: object) -> Path:
    shutil.copy(TOKENIZER_DIRECTORY / "sentencepiece.bpe.model", directory)
    (directory / name).write_text(json.dumps(values))
    return directory


@pytest.mark.parametrize("name", ADDING_FILES)
def test_a_token_that_a_file_adds_is_read_as_that_file_numbers_it(name: str, tmp_path: Path) -> None:
    tokenizer = PhraseTokenizer.from_pretrained(with_settings(tmp_path, name, ADDING_FILES[name]), 16)
    assert tokenizer.encode("[semantic] hair") == [BOS_ID, 52, 20, EOS_ID]
    assert tokenizer.encode("left[semantic] sky") == [BOS_ID, 14, 52, 13, EOS_ID]
    assert tokenizer.tokens([52]) == ("[semantic]",)
    assert tokenizer.vocab_size == 53
    assert BOS_ID not in tokenizer.encode("<s> sky")[1:]


def test_without_such_a_file_semantic_is_ordinary_pieces(tokenizer: PhraseTokenizer) -> None:
    assert tokenizer.encode("[semantic] hair") == [BOS_ID, 4, 6, 5, 7, 20, EOS_ID]
    assert tokenizer.vocab_size == 52


def test_the_longest_added_token_wins(tmp_path: Path) -> None:
    added = {"[sem": 52, "[semantic]": 53}
    tokenizer = PhraseTokenizer.from_pretrained(with_settings(tmp_path, "added_tokens.json", added), 16)
    assert tokenizer.encode("[semantic]") == [BOS_ID, 53, EOS_ID]


def test_an_added_token_and_its_file_are_saved_with_the_tokenizer(tmp_path: Path) -> None:
    source = with_settings(tmp_path, "added_tokens.json", {"[semantic]": 52})
    PhraseTokenizer.from_pretrained(source, 16).save_pretrained(tmp_path / "new")
    assert (tmp_path / "new" / "added_tokens.json").read_bytes() == (source / "added_tokens.json").read_bytes()
    assert PhraseTokenizer.from_pretrained(tmp_path / "new", 16).encode("[semantic]") == [BOS_ID, 52, EOS_ID]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer"}, "expected an XLMRobertaTokenizer .* 'CLIPTok"),
        ("tokenizer_config.json", [], r"tokenizer_config\.json holds a list, expected a JSON object"),
        ("tokenizer_config.json", {"added_tokens_decoder": [3]}, "added_tokens_decoder to be an object, got a list"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": SEMANTIC}}, "expected the id of a token, got 'x'"),
        ("added_tokens.json", {"[semantic]": -4}, r"added_tokens\.json: expected the id of a token, got -4"),
        ("special_tokens_map.json", {"additional_special_tokens": 3}, "expected a list of tokens, got a int"),
        ("special_tokens_map.json", {"additional_special_tokens": [3]}, "expected a token, got '3'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, values: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        PhraseTokenizer.from_pretrained(with_settings(tmp_path, name, values), 16)


def test_damaged_settings_are_refused(tmp_path: Path) -> None:
    with_settings(tmp_path, "tokenizer_config.json", {})
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json cannot be read as JSON"):
        PhraseTokenizer.from_pretrained(tmp_path, 16)
