"""Byte-level tokenizers with the marks of the model families and the words that matter: Yes and No."""

from collections.abc import Sequence

from tokenizers import pre_tokenizers
from transformers import Qwen2Tokenizer

MERGES = (("Y", "e"), ("Ye", "s"), ("N", "o"), ("Ġ", "Yes"), ("Ġ", "No"), ("y", "e"), ("ye", "s"), ("n", "o"))
CHATML_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_alphabet() -> list[str]:
    """The 256 characters that stand for bytes, in a fixed order."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_vocabulary(specials: Sequence[str] = ()) -> dict[str, int]:
    """Bytes, the words of `MERGES`, then special tokens."""
    pieces = [*byte_alphabet(), *("".join(pair) for pair in MERGES), *specials]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


def qwen_tokenizer(*marks: str, **named: str) -> Qwen2Tokenizer:
    """Qwen's tokenizer class with the ChatML marks and others; `named` ones become attributes such as `image_token`."""
    tokenizer = Qwen2Tokenizer(
        vocab=byte_vocabulary(),
        merges=list(MERGES),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named or None,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [*CHATML_MARKS, *marks, *named.values()]})
    return tokenizer
