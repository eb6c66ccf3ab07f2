from pathlib import Path

import pytest
import torch

from evfsam.errors import CheckpointError, PhraseError
from evfsam.tokenizer import BOS_ID, EOS_ID, PAD_ID, UNK_ID, PhraseTokenizer
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
