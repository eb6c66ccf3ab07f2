"""What a phrase names on one frame of a clip. Shapes: H and W are the frame's height and width, h, w the embedding."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from evfsam.errors import ConfigurationError, ImageFormatError
from evfsam.types import Segmentation

Direction = Literal["both", "forward", "backward"]


@dataclass(frozen=True, eq=False)
class FrameMask:
    """The object on one frame.

    Attributes:
        index: of the frame.
        mask_logits: (H, W) float32 at the frame's size; the decision border is 0.
        object_score: SAM-2's logit for the object being visible on the frame; not above 0, the mask is empty. None
            where a strategy without a memory answered.
        is_prompted: whether the phrase was asked on this frame.
        low_res_logits: (4h, 4w) float32, small holes filled; None where there is not one decoder's answer.
        answer: the whole answer of a strategy that was asked this frame alone; None where memory is at work.
    """

    index: int
    mask_logits: torch.Tensor
    object_score: float | None
    is_prompted: bool
    low_res_logits: torch.Tensor | None
    answer: Segmentation | None = None

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool: logits above 0."""
        return (self.mask_logits > 0).cpu().numpy()


def check_options(frame_count: int, prompt_frame: int, direction: str = "both", hole_area: int = 0) -> None:
    """Refuse a clip or options that cannot be followed.

    Raises:
        ConfigurationError: an option is out of range.
        ImageFormatError: there are no frames.
    """
    if frame_count < 1:
        raise ImageFormatError("expected a video of at least one frame, got none")
    if not 0 <= prompt_frame < frame_count:
        raise ConfigurationError(
            f"expected the phrase on one of the frames 0 to {frame_count - 1}, got frame {prompt_frame}"
        )
    if direction not in get_args(Direction):
        raise ConfigurationError(f"expected a direction out of {', '.join(get_args(Direction))}, got {direction!r}")
    if hole_area < 0:
        raise ConfigurationError(f"expected a hole area of at least 0 pixels, got {hole_area}")
