"""SAM's ViT image encoder with the weights and module names of `segment_anything`, and a leaner way through them.

The published encoder writes a (heads, h*w, h*w) attention matrix in each global block: 1 GiB at 1024 pixels, several
times over. Here attention is fused, its relative positions are made for a tile of queries at a time, the hidden layer
of each MLP for a slice of tokens at a time, and padding of windows is never projected.

Shapes: B images, H x W patches, C channels, n windows (or images, in global blocks) of h x w patches, A heads of d
channels each.
"""

from collections.abc import Iterator
from itertools import product
from typing import Final

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, Block
from torch import nn
from torch.nn import functional as F

_CPU_TILE_BYTES: Final = 8 * 2**20
"""A tile of position biases that stays in a CPU's cache."""
_ACCELERATOR_TILE_BYTES: Final = 256 * 2**20
"""Large enough to fill a GPU, a quarter of what one global block of ViT-H would need in float32."""
_TOKENS_AT_ONCE: Final = 1024
"""Enough to keep a processor busy, few enough for their projections to stay near its cache."""

_Tile = tuple[slice, slice, slice]
_Weights = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class ImageEncoder(ImageEncoderViT):  # type: ignore[misc]  # segment_anything is untyped
    """`segment_anything`'s `ImageEncoderViT`: same arguments, same state dict, same output up to rounding.

    Source:
        SAM, arXiv:2304.02643, appendix A; ViTDet, arXiv:2203.16527; decomposed relative positions: MViTv2,
        arXiv:2112.01526, section 4.1. Parity: tests/evfsam/sam/test_image_encoder.py.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode images.

        Args:
            x: (B, 3, image_size, image_size), normalised and padded.

        Returns:
            (B, out_chans, H, W), in the weights' type; the neck computes in its own, see `BaseMaskBackbone`.
        """
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        for block in self.blocks:
            x = x + _attended(block, block.norm1(x))
            x = x + _through_mlp(block, block.norm2(x))
        embeddings: torch.Tensor = self.neck(x.permute(0, 3, 1, 2).to(self.neck[0].weight.dtype))
        return embeddings.to(x.dtype)


def _attended(block: Block, x: torch.Tensor) -> torch.Tensor:
    """Attention of a block within its windows, or over the whole image: (B, H, W, C) to the same."""
    attention: Attention = block.attn
    height, side = x.shape[1], int(block.window_size)
    weights = (_packed(attention.qkv.weight, x), *_packed_layer(attention.proj, x))
    step = height
    # A GPU is better filled by all windows together.
    if side > 0 and x.device.type == "cpu" and not x.requires_grad:
        step = side * max(1, _TOKENS_AT_ONCE // (side * x.shape[0] * x.shape[2]))
    bands = [_attended_band(attention, x[:, rows], side, weights) for rows in _slices(height, step)]
    return bands[0] if len(bands) == 1 else torch.cat(bands, dim=1)


def _attended_band(attention: Attention, x: torch.Tensor, side: int, weights: _Weights) -> torch.Tensor:
    """Attention within windows of `side` patches, or over all of x where it is 0: (B, H, W, C) to the same."""
    batch, height, width, _ = x.shape
    sides = (side, side) if side > 0 else (height, width)
    pad_h, pad_w = -height % sides[0], -width % sides[1]
    # A padded patch is zero before the projection, so all that is left of it afterwards is the bias.
    projected = F.pad(_linear(x, weights[0]), (0, 0, 0, pad_w, 0, pad_h))
    if attention.qkv.bias is not None:
        projected = projected + attention.qkv.bias.to(projected.dtype)
    rows, columns = (height + pad_h) // sides[0], (width + pad_w) // sides[1]
    windows = projected.view(batch, rows, sides[0], columns, sides[1], 3, attention.num_heads, -1)
    q, k, v = windows.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(1, 3).flatten(3, 4).unbind()
    mixed = _attend(q, k, v, sides, attention)
    mixed = mixed.view(batch, rows, columns, *sides, -1).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return _linear(mixed[:, :height, :width], *weights[1:])


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sides: tuple[int, int], attention: Attention
) -> torch.Tensor:
    """Attention with decomposed relative positions: (n, A, h*w, d) each to (n, h*w, A*d)."""
    if not attention.use_rel_pos:
        return F.scaled_dot_product_attention(q, k, v, scale=attention.scale).transpose(1, 2).flatten(2)
    height, width = sides
    grid = q.view(len(q), -1, height, width, q.shape[3])
    by_row = torch.einsum("nahwd,hkd->nahwk", grid, _relative(attention.rel_pos_h, height))
    by_column = torch.einsum("nahwd,wkd->nahwk", grid, _relative(attention.rel_pos_w, width))
    mixed = q.new_empty(len(q), height * width, q.shape[1], q.shape[3])
    for images, heads, rows in _tiles(q, sides):
        bias = by_row[images, heads, rows, :, :, None] + by_column[images, heads, rows, :, None, :]
        queries = slice(rows.start * width, rows.stop * width)
        mixed[images, queries, heads] = F.scaled_dot_product_attention(
            q[images, heads, queries],
            k[images, heads],
            v[images, heads],
            attn_mask=bias.flatten(4).flatten(2, 3),
            scale=attention.scale,
        ).transpose(1, 2)
    return mixed.flatten(2)


