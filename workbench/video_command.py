"""What `python -m workbench video` does: follow a phrase through a video file, and write it with the mask laid over."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from evfsam.errors import ConfigurationError
from evfsam.preprocess import check_phrase
from evfsam.types import RgbImage
from workbench.metrics import Mask
from workbench.rendering import overlay
from workbench.video_files import VideoFileError, VideoFrames, VideoWriter, check_output

RELEASED = "YxZhang/evf-sam2"
"""The checkpoint that is taken unless another is named: EVF-SAM2 on Hiera-L, from the Hub."""

_KEY = "evf-sam"


@dataclass(frozen=True)
class VideoOrder:
    """What to follow, and where.

    Attributes:
        source, out: video files.
        phrase: referring expression.
        checkpoint: of an EVF-SAM2, a directory or a Hub id.
        revision: branch, tag or commit of a Hub id.
        prompt_frame: index of the frame that the phrase is about.
        device, dtype: where the model runs, and the type of its weights.
    """

    source: Path
    out: Path
    phrase: str
    checkpoint: str
    revision: str | None
    prompt_frame: int
    device: torch.device
    dtype: torch.dtype


def carry_out(order: VideoOrder) -> str:
    """Write the video and return one line about it for a person.

    Masks of frames before the prompted one are made backwards and wait, packed, until their turn to be written comes.

    Raises:
        EvfSamError: the video, the output file, the checkpoint, the phrase or an option cannot be used.
    """
    check_phrase(order.phrase)
    check_output(order.out)
    with VideoFrames(order.source) as frames:
        if not 0 <= order.prompt_frame < len(frames):
            raise ConfigurationError(
                f"expected the phrase on one of the frames 0 to {len(frames) - 1}, got frame {order.prompt_frame}"
            )
        if order.out.resolve() == order.source.resolve():
            raise VideoFileError(f"the output {order.out} is the video itself; choose another name")
        results = _results(order, frames)
        seen = 0
        with VideoWriter(order.out, frames) as writer:
            for frame, mask in _in_order(results, frames, order.prompt_frame):
                seen += bool(mask.any())
                writer.write(overlay(frame, mask, _KEY, is_labelled=False))
    return (
        f"wrote {order.out}: {len(frames)} frames at {float(frames.rate):.3g} a second, without sound; "
        f"found on {seen} of them"
    )


def _results(order: VideoOrder, frames: VideoFrames) -> Iterator[tuple[int, Mask]]:
    from evfsam.modeling import EvfSamModel
    from evfsam.processing import EvfSamProcessor
    from evfsam.video import segment_video

    place: dict[str, Any] = {"revision": order.revision}
    model = EvfSamModel.from_pretrained(order.checkpoint, device=order.device, dtype=order.dtype, **place)
    processor = EvfSamProcessor.from_pretrained(order.checkpoint, **place)
    results = segment_video(frames, order.phrase, model, processor, prompt_frame=order.prompt_frame)
    return ((result.index, result.mask) for result in tqdm(results, total=len(frames), unit="frame", delay=1))


def _in_order(
    results: Iterator[tuple[int, Mask]], frames: Sequence[RgbImage], prompt_frame: int
) -> Iterator[tuple[RgbImage, Mask]]:
    """Sort results that come as prompted frame, earlier ones backwards, later ones forward."""
    waiting: dict[int, bytes] = {}
    for index, mask in results:
        if index <= prompt_frame:
            waiting[index] = zlib.compress(np.packbits(mask).tobytes())
            if index == 0:
                for earlier in range(prompt_frame + 1):
                    bits = np.frombuffer(zlib.decompress(waiting.pop(earlier)), dtype=np.uint8)
                    yield frames[earlier], np.unpackbits(bits, count=mask.size).reshape(mask.shape).astype(bool)
        else:
            yield frames[index], mask
