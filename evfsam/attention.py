"""Where a multimodal encoder's [CLS] token looked: maps of single heads, of all heads, and rolled out over layers.

Attention says what a token read from, not why the model decided as it did. Maps are (h, w) float32 over the patch grid,
which covers the whole image stretched to a square; `to_image` undoes the stretch.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from evfsam.errors import ConfigurationError, GeometryError
from evfsam.types import AttentionRecord

AttentionMap = NDArray[np.float32]


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
    layer_count, head_count = maps.shape[:2]
    if not -layer_count <= layer < layer_count or (head is not None and not 0 <= head < head_count):
        raise ConfigurationError(
            f"expected a layer below {layer_count} and a head below {head_count}, got layer {layer} and head {head}"
        )
    chosen: AttentionMap = maps[layer].sum(axis=0) if head is None else maps[layer, head]
    return chosen


def cls_to_image_heads(record: AttentionRecord) -> AttentionMap:
    """Return [CLS]'s attention to the patches for every layer and head.

    Returns:
        (L, A, h, w) float32, a new array.

    Raises:
        GeometryError: the record's axes do not fit its patch grid.
    """
    return _patch_columns(record, record.probabilities[:, :, 0])


def rollout(record: AttentionRecord) -> AttentionMap:
    """Follow attention through all layers: heads averaged, half of each token's content passed on by the residual.

    Returns:
        (h, w) float32; sums to at most 1.

    Raises:
        GeometryError: the record's axes do not fit its patch grid.

    Source:
        Abnar and Zuidema, Quantifying Attention Flow in Transformers, arXiv:2005.00928, section 3.
    """
    layers = record.probabilities.float().mean(dim=1)
    flow = torch.zeros(layers.shape[-1], device=layers.device)
    flow[0] = 1
    for probabilities in reversed(layers.unbind()):
        flow = 0.5 * flow + 0.5 * flow @ probabilities
    return _patch_columns(record, flow)


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
    coverage = rows @ mask.astype(np.float32) @ columns.T
    total = float(attention_map.sum(dtype=np.float64))
    share = float((attention_map * coverage).sum(dtype=np.float64)) / total if total > 0 else 0.0
    return min(max(share, 0.0), 1.0)


def _cell_weights(cell_count: int, pixel_count: int) -> AttentionMap:
    """(cells, pixels): share of a cell's length that each pixel takes; rows sum to 1."""
    edges = np.arange(cell_count + 1) * (pixel_count / cell_count)
    pixels = np.arange(pixel_count)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: AttentionMap = (np.clip(overlap, 0, None) * (cell_count / pixel_count)).astype(np.float32)
    return weights


def _patch_columns(record: AttentionRecord, attention: torch.Tensor) -> AttentionMap:
    height, width = record.patch_grid
    if record.probabilities.ndim != 4 or attention.shape[-1] < 1 + height * width:
        raise GeometryError(
            f"expected attention (L, A, S, S) over [CLS] and {height} x {width} patches, "
            f"got {tuple(record.probabilities.shape)}"
        )
    return _numpy(attention[..., 1 : 1 + height * width].float().reshape(*attention.shape[:-1], height, width))


def _numpy(tensor: torch.Tensor) -> AttentionMap:
    array: AttentionMap = tensor.detach().cpu().numpy().copy()
    return array
