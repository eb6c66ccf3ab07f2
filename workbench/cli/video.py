"""`python -m workbench video`: follow a phrase through a video file, and write it with the mask laid over."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from evfsam.errors import ConfigurationError
from evfsam.phrases import check_phrase
from evfsam.types import RgbImage
from evfsam.video.followers import MemoryFollower, VideoFollower, follower_of
from workbench.cli.arguments import comparison_of, device_of, dtype_of, named_keys
from workbench.cli.parser import UsageError
from workbench.comparison import Comparison
from workbench.metrics.masks import Mask
from workbench.names import VIDEO_CHECKPOINT
from workbench.pictures.rendering import overlay
from workbench.text_fitting import visible
from workbench.video.clip_run import PackedMask, chosen_strategy
from workbench.video.decoding import VideoFileError
from workbench.video.video_files import VideoFrames, VideoWriter, check_output

_KEY = "evf-sam"


@dataclass(frozen=True)
class VideoOrder:
    """What to follow, and where.

    Attributes:
        source, out: video files.
        phrase: referring expression.
        follower: reads the weights; called once everything else has been checked.
        prompt_frame: index of the frame that the phrase is about.
        key: of the strategy, for the colour of the mask.
    """

    source: Path
    out: Path
    phrase: str
    follower: Callable[[], VideoFollower]
    prompt_frame: int
    key: str = _KEY


def run_command(arguments: argparse.Namespace) -> int:
    """Write the video, print a line about it, and return the exit code."""
    key, follower = _follower(arguments)
    order = VideoOrder(arguments.video, arguments.out, arguments.phrase, follower, arguments.frame, key)
    print(visible(run_video(order)))
    return 0


def _follower(arguments: argparse.Namespace) -> tuple[str, Callable[[], VideoFollower]]:
    """Return whose colour the mask takes, and what reads the weights: a suite's, or one checkpoint's."""
    device = device_of(arguments)
    if arguments.suite is None:
        if arguments.strategies or arguments.weights or arguments.options:
            raise UsageError(
                "expected --suite beside --strategy, --option or --weights; see python -m workbench video --help"
            )
        checkpoint, dtype = arguments.checkpoint or VIDEO_CHECKPOINT, dtype_of(arguments, device)
        return "evf-sam", partial(checkpoint_follower, checkpoint, arguments.revision, device, dtype)
    if arguments.checkpoint or arguments.revision:
        raise UsageError("expected --suite or --checkpoint, got both; see python -m workbench video --help")
    comparison = comparison_of(arguments, device)
    (key,) = comparison.choose(named_keys(arguments)) if arguments.strategies else [chosen_strategy(comparison)]
    return key, partial(suite_follower, comparison, key)


def run_video(order: VideoOrder) -> str:
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
        if order.out.exists() and order.out.samefile(order.source):
            raise VideoFileError(f"the output {order.out} is the video itself; choose another name")
        follower = order.follower()
        found = follower.follow(frames, order.phrase, prompt_frame=order.prompt_frame)
        results = ((result.index, result.mask) for result in tqdm(found, total=len(frames), unit="frame", delay=1))
        seen = 0
        with VideoWriter(order.out, frames) as writer:
            for frame, mask in _in_order(results, frames, order.prompt_frame):
                seen += bool(mask.any())
                writer.write(overlay(frame, mask, order.key, is_labelled=False))
    damaged = f"; {frames.damaged_count} damaged frames were left out" if frames.damaged_count else ""
    alone = "" if follower.carries_memory else "; each frame was asked alone, since this model has no memory for videos"
    return (
        f"wrote {order.out}: {len(frames)} frames at {float(frames.rate):.3g} a second, without sound; "
        f"found on {seen} of them{damaged}{alone}"
    )


def checkpoint_follower(
    checkpoint: str, revision: str | None, device: torch.device, dtype: torch.dtype
) -> VideoFollower:
    """Read an EVF-SAM2.

    Args:
        checkpoint: a directory or a Hub id.
        revision: branch, tag or commit of a Hub id.
        device: where it runs.
        dtype: type of its weights.

    Raises:
        CheckpointError: it cannot be read.
    """
    from evfsam.model.modeling import EvfSamModel
    from evfsam.model.processing import EvfSamProcessor
    from evfsam.model.strategy import EvfSamStrategy

    place: dict[str, Any] = {"revision": revision}
    model = EvfSamModel.from_pretrained(checkpoint, device=device, dtype=dtype, **place)
    return MemoryFollower(EvfSamStrategy(model, EvfSamProcessor.from_pretrained(checkpoint, **place)))


def suite_follower(comparison: Comparison, key: str) -> VideoFollower:
    """Read the weights of a suite's strategy; without a memory, it is asked frame by frame.

    Raises:
        EvfSamError: they cannot be read.
    """
    return follower_of(comparison.strategy(key))


def _in_order(
    results: Iterator[tuple[int, Mask]], frames: Sequence[RgbImage], prompt_frame: int
) -> Iterator[tuple[RgbImage, Mask]]:
    """Sort results that come as prompted frame, earlier ones backwards, later ones forward."""
    waiting: dict[int, PackedMask] = {}
    for index, mask in results:
        if index <= prompt_frame:
            waiting[index] = PackedMask.of(mask)
            if index == 0:
                for earlier in range(prompt_frame + 1):
                    yield frames[earlier], waiting.pop(earlier).mask
        else:
            yield frames[index], mask
