"""Follow what a phrase names through a video, with EVF-SAM2: the phrase on one frame, SAM-2's memory on the others.

Shapes: H and W are a frame's height and width, C the channels of a prompt, (h, w) the embedding grid.
Source: SAM 2, arXiv:2408.00714, section 4 (memory bank); EVF-SAM, arXiv:2406.20076, for the prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from evfsam.errors import ConfigurationError, ImageFormatError
from evfsam.phrases import check_phrase
from evfsam.preprocess import stretched_pixels
from evfsam.types import RgbImage, Segmentation

if TYPE_CHECKING:  # importing SAM costs a second; the page and the command line start without
    from sam2.modeling.sam2_base import SAM2Base

    from evfsam.model.modeling import EvfSamModel
    from evfsam.model.processing import EvfSamProcessor
    from evfsam.sam.sam2 import Sam2Config


Direction = Literal["both", "forward", "backward"]

HOLE_AREA: Final = 8
"""Largest hole that the released model fills, in pixels of the low-resolution mask."""

_FILLED_LOGIT: Final = 0.1
_HIDDEN_LOGIT: Final = -1024.0  # SAM-2's logit everywhere on a frame where the object is not to be seen
_MEMORY_SCALE, _MEMORY_BIAS = 20.0, -10.0


@dataclass(frozen=True, eq=False)
class FrameMask:
    """The object on one frame.

    Attributes:
        index: of the frame.
        mask_logits: (H, W) float32 at the frame's size; the decision border is 0.
        low_res_logits: (4h, 4w) float32, small holes filled; None where there is not one decoder's answer.
        answer: the whole answer of a strategy that was asked this frame alone; None where memory is at work.
    """

    index: int
    mask_logits: torch.Tensor
    low_res_logits: torch.Tensor | None
    answer: Segmentation | None = None

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool: logits above 0."""
        return (self.mask_logits > 0).cpu().numpy()


def check_tracking(frame_count: int, prompt_frame: int, direction: str = "both", hole_area: int = 0) -> None:
    """Refuse a clip or options that cannot be followed.

    Raises:
        ConfigurationError: an option is out of range.
        ImageFormatError: there are no frames.
    """
    if frame_count < 1:
        raise ImageFormatError("expected a video of at least one frame, got none")
    if not 0 <= prompt_frame < frame_count:
        raise ConfigurationError(
            "expected the phrase on one of the frames 0 to {last}, got frame {frame}",
            last=frame_count - 1,
            frame=prompt_frame,
        )
    if direction not in get_args(Direction):
        raise ConfigurationError(
            "expected a direction out of {choices}, got {direction!r}",
            choices=", ".join(get_args(Direction)),
            direction=direction,
        )
    if hole_area < 0:
        raise ConfigurationError("expected a hole area of at least 0 pixels, got {area}", area=hole_area)


def segment_video(
    frames: Sequence[RgbImage],
    phrase: str,
    model: "EvfSamModel",
    processor: "EvfSamProcessor",
    *,
    prompt_frame: int = 0,
    direction: Direction = "both",
    hole_area: int = HOLE_AREA,
) -> Iterator[FrameMask]:
    """Segment what a phrase names on one frame, and follow it through the others. Results come as they are ready.

    The frame with the phrase comes first, then those before it, backwards, then those after it. Each direction starts
    from the memory of the first frame alone, so that one does not depend on the other.

    Memory does not grow with the clip: one frame is asked for at a time, and memories that SAM-2 reads no more are
    dropped.

    Args:
        frames: RGB images, (H, W, 3) uint8; may be read lazily.
        phrase: referring expression.
        model: an EVF-SAM2, in eval mode.
        processor: of the same configuration.
        prompt_frame: index of the frame that the phrase is about.
        direction: whether to follow it to the clip's end, to its beginning, or both.
        hole_area: holes in the low-resolution mask up to this many pixels are filled; 0 fills none.

    Raises:
        ConfigurationError: the model is no EVF-SAM2, or an option is out of range.
        ImageFormatError: there are no frames.
        PhraseError: the phrase is empty or too long.
    """
    from evfsam.sam.sam2 import Sam2Config

    phrase = check_phrase(phrase)
    if model.family.model_type != "sam2":
        raise ConfigurationError(
            "expected an EVF-SAM2, which has a memory for videos, got an {title}; load another checkpoint",
            title=model.family.title,
        )
    check_tracking(len(frames), prompt_frame, direction, hole_area)
    ids, words = processor.tokenizer.encode_batch([phrase])
    with torch.no_grad():
        encoder_pixels = processor.encoder_pixels(frames[prompt_frame]).to(model.device)
        prompts, _ = model.fuse(encoder_pixels, ids.to(model.device), words.to(model.device))
    return track_prompt(
        frames,
        prompts,
        model.visual_model,
        Sam2Config.from_dict(model.config.sam),
        prompt_frame=prompt_frame,
        direction=direction,
        hole_area=hole_area,
    )


