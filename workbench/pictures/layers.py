"""What can be laid over a picture, each alone and transparent elsewhere, so that a viewer can switch it on and off."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch.nn.functional import interpolate

from evfsam.attention import cls_to_image, to_image
from evfsam.types import SamPrompt, Segmentation
from workbench.metrics.masks import Mask
from workbench.pictures.colours import HEAT_STOPS, Colour, ramp, strategy_colour
from workbench.pictures.rendering import DIMMED, HEAT_SHARES, LIT_TINT, draw_prompts, outlined

Layer = NDArray[np.uint8]
"""(h, w, 4) RGBA."""
_HEAT_SIDE: Final = 320
"""Longest side of a map of heat, which a browser enlarges smoothly."""


def mask_layer(mask: Mask, key: str) -> Layer:
    """Tint the mask in the strategy's colour and darken the rest; nothing where the mask is empty.

    Args:
        mask: (h, w) bool.
        key: the strategy's, for its colour.
    """
    layer = np.zeros((*mask.shape, 4), dtype=np.uint8)
    if mask.any():
        layer[~mask, 3] = round(255 * (1 - DIMMED))
        layer[mask] = (*strategy_colour(key), round(255 * LIT_TINT))
    return layer


def outline_layer(mask: Mask, outer: Colour, inner: Colour) -> Layer:
    """Draw the mask's border alone, in two lines.

    Args:
        mask: (h, w) bool.
        outer: colour of the outer line.
        inner: colour of the line within.
    """
    return outlined(np.zeros((*mask.shape, 4), dtype=np.uint8), mask, (*outer, 255), (*inner, 255))


def heat_layer(heat: NDArray[np.floating]) -> Layer:
    """Colour a map on the scale of the attention maps, the more opaque the higher.

    Args:
        heat: (h, w) of any size; values beyond [0, 1] count as its ends.
    """
    bounded = np.clip(np.nan_to_num(heat), 0, 1).astype(np.float32)
    least, gained = HEAT_SHARES
    opacity = np.rint(255 * (least + gained * bounded))
    return np.dstack([ramp(bounded, HEAT_STOPS), opacity]).round().astype(np.uint8)


def attention_layer(segmentation: Segmentation) -> Layer | None:
    """Colour where [CLS] looked in the last layer, all heads summed; None where the answer has no attention."""
    if segmentation.attention is None:
        return None
    heat = cls_to_image(segmentation.attention)
    return heat_layer(to_image(heat / max(float(heat.max()), 1e-9), _within(segmentation.size, _HEAT_SIDE)))


def certainty_layer(segmentation: Segmentation) -> Layer:
    """Colour how probable the decoder held each pixel: the logits' sigmoid."""
    logits = segmentation.mask_logits[None, None].float()
    small = interpolate(logits, _within(segmentation.size, _HEAT_SIDE), mode="area")[0, 0]
    return heat_layer(small.sigmoid().cpu().numpy())


def prompt_layer(size: tuple[int, int], prompts: Sequence[SamPrompt], key: str, scale: tuple[float, float]) -> Layer:
    """Draw boxes and points alone.

    Args:
        size: (h, w) of the layer.
        prompts: in pixels of the image.
        key: the strategy's, for its colour.
        scale: pixels of the layer a pixel of the image, along x and along y.
    """
    layer = Image.new("RGBA", size[::-1])
    draw_prompts(ImageDraw.Draw(layer), prompts, scale, size, strategy_colour(key))
    return np.asarray(layer)


def _within(size: tuple[int, int], side: int) -> tuple[int, int]:
    factor = min(1.0, side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
