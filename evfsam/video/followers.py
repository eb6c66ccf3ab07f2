"""Two ways to say of every frame of a clip what a phrase names, with one interface: by memory, or frame by frame."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import torch

from evfsam.phrases import check_phrase
from evfsam.types import ImageView, RgbImage, Segmentation, Strategy
from evfsam.video.tracking import FrameMask, check_tracking

if TYPE_CHECKING:
    from evfsam.model.strategy import EvfSamStrategy

_MEMORY_FAMILY: Final = "sam2"


class VideoFollower(Protocol):
    """Segments what a phrase names on every frame of a clip. Read-only after it is built: safe to share."""

    @property
    def carries_memory(self) -> bool:
        """Whether the phrase is asked on one frame, and memory carries its mask to the others."""
        ...

    def follow(self, frames: Sequence[RgbImage], phrase: str, *, prompt_frame: int = 0) -> Iterator[FrameMask]:
        """Segment all frames: `prompt_frame` first, then those before it, backwards, then those after it.

        Args:
            frames: RGB images, (H, W, 3) uint8; may be read lazily.
            phrase: referring expression.
            prompt_frame: index of the frame that the phrase is about.

        Raises:
            ConfigurationError: there is no such frame, or the model has no memory for videos.
            ImageFormatError: there are no frames.
            PhraseError: the phrase is empty or too long.
        """
        ...


@dataclass(frozen=True)
class MemoryFollower:
    """Asks the phrase on one frame and lets SAM-2's memory carry the mask; see `evfsam.video.tracking.segment_video`.

    Attributes:
        strategy: an EVF-SAM2.
    """

    strategy: "EvfSamStrategy"

    @property
    def carries_memory(self) -> bool:
        """Always."""
        return True

    def follow(self, frames: Sequence[RgbImage], phrase: str, *, prompt_frame: int = 0) -> Iterator[FrameMask]:
        """Do as `VideoFollower.follow` says."""
        from evfsam.video.tracking import segment_video

        model, processor = self.strategy.model, self.strategy.processor
        return segment_video(frames, phrase, model, processor, prompt_frame=prompt_frame)


@dataclass(frozen=True)
class FrameByFrame:
    """Asks any strategy the phrase of every frame alone, so that it needs no memory: masks may jump between frames.

    Attributes:
        strategy: answers images.
    """

    strategy: Strategy

    @property
    def carries_memory(self) -> bool:
        """Never."""
        return False

    def follow(self, frames: Sequence[RgbImage], phrase: str, *, prompt_frame: int = 0) -> Iterator[FrameMask]:
        """Do as `VideoFollower.follow` says; every frame carries the strategy's answer."""
        phrase = check_phrase(phrase)
        check_tracking(len(frames), prompt_frame)
        order = (prompt_frame, *range(prompt_frame - 1, -1, -1), *range(prompt_frame + 1, len(frames)))
        return (_asked(self.strategy, frames[index], index, phrase) for index in order)


def follower_of(strategy: Strategy) -> VideoFollower:
    """Return the follower that fits: memory where the strategy is an EVF-SAM2, else frame by frame."""
    from evfsam.model.strategy import EvfSamStrategy

    if isinstance(strategy, EvfSamStrategy) and strategy.model.family.model_type == _MEMORY_FAMILY:
        return MemoryFollower(strategy)
    return FrameByFrame(strategy)


def _asked(strategy: Strategy, frame: RgbImage, index: int, phrase: str) -> FrameMask:
    with torch.inference_mode():
        answer = strategy.segment(ImageView(frame), phrase)
    return FrameMask(index, answer.mask_logits, _low_res_logits(answer), answer)


def _low_res_logits(answer: Segmentation) -> torch.Tensor | None:
    """Return the decoder's logits where there is one mask; several are joined at full size only."""
    if len(answer.predictions) != 1:
        return None
    prediction = answer.predictions[0]
    return prediction.low_res_logits[prediction.chosen]
