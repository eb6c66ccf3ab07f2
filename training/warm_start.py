"""Weights of an earlier suite as a beginning: other image sizes, another tokenizer, the same widths.

Position tables are resampled to the new grid of patches. A piece of the new tokenizer starts as the mean of the old
pieces that spell it, so a word that both know keeps its embedding.
"""

from collections.abc import Mapping

import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from evfsam.errors import CheckpointError

Weights = dict[str, torch.Tensor]
_ROWS_BEFORE_PATCHES = 3
"""Of BEiT-3's table of positions: two that are never read, and that of [CLS]."""


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
    if name.endswith("embed_positions.A.weight") and value.shape[1] == shape[1]:  # BEiT-3's: 3 + h * w rows
        side, old = (round((rows - _ROWS_BEFORE_PATCHES) ** 0.5) for rows in (shape[0], len(value)))
        grid = value[_ROWS_BEFORE_PATCHES:].T.unflatten(1, (old, old))
        patches = F.interpolate(grid[None], (side, side), mode="bicubic")[0].flatten(1).T
        return torch.cat([value[:_ROWS_BEFORE_PATCHES], patches])
    if name.endswith("vision_embed.proj.weight") and value.shape[:2] == shape[:2]:  # patches of more pixels
        area = shape[2] * shape[3] / (value.shape[2] * value.shape[3])
        return F.interpolate(value, shape[2:], mode="nearest") / area
    raise CheckpointError(
        f"expected {name} of shape {tuple(shape)} in the weights to start from, got {tuple(value.shape)}; "
        "they must have the widths of the recipe"
    )


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