def track_prompt(
    frames: Sequence[RgbImage],
    text_prompt_embeddings: torch.Tensor,
    sam: "SAM2Base",
    config: "Sam2Config",
    *,
    prompt_frame: int = 0,
    direction: Direction = "both",
    hole_area: int = HOLE_AREA,
) -> Iterator[FrameMask]:
    """Do as `segment_video`, with a prompt that is already made.

    Args:
        frames: as there.
        text_prompt_embeddings: (1, 1, C).
        sam: in eval mode.
        config: its sizes.
        prompt_frame: as there.
        direction: as there.
        hole_area: as there.

    Raises:
        ConfigurationError: an option is out of range.
        ImageFormatError: there are no frames.
    """
    check_tracking(len(frames), prompt_frame, direction, hole_area)
    return _tracked(frames, text_prompt_embeddings, _Tracker(sam, config, hole_area), prompt_frame, direction)


def _tracked(
    frames: Sequence[RgbImage], prompt: torch.Tensor, tracker: "_Tracker", prompt_frame: int, direction: Direction
) -> Iterator[FrameMask]:
    first, memory = tracker.ask(frames[prompt_frame], prompt_frame, prompt)
    yield first
    if direction != "forward":
        bank = _MemoryBank(prompt_frame, memory, tracker.config)
        for index in range(prompt_frame - 1, -1, -1):
            yield tracker.follow(frames[index], index, bank, is_backward=True)
    if direction != "backward":
        bank = _MemoryBank(prompt_frame, memory, tracker.config)
        for index in range(prompt_frame + 1, len(frames)):
            yield tracker.follow(frames[index], index, bank, is_backward=False)


@dataclass(frozen=True, eq=False)
class _Memory:
    """What later frames read of one frame.

    Attributes:
        features: (1, memory channels, h, w), bfloat16 where the weights are float32, as SAM-2 keeps them.
        positions: (1, memory channels, h, w), the same for every frame.
        pointer: (1, C) object pointer.
    """

    features: torch.Tensor
    positions: torch.Tensor
    pointer: torch.Tensor

    def as_sam2_reads_it(self) -> dict[str, object]:
        return {"maskmem_features": self.features, "maskmem_pos_enc": [self.positions], "obj_ptr": self.pointer}


class _MemoryBank:
    """The prompted frame's memory, and those of the last frames that SAM-2 still reads.

    Args:
        prompt_frame: index of the prompted frame.
        memory: its memory.
        config: how far back SAM-2 reads.
    """

    def __init__(self, prompt_frame: int, memory: _Memory, config: "Sam2Config") -> None:
        self._prompted = {prompt_frame: memory.as_sam2_reads_it()}
        self._recent: dict[int, dict[str, object]] = {}
        self._reach = max(config.memory_frame_count, config.object_pointer_count) - 1

    def __len__(self) -> int:
        return len(self._prompted) + len(self._recent)

    def as_sam2_reads_it(self) -> dict[str, dict[int, dict[str, object]]]:
        return {"cond_frame_outputs": self._prompted, "non_cond_frame_outputs": self._recent}

    def add(self, index: int, memory: _Memory) -> None:
        """Remember a frame, and forget those that no later frame will read."""
        self._recent[index] = memory.as_sam2_reads_it()
        self._forget(index)

    def _forget(self, index: int) -> None:
        for old in [known for known in self._recent if abs(known - index) >= self._reach]:
            del self._recent[old]


