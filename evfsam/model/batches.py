"""Several images with their phrases, ready for one call of the model."""

from dataclasses import dataclass

import torch

from evfsam.geometry import Frame


@dataclass(frozen=True, eq=False)
class EvfSamBatch:
    """B images and P phrases, those of image 0 first.

    Attributes:
        pixel_values: (B, 3, side, side) for SAM.
        encoder_pixel_values: (B, 3, side, side) for the multimodal encoder.
        input_ids: (P, T) int64.
        attention_mask: (P, T) bool, True on words.
        offset: B + 1 numbers: phrases offset[i]..offset[i + 1] belong to image i.
        frames: where each image lies in SAM's input.
    """

    pixel_values: torch.Tensor
    encoder_pixel_values: torch.Tensor
    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    offset: tuple[int, ...]
    frames: tuple[Frame, ...]