def _relative(table: torch.Tensor, side: int) -> torch.Tensor:
    """Spread (2 * side - 1, d) embeddings of distances to (side, side, d), query then key."""
    positions = torch.arange(side, device=table.device)
    return table[positions[:, None] - positions[None, :] + side - 1]


def _tiles(q: torch.Tensor, sides: tuple[int, int]) -> Iterator[_Tile]:
    """Cut (windows, heads, rows of queries) so that the bias of one tile stays small.

    With gradients the whole is one tile: the backward pass keeps every tile anyway.
    """
    count, heads = q.shape[:2]
    row_bytes = sides[1] * sides[0] * sides[1] * q.element_size()
    budget = _CPU_TILE_BYTES if q.device.type == "cpu" else _ACCELERATOR_TILE_BYTES
    if q.requires_grad:
        budget = count * heads * sides[0] * row_bytes
    rows = _step(budget // row_bytes, sides[0])
    heads_at_once = _step(budget // (row_bytes * sides[0]), heads)
    windows = _step(budget // (row_bytes * sides[0] * heads), count)
    return product(_slices(count, windows), _slices(heads, heads_at_once), _slices(sides[0], rows))


def _step(affordable: int, whole: int) -> int:
    return max(1, min(affordable, whole))


def _slices(whole: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, whole)) for start in range(0, whole, step)]


def _through_mlp(block: Block, x: torch.Tensor) -> torch.Tensor:
    """Apply a block's MLP, in slices of tokens where nothing is kept for a backward pass.

    A GPU takes an image's tokens whole: slices leave a third of its multiprocessors idle in each slice's last round.
    """
    up, down = _packed_layer(block.mlp.lin1, x), _packed_layer(block.mlp.lin2, x)
    tokens = x.flatten(0, 2)
    out = torch.empty_like(tokens)
    step = _TOKENS_AT_ONCE if x.device.type == "cpu" else x[0].numel() // x.shape[-1]
    for part in _slices(len(tokens), len(tokens) if x.requires_grad else step):
        hidden = block.mlp.act(F.linear(_packed(tokens[part], x), *up))
        out[part] = F.linear(hidden, *down).to_dense()
    return out.view_as(x)


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Project the last axis of x, by weights from `_packed`."""
    projected: torch.Tensor = F.linear(_packed(x.flatten(0, -2), x), weight, bias).to_dense()
    return projected.view(*x.shape[:-1], -1)


def _packed_layer(layer: nn.Linear, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _packed(layer.weight, x), _packed(layer.bias, x)


def _packed(value: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Give a value to oneDNN, where that serves the products of `x` best.

    In float32 PyTorch's dense products on a CPU go to MKL, which does not use the wide registers of AMD's: oneDNN took
    half the time on an EPYC. Other types go to oneDNN as they are.
    """
    is_onednn_better = (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not x.requires_grad
        and not torch.is_autocast_enabled("cpu")
        and bool(torch.backends.mkldnn.is_available())
    )
    return value.contiguous().to_mkldnn() if is_onednn_better else value
