"""Weights of an earlier suite as a beginning: other image sizes, another tokenizer, the same widths.

Position tables are resampled to the new grid of patches. A piece of the new tokenizer starts as the mean of the old
pieces that spell it, so a word that both know keeps its embedding.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from evfsam.encoders.tokenizers import EOS_ID, PhraseTokenizer
from evfsam.errors import CheckpointError
from evfsam.weights.checkpoint_files import read_weights

Weights = dict[str, torch.Tensor]


def started(own: Mapping[str, torch.Tensor], earlier: Mapping[str, torch.Tensor]) -> Weights:
    """Return a model's weights with those of an earlier one put in, resampled where only the grid of patches differs.

    Args:
        own: fresh weights by name.
        earlier: weights by the same names; names that `own` lacks are left out.

    Raises:
        CheckpointError: a shape differs in more than the grid.
    """
    weights = dict(own)
    for name, value in earlier.items():
        if name in own:
            weights[name] = _fitted(name, value.float(), own[name].shape)
    return weights


def _fitted(name: str, value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    if value.shape == shape:
        return value
    if name.endswith("pos_embed") and value.ndim == 4:  # SAM's: (1, h, w, C)
        return F.interpolate(value.permute(0, 3, 1, 2), shape[1:3], mode="bicubic").permute(0, 2, 3, 1)
    if name.endswith("embed_positions.A.weight") and value.shape[1] == shape[1]:  # BEiT-3's
        extra = 3  # two rows that are never read, and [CLS]
        old, new = (round((count - extra) ** 0.5) for count in (len(value), shape[0]))
        grid = value[extra:].T.reshape(1, -1, old, old)
        patches = F.interpolate(grid, (new, new), mode="bicubic").flatten(2)[0].T
        return torch.cat([value[:extra], patches])
    raise CheckpointError(
        f"expected {name} of shape {tuple(shape)} in the weights to start from, got {tuple(value.shape)}; "
        "they must have the widths of the recipe"
    )


def respelled(embedding: torch.Tensor, old: PhraseTokenizer, new: PhraseTokenizer, rows: int) -> torch.Tensor:
    """Return (rows, D) word embeddings for a new tokenizer, each the mean of the old pieces that spell it."""
    table = embedding.float().mean(0).repeat(rows, 1)
    table[: EOS_ID + 1] = embedding[: EOS_ID + 1]
    known = range(EOS_ID + 1, min(len(embedding), old.vocab_size - 1))
    row_of = {piece: row for row, piece in zip(known, old.tokens(known), strict=True)}
    for token in range(EOS_ID + 1, min(rows, new.vocab_size - 1)):
        piece = new.tokens([token])[0]
        text = piece.replace("▁", " ").strip()
        spelled = [row_of[piece]] if piece in row_of else old.encode(text) if text else []
        pieces = [i for i in spelled if EOS_ID < i < len(embedding)]
        if pieces:
            table[token] = embedding[pieces].float().mean(0)
    return table


def respelled_pieces(
    embedding: torch.Tensor, old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast
) -> torch.Tensor:
    """Return (V, D) word embeddings for a new byte-level tokenizer, each the mean of the old pieces that spell it.

    Args:
        embedding: (v, D) of the old one's pieces.
        old: its tokenizer.
        new: another; a piece that both have, control tokens too, keeps its row.
    """
    known = old.get_vocab()
    table = embedding.float().mean(0).repeat(len(new), 1)
    for piece, row in new.get_vocab().items():
        text = new.convert_tokens_to_string([piece])
        pieces = [known[piece]] if piece in known else old(text, add_special_tokens=False)["input_ids"]
        if pieces:
            table[row] = embedding[pieces].float().mean(0)
    return table


def earlier_evf_sam(directory: Path, tokenizer: PhraseTokenizer, rows: int) -> Weights:
    """Read an earlier EVF-SAM's weights, its words respelled."""
    weights = read_weights(directory)
    old = PhraseTokenizer.from_pretrained(directory, tokenizer.max_tokens)
    name = next(key for key in weights if key.endswith("text_embed.weight"))
    weights[name] = respelled(weights[name], old, tokenizer, rows)
    return weights
