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
from workbench.cli.arguments import (
    Commands,
    UsageError,
    add_model_options,
    add_option_option,
    chosen_keys,
    comparison_of,
    device_of,
    dtype_of,
)
from workbench.comparison import Comparison
from workbench.metrics.masks import Mask
from workbench.pictures.rendering import overlay
from workbench.suites.choice import SUITE_NAMES
from workbench.suites.composition import CHOICE_FORM, StrategyChoice
from workbench.video.files import VideoFileError, VideoFrames, VideoWriter, check_output
from workbench.video.run import PackedMask, chosen_strategy

RELEASED = "YxZhang/evf-sam2"
"""The checkpoint that is taken unless another is named: EVF-SAM2 on Hiera-L, from the Hub."""

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


def add_parser(commands: Commands) -> None:
    """Declare the command and its options."""
    video = commands.add_parser("video", help="follow a phrase through a video, and write it overlaid")
    video.add_argument("video", type=Path, metavar="IN.mp4", help="a video file")
    video.add_argument("phrase", metavar="PHRASE", help='what to follow, such as "the dog on the left"')
    video.add_argument(
        "--out", type=Path, required=True, metavar="OUT.mp4", help="video to write, soundless: mp4, mov, mkv or webm"
    )
    video.add_argument(
        "--checkpoint",
        metavar="ID_OR_DIR",
        help=f"an EVF-SAM2, by Hub id or directory; default: {RELEASED}, unless there is a --suite",
    )
    video.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a Hub id")
    video.add_argument(
        "--frame", type=int, default=0, metavar="N", help="the frame that the phrase is about, from 0; default: 0"
    )
    video.add_argument(
        "--suite",
        metavar="NAME",
        help=f"take a strategy of a suite instead, one of {', '.join(SUITE_NAMES)}; without a memory for videos, as in "
        "mini, every frame is asked alone",
    )
    video.add_argument(
        "--strategy",
        "--strategies",
        dest="strategies",
        type=_one_choice,
        metavar=CHOICE_FORM,
        help="of the suite; default: its EVF-SAM2, else its EVF-SAM",
    )
    add_option_option(video)
    add_model_options(video)


def run_command(arguments: argparse.Namespace) -> int:
    """Write the video, print a line about it, and return the exit code."""
    key, follower = _follower(arguments)
    order = VideoOrder(arguments.video, arguments.out, arguments.phrase, follower, arguments.frame, key)
    print(carry_out(order))
    return 0


def _follower(arguments: argparse.Namespace) -> tuple[str, Callable[[], VideoFollower]]:
    """Return whose colour the mask takes, and what reads the weights: a suite's, or one checkpoint's."""
    device = device_of(arguments)
    if arguments.suite is None:
        if arguments.strategies or arguments.weights or arguments.options:
            raise UsageError(
                "expected --suite beside --strategy, --option or --weights; see python -m workbench video --help"
            )
        checkpoint, dtype = arguments.checkpoint or RELEASED, dtype_of(arguments, device)
        return "evf-sam", partial(checkpoint_follower, checkpoint, arguments.revision, device, dtype)
    if arguments.checkpoint or arguments.revision:
        raise UsageError("expected --suite or --checkpoint, got both; see python -m workbench video --help")
    comparison = comparison_of(arguments, device)
    (key,) = chosen_keys(arguments, comparison) if arguments.strategies else [chosen_strategy(comparison)]
    return key, partial(suite_follower, comparison, key)


def _one_choice(text: str) -> tuple[StrategyChoice, ...]:
    return (StrategyChoice.read(text),)


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
