"""CLIP's and ViLT's tokenizers read phrases as BEiT-3's does: checked, padded, and within the encoder's length."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from evfsam.encoders.tokenizers import PretrainedPhraseTokenizer
from evfsam.errors import CheckpointError, PhraseError

WORDS = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "the": 4, "blue": 5, "bus": 6}


def pretrained(**marks: str) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", **marks)


@pytest.fixture
def tokenizer() -> PretrainedPhraseTokenizer:
    return PretrainedPhraseTokenizer(pretrained(pad_token="[PAD]"), 5)


def test_phrases_are_padded_on_the_right_and_their_words_marked(tokenizer: PretrainedPhraseTokenizer) -> None:
    ids, words = tokenizer.encode_batch(["the blue bus", "bus"])

    assert ids.tolist() == [[1, 4, 5, 6, 2], [1, 6, 2, 0, 0]]
    assert words.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert words.dtype == torch.bool


def test_ids_read_back_as_pieces(tokenizer: PretrainedPhraseTokenizer) -> None:
    assert tokenizer.tokens(tokenizer.encode("the bus")) == ("[CLS]", "the", "bus", "[SEP]")


def test_a_phrase_that_is_too_long_is_refused(tokenizer: PretrainedPhraseTokenizer) -> None:
    with pytest.raises(PhraseError, match="at most 5 word pieces, got 6"):
        tokenizer.encode("the blue blue bus")


@pytest.mark.parametrize("phrases", [[], [" "]])
def test_no_phrase_is_refused(tokenizer: PretrainedPhraseTokenizer, phrases: list[str]) -> None:
    with pytest.raises(PhraseError, match="phrase"):
        tokenizer.encode_batch(phrases)


def test_it_is_saved_and_read_back(tokenizer: PretrainedPhraseTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)

    again = PretrainedPhraseTokenizer.from_pretrained(tmp_path, 5)

    assert again.encode("the bus") == tokenizer.encode("the bus")
    assert again.vocab_size == len(WORDS)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="copy the encoder's tokenizer files there"):
        PretrainedPhraseTokenizer.from_pretrained(tmp_path, 5)


def test_a_tokenizer_that_cannot_pad_is_refused() -> None:
    with pytest.raises(CheckpointError, match="padding token"):
        PretrainedPhraseTokenizer(pretrained(), 5)