class _Tracker:
    """SAM-2's two steps on a frame: asked with a prompt, or followed from memory. Holds no video itself.

    Args:
        sam: in eval mode.
        config: its sizes.
        hole_area: as in `segment_video`.
    """

    def __init__(self, sam: "SAM2Base", config: "Sam2Config", hole_area: int) -> None:
        self.sam = sam
        self.config = config
        self.hole_area = hole_area

    @torch.no_grad()
    def ask(self, frame: RgbImage, index: int, prompt: torch.Tensor) -> tuple[FrameMask, _Memory]:
        """Segment a frame by a prompt (1, 1, C), without looking at any memory."""
        levels, _ = self._features(frame)
        embeddings = levels[-1] + self.sam.no_mem_embed.view(1, -1, 1, 1)
        low_res, pointer = self._decoded(embeddings, prompt, levels)
        filled = fill_holes(low_res, self.hole_area)
        memory = self._memory(levels[-1], (self._enlarged(filled) > 0).float(), pointer)
        return _frame_mask(filled, frame, index), memory

    @torch.no_grad()
    def follow(self, frame: RgbImage, index: int, bank: _MemoryBank, *, is_backward: bool) -> FrameMask:
        """Segment a frame from the memories of others, and remember it."""
        levels, positions = self._features(frame)
        embeddings = self.sam._prepare_memory_conditioned_features(
            frame_idx=index,
            is_init_cond_frame=False,
            current_vision_feats=[_as_sequence(levels[-1])],
            current_vision_pos_embeds=[_as_sequence(positions)],
            feat_sizes=[self.config.embedding_size],
            output_dict=bank.as_sam2_reads_it(),
            num_frames=index + self.config.object_pointer_count,  # only bounds how far pointers are looked for
            track_in_reverse=is_backward,
        )
        low_res, pointer = self._decoded(embeddings, self._nothing_asked(), levels)
        bank.add(index, self._memory(levels[-1], self._enlarged(low_res).sigmoid(), pointer))
        return _frame_mask(fill_holes(low_res, self.hole_area), frame, index)

    def _features(self, frame: RgbImage) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the three levels of a frame, finest first, and the positions of the last."""
        dtype = self.sam.no_mem_embed.dtype
        pixels, _ = stretched_pixels(frame, self.config.image_size, resize="bicubic")
        encoded = self.sam.forward_image(pixels[None].to(self.sam.device, dtype))
        return [level.to(dtype) for level in encoded["backbone_fpn"]], encoded["vision_pos_enc"][-1].to(dtype)

    def _decoded(
        self, embeddings: torch.Tensor, prompt: torch.Tensor, levels: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the best mask as (1, 1, 4h, 4w) float32 logits, and its object pointer (1, C)."""
        from evfsam.sam.sam2 import run_sam2_decoder

        logits, ious, tokens, score = run_sam2_decoder(
            self.sam, embeddings, prompt, multimask=True, high_res_features=levels[:-1]
        )
        best, is_visible = int(ious[0].argmax()), score > 0
        low_res = torch.where(is_visible[..., None, None], logits[:, best : best + 1].float(), _HIDDEN_LOGIT)
        return low_res, torch.where(is_visible, self.sam.obj_ptr_proj(tokens[:, best]), self.sam.no_obj_ptr)

    def _nothing_asked(self) -> torch.Tensor:
        """SAM-2's prompt where there is none: a point that is none, and the empty one that closes the list."""
        device = self.sam.device
        points = torch.zeros(1, 1, 2, device=device), -torch.ones(1, 1, device=device)
        with torch.autocast(device.type, enabled=False):
            sparse, _ = self.sam.sam_prompt_encoder(points=points, boxes=None, masks=None)
        return torch.as_tensor(sparse)

    def _enlarged(self, low_res_logits: torch.Tensor) -> torch.Tensor:
        side = (self.config.image_size, self.config.image_size)
        return F.interpolate(low_res_logits, side, mode="bilinear", align_corners=False)

    def _memory(self, features: torch.Tensor, mask: torch.Tensor, pointer: torch.Tensor) -> _Memory:
        """Encode a frame and its mask (1, 1, side, side) in 0..1."""
        dtype = self.sam.no_mem_embed.dtype
        scaled = (mask * _MEMORY_SCALE + _MEMORY_BIAS).to(dtype)
        encoded = self.sam.memory_encoder(features, scaled, skip_mask_sigmoid=True)
        stored = torch.bfloat16 if dtype == torch.float32 else dtype
        return _Memory(encoded["vision_features"].to(stored), encoded["vision_pos_enc"][0], pointer)


def _as_sequence(level: torch.Tensor) -> torch.Tensor:
    """(1, C, h, w) to (h * w, 1, C)."""
    return level.flatten(2).permute(2, 0, 1)


def _frame_mask(low_res_logits: torch.Tensor, frame: RgbImage, index: int) -> FrameMask:
    size = frame.shape[0], frame.shape[1]
    logits = F.interpolate(low_res_logits, size, mode="bilinear", align_corners=False)
    return FrameMask(index, logits[0, 0], low_res_logits[0, 0])


def fill_holes(logits: torch.Tensor, max_area: int) -> torch.Tensor:
    """Turn small holes in masks into foreground. SAM-2 needs a compiled kernel for this; here it is pooling.

    Every background pixel takes the largest number among its eight neighbours, `max_area` times. In a component of up
    to `max_area` pixels all then have the same number, since no two are further apart than that. In a larger one either
    more pixels than that share a number, or two neighbours differ, which marks it as larger.

    Args:
        logits: (B, 1, h, w); holes are background components (logits <= 0) by eight neighbours.
        max_area: largest hole to fill, pixels; 0 fills none.

    Returns:
        (B, 1, h, w): the logits, 0.1 in the holes.

    Source:
        SAM 2, arXiv:2408.00714, post-processing of the released code; parity: tests/parity/test_video.py.
    """
    if max_area == 0:
        return logits
    background = logits <= 0
    numbers = torch.arange(1, logits.numel() + 1, device=logits.device, dtype=torch.float32)
    labels = torch.where(background, numbers.view(logits.shape), 0.0)
    for _ in range(max_area):
        labels = torch.where(background, _highest_around(labels), 0.0)
    lowest = -_highest_around(torch.where(background, -labels, -torch.inf))
    is_at_border = background & ((_highest_around(labels) != labels) | (lowest != labels))
    flat = labels.long().flatten()
    areas = torch.bincount(flat, minlength=logits.numel() + 1)
    is_hole = areas <= max_area
    is_hole[flat[is_at_border.flatten()]] = False
    is_hole[0] = False
    return torch.where(is_hole[flat].view(logits.shape), _FILLED_LOGIT, logits)


def _highest_around(values: torch.Tensor) -> torch.Tensor:
    """The largest of each pixel and its eight neighbours."""
    return F.max_pool2d(values, kernel_size=3, stride=1, padding=1)
