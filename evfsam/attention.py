"""Where the tokens of a multimodal encoder looked: maps of single heads, of all heads, and rolled out over layers.

Attention says what a token read from, not why the model decided as it did. Maps are (h, w) float32 over the patch grid,
which covers the whole image stretched to a square; `to_image` undoes the stretch. In a fused encoder each piece of the
phrase has a map of its own beside that of [CLS].
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from evfsam.errors import ConfigurationError, GeometryError
from evfsam.types import AttentionRecord

AttentionMap = NDArray[np.float32]
_PIXELS_AT_ONCE = 2**18


def cls_to_image(record: AttentionRecord, layer: int = -1, head: int | None = None) -> AttentionMap:
    """Return how much of [CLS]'s attention each patch gets.

    Args:
        record: attention of all layers.
        layer: from 0, or from the end when negative.
        head: from 0, or None for the sum over heads, as in the paper's figure.

    Returns:
        (h, w) float32; one head sums to at most 1, the rest being on [CLS] and the text.

    Raises:
        ConfigurationError: there is no such layer or head.

    Source:
        EVF-SAM, arXiv:2406.20076, visualisation of the multimodal encoder's attention.
    """
    maps = cls_to_image_heads(record)
    _check_place(maps.shape[:2], layer, head)
    chosen: AttentionMap = maps[layer].sum(axis=0) if head is None else maps[layer, head]
    return chosen


def cls_to_image_heads(record: AttentionRecord) -> AttentionMap:
    """Return [CLS]'s attention to the patches for every layer and head.

    Returns:
        (L, A, h, w) float32, a new array.

    Raises:
        GeometryError: the record's axes do not fit its patch grid.
    """
    return _patch_columns(record, record.of_cls())


def text_to_image_heads(record: AttentionRecord) -> AttentionMap:
    """Return each text token's attention to the patches for every layer and head.

    Returns:
        (L, A, T, h, w) float32, a new array; T text tokens in the order of `record.text_tokens`.

    Raises:
        GeometryError: the record's axes do not fit its patch grid.
    """
    return _patch_columns(record, record.probabilities[:, :, _text_start(record) :])


def cls_to_text_heads(record: AttentionRecord) -> AttentionMap:
    """Return the share of [CLS]'s attention that each text token gets, for every layer and head.

    Returns:
        (L, A, T) float32, a new array; with the patches and [CLS] itself a head sums to 1.

    Raises:
        GeometryError: the record's axes do not fit its patch grid.
    """
    start = _text_start(record)
    return _numpy(record.of_cls()[:, :, start:].float())


def rollout(record: AttentionRecord) -> AttentionMap:
    """Follow [CLS]'s attention through all layers.

    The residual convention: heads are averaged with equal weights, and the residual connection counts as much as the
    attention, so that each layer passes on (attention + identity) / 2. The layers' matrices are multiplied.

    Returns:
        (h, w) float32; sums to at most 1.

    Raises:
        GeometryError: the record's axes do not fit its patch grid.

    Source:
        Abnar and Zuidema, Quantifying Attention Flow in Transformers, arXiv:2005.00928, section 3.
    """
    return _patch_columns(record, _flow(record, slice(0, 1))[0])


def text_rollouts(record: AttentionRecord) -> AttentionMap:
    """Follow every text token's attention through all layers, by the convention of `rollout`.

    Returns:
        (T, h, w) float32; each map sums to at most 1.

    Raises:
        GeometryError: the record's axes do not fit its patch grid.
    """
    return _patch_columns(record, _flow(record, slice(_text_start(record), None)))


def cls_text_rollout(record: AttentionRecord) -> AttentionMap:
    """Return the share of [CLS]'s rollout that ends on each text token.

    Returns:
        (T,) float32.

    Raises:
        GeometryError: the record's axes do not fit its patch grid.
    """
    return _numpy(_flow(record, slice(0, 1))[0, _text_start(record) :])


def between_tokens(record: AttentionRecord, layer: int | None = -1, head: int | None = None) -> AttentionMap:
    """Return how much of each token's attention every token gets: a column says what attends to a token.

    Args:
        record: attention of all layers.
        layer: from 0, or from the end when negative; None for the rollout through all layers.
        head: from 0, or None for the mean over heads; of no matter for the rollout.

    Returns:
        (S, S) float32, query axis then key axis, in the order of `AttentionRecord.probabilities`; rows sum to 1.

    Raises:
        ConfigurationError: there is no such layer or head.
        GeometryError: the record's axes do not fit its patch grid.
    """
    _text_start(record)
    if layer is None:
        return _numpy(_flow(record, slice(None)))
    _check_place(record.shape[:2], layer, head)
    heads = record.probabilities[layer].float()
    return _numpy(heads.mean(dim=0) if head is None else heads[head])


def to_image(attention_map: AttentionMap, original_size: tuple[int, int]) -> AttentionMap:
    """Stretch a map back over the image, which was squashed to a square for the encoder.

    Args:
        attention_map: (h, w).
        original_size: (H, W).

    Returns:
        (H, W) float32, bilinear between patch centres; values are per patch, not per pixel.
    """
    source = torch.from_numpy(np.ascontiguousarray(attention_map, dtype=np.float32))
    return _numpy(F.interpolate(source[None, None], original_size, mode="bilinear", align_corners=False)[0, 0])


def mass_inside(attention_map: AttentionMap, mask: NDArray[np.bool_]) -> float:
    """Return the share of a map's mass that lies inside a mask.

    Each patch spreads its mass evenly over its rectangle of the image, so the answer is exact for any size.

    Args:
        attention_map: (h, w), not negative.
        mask: (H, W) bool at the original size.

    Returns:
        In [0, 1]; 0 for a map without mass.
    """
    rows = _cell_weights(attention_map.shape[0], mask.shape[0])
    columns = _cell_weights(attention_map.shape[1], mask.shape[1])
    # A few rows at a time: as numbers, a large mask would be far from the processor's cache.
    step = max(1, _PIXELS_AT_ONCE // mask.shape[1])
    bands = [mask[start : start + step].astype(np.float32) @ columns.T for start in range(0, len(mask), step)]
    coverage = rows @ np.concatenate(bands)
    total = float(attention_map.sum(dtype=np.float64))
    share = float((attention_map * coverage).sum(dtype=np.float64)) / total if total > 0 else 0.0
    return min(max(share, 0.0), 1.0)


def mass_gain(attention_map: AttentionMap, mask: NDArray[np.bool_]) -> float | None:
    """Return a map's mass inside a mask over the mask's share of the image.

    Returns:
        1 where attention ignores the mask, above 1 where it prefers it; None of an empty mask.
    """
    area_share = float(mask.mean())
    return mass_inside(attention_map, mask) / area_share if area_share > 0 else None


def _flow(record: AttentionRecord, queries: slice) -> torch.Tensor:
    """(Q, S): what each of some tokens of the last layer holds of every token of the input, by the rollout."""
    layers = record.probabilities.float().mean(dim=1)
    flow = torch.eye(layers.shape[-1], device=layers.device)[queries]
    for probabilities in reversed(layers.unbind()):
        flow = 0.5 * flow + 0.5 * flow @ probabilities
    return flow


def _text_start(record: AttentionRecord) -> int:
    """Return where the text begins on the token axes; raises as `_patch_columns` does."""
    _check_axes(record, record.shape)
    return 1 + record.patch_grid[0] * record.patch_grid[1]


def _cell_weights(cell_count: int, pixel_count: int) -> AttentionMap:
    """(cells, pixels): share of a cell's length that each pixel takes; rows sum to 1."""
    edges = np.arange(cell_count + 1) * (pixel_count / cell_count)
    pixels = np.arange(pixel_count)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: AttentionMap = (np.clip(overlap, 0, None) * (cell_count / pixel_count)).astype(np.float32)
    return weights


def _check_place(counts: Sequence[int], layer: int, head: int | None) -> None:
    layers, heads = counts
    if not -layers <= layer < layers or (head is not None and not 0 <= head < heads):
        raise ConfigurationError(
            "expected a layer below {layers} and a head below {heads}, got layer {layer} and head {head}",
            layers=layers,
            heads=heads,
            layer=layer,
            head=head,
        )


def _check_axes(record: AttentionRecord, axes: Sequence[int]) -> None:
    height, width = record.patch_grid
    if len(record.shape) != 4 or axes[-1] < 1 + height * width:
        raise GeometryError(
            "expected attention (L, A, S, S) over [CLS] and {height} x {width} patches, got {shape}",
            height=height,
            width=width,
            shape=record.shape,
        )


def _patch_columns(record: AttentionRecord, attention: torch.Tensor) -> AttentionMap:
    _check_axes(record, attention.shape)
    height, width = record.patch_grid
    return _numpy(attention[..., 1 : 1 + height * width].float().reshape(*attention.shape[:-1], height, width))


def _numpy(tensor: torch.Tensor) -> AttentionMap:
    array: AttentionMap = tensor.detach().cpu().numpy().copy()
    return array
