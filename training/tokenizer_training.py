"""Small tokenizers for the mini suite, trained on the words of the scenes."""

import itertools
import string
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from workbench.datasets.vocabulary import COLOURS, GROUPS, NOUNS
from workbench.export.file_writing import whole_file


def train_sentencepiece(phrases: Iterable[str], path: Path, *, vocab_size: int = 2000) -> None:
    """Train BEiT-3's kind of tokenizer, a sentencepiece model that folds case.

    Every name is made a frequent word, so that each gets a piece of its own; letters, digits and punctuation are
    covered, so that any English phrase can be spelled.
    """
    sentences: Iterator[str] = itertools.chain(phrases, _known_words())
    with whole_file(path) as new, new.open("wb") as file:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=sentences,
            model_writer=file,
            vocab_size=vocab_size,
            model_type="bpe",
            normalization_rule_name="nmt_nfkc_cf",
            character_coverage=1.0,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            hard_vocab_limit=False,
            num_threads=1,
            minloglevel=2,
        )


def train_clip_tokenizer(phrases: Iterable[str], *, max_length: int) -> PreTrainedTokenizerFast:
    """Train a case-folding word-piece tokenizer with CLIP's frame: start, text, end of text, padding."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    specials = ["<pad>", "<unk>", "<start>", "<end>"]
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=specials,
        initial_alphabet=list(string.ascii_lowercase + string.digits + string.punctuation),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(itertools.chain(phrases, _known_words()), trainer)
    frame = [("<start>", tokenizer.token_to_id("<start>")), ("<end>", tokenizer.token_to_id("<end>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=frame)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
        model_max_length=max_length,
        padding_side="right",
    )


def train_dialogue_tokenizer(
    texts: Iterable[str], *, fixed_texts: Sequence[str], max_length: int
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer for SAM4MLLM dialogues.

    Args:
        texts: phrases and answers.
        fixed_texts: wordings that never vary; each becomes one token, which keeps dialogues short. Digits stand alone.
        max_length: longest input in tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<|user|>", "<|assistant|>", "<|end|>", "<image>"]
    trainer = trainers.BpeTrainer(
        vocab_size=2400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(itertools.chain(texts, _known_words()), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in fixed_texts])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<|end|>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=max_length,
        padding_side="left",
    )


def _known_words() -> Iterator[str]:
    nouns = [word for noun in NOUNS.values() for word in (noun.name, noun.plural, *noun.synonyms)]
    names = [*nouns, *GROUPS, *GROUPS.values(), *COLOURS]
    letters = [*string.ascii_letters, *string.digits, *string.punctuation]
    return (text for name in [*names, *letters] * 50 for text in (f"the {name}", name))
