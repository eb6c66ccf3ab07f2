"""One clip and one phrase: masks frame by frame, how far the work is, a way to stop it, and the files of what is done.

A segmented clip is taken away as a playable video, PNG masks in a zip, and COCO run lengths as JSON.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Final, Self

import numpy as np

from evfsam.errors import ConfigurationError
from evfsam.phrases import check_phrase
from evfsam.types import RgbImage
from evfsam.video.followers import VideoFollower, follower_of
from evfsam.video.tracking import FrameMask
from workbench.analysis.absence import judge_presence
from workbench.comparison import Comparison
from workbench.export.file_writing import as_json_value, json_bytes, write_whole, zip_bytes
from workbench.export.results import coco_rle, png_bytes
from workbench.metrics.masks import Mask
from workbench.pictures.rendering import overlay
from workbench.pictures.shown_pictures import shrunk, shrunk_mask
from workbench.video.clips import ClipPart, frame_limit, open_part
from workbench.video.video_files import VideoWriter

PREVIEW_SIDE: Final = 640
MEMORY_KEYS: Final = ("evf-sam2", "evf-sam")
"""Strategies that a clip is given to unless another is chosen, the best first."""


@dataclass(frozen=True)
class PackedMask:
    """A mask in a few kilobytes, without loss.

    Attributes:
        size: (H, W).
        data: its bits, row by row, compressed.
        area: pixels of the mask.
    """

    size: tuple[int, int]
    data: bytes
    area: int

    @classmethod
    def of(cls, mask: Mask) -> Self:
        """Pack a mask (H, W)."""
        height, width = mask.shape
        return cls((height, width), zlib.compress(np.packbits(mask).tobytes()), int(np.count_nonzero(mask)))

    @property
    def mask(self) -> Mask:
        """(H, W) bool."""
        bits = np.frombuffer(zlib.decompress(self.data), dtype=np.uint8)
        return np.unpackbits(bits, count=self.size[0] * self.size[1]).reshape(self.size).astype(np.bool_)


@dataclass(frozen=True)
class StopFlag:
    """Asks for an end after the frame under way. A file, because the work may run in another process.

    Attributes:
        path: of the file, which is there once somebody asked.
    """

    path: Path

    def set(self) -> None:
        """Ask for an end; nothing happens where the work has ended already."""
        if self.path.parent.is_dir():
            self.path.touch()

    @property
    def is_set(self) -> bool:
        """Whether somebody asked."""
        return self.path.exists()


@dataclass(frozen=True)
class ClipOrder:
    """What to segment. Can be pickled.

    Attributes:
        path: of the video file.
        strategy: key of the one that is asked.
        phrase: referring expression.
        first, count: the part of the clip, in frames.
        prompt_frame: the frame that the phrase is about, counted from `first`.
        stop: asks for an early end.
    """

    path: Path
    strategy: str
    phrase: str
    first: int
    count: int
    prompt_frame: int
    stop: StopFlag


@dataclass(frozen=True, eq=False)
class FrameAnswer:
    """What was found on one frame. Can be pickled.

    Attributes:
        index: counted from the part's first frame.
        mask: at the size at which the clip is segmented.
        preview: (h, w, 3) the frame with its mask, small.
        doubt: on the frame that the phrase is about, why it is probably not there; else empty.
        carries_memory: whether memory carries the mask from frame to frame.
    """

    index: int
    mask: PackedMask
    preview: RgbImage
    doubt: str
    carries_memory: bool


@dataclass(frozen=True, eq=False)
class ClipProgress:
    """How far the work is.

    Attributes:
        order: what is segmented.
        masks: by frame, counted from the part's first; always successive frames.
        latest: the last answer.
        doubt: why what the phrase names is probably not on its frame; empty where nothing says so.
        seconds_left: an estimate; None before there is one.
        is_done: whether no more frames come.
    """

    order: ClipOrder
    masks: Mapping[int, PackedMask]
    latest: FrameAnswer
    doubt: str
    seconds_left: float | None
    is_done: bool

    @property
    def found_count(self) -> int:
        """Frames whose mask is not empty."""
        return sum(mask.area > 0 for mask in self.masks.values())


class ClipAsker:
    """Asks the strategies of a comparison about clips.

    Args:
        comparison: whose strategies.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def carries_memory(self, key: str) -> bool:
        """Whether a strategy's masks are carried by memory; before its weights are read, its name tells."""
        strategy = self.comparison.loaded(key)
        return key == MEMORY_KEYS[0] if strategy is None else follower_of(strategy).carries_memory

    def answers(self, order: ClipOrder) -> Iterator[FrameAnswer]:
        """Ask about each frame of an order, the one with the phrase first; ends early where that is asked for.

        Where memory carries the mask and there is none on the phrase's frame, nothing can be carried: it ends there.

        Raises:
            EvfSamError: while iterating: the weights, the clip or the phrase cannot be used.
        """
        follower = follower_of(self.comparison.strategy(order.strategy))
        with open_part(order.path, order.first, order.count) as part:
            part.check()
            with self.comparison.turns.taken():  # EVF-SAM2 makes its prompt here, before the first frame
                frames = follower.follow(part, order.phrase, prompt_frame=order.prompt_frame)
            for found in self.comparison.turns.each(frames):
                answer = self._answer(order, part[found.index], found, follower)
                yield answer
                if order.stop.is_set or (answer.doubt and answer.carries_memory):
                    return

    def _answer(self, order: ClipOrder, frame: RgbImage, found: FrameMask, follower: VideoFollower) -> FrameAnswer:
        mask = found.mask
        doubt = self._doubt(found, order.strategy) if found.index == order.prompt_frame else ""
        preview = overlay(
            shrunk(frame, PREVIEW_SIDE), shrunk_mask(mask, PREVIEW_SIDE), order.strategy, is_labelled=False
        )
        return FrameAnswer(found.index, PackedMask.of(mask), preview, doubt, follower.carries_memory)

    def _doubt(self, found: FrameMask, key: str) -> str:
        if found.answer is None:
            return "" if found.mask.any() else "Probably not in this image: the mask is empty."
        judgement = judge_presence(found.answer, self.comparison.suite.key, key)
        return judgement.reason if judgement.is_likely_absent else ""


def chosen_strategy(comparison: Comparison) -> str:
    """Return the key of the strategy that a clip is given to unless another is chosen: one with memory if there is."""
    return next((key for key in MEMORY_KEYS if key in comparison.keys), comparison.keys[0])


def run_clip(asker: ClipAsker, order: ClipOrder) -> Iterator[ClipProgress]:
    """Segment a part of a clip; yields after each frame.

    The order is checked before this returns, and nothing has been read by then.

    Raises:
        PhraseError: the phrase is empty or too long.
        ConfigurationError: the strategy is unknown, the part too long, or the phrase's frame not in it.
        EvfSamError: while iterating: the weights or the clip cannot be used.
    """
    asker.comparison.choose([order.strategy])
    limit = frame_limit(asker.comparison)
    if not 1 <= order.count <= limit:
        raise ConfigurationError(
            "expected 1 to {most} frames at one time, got {got}; choose a shorter part", most=limit, got=order.count
        )
    if not 0 <= order.prompt_frame < order.count:
        raise ConfigurationError(
            "expected the phrase on one of the {count} frames that are segmented, got frame {frame} of them; "
            "choose the frame again",
            count=order.count,
            frame=order.prompt_frame,
        )
    return _progress(asker.answers(replace(order, phrase=check_phrase(order.phrase))), order)


def _progress(answers: Iterator[FrameAnswer], order: ClipOrder) -> Iterator[ClipProgress]:
    masks: dict[int, PackedMask] = {}
    doubt, started, latest = "", 0.0, None
    for answer in answers:
        started = started or perf_counter()  # the weights may have been read before the first answer
        masks[answer.index] = answer.mask
        doubt, latest = doubt or answer.doubt, answer
        timed = len(masks) - 1
        left = (perf_counter() - started) / timed * (order.count - len(masks)) if timed else None
        yield ClipProgress(order, MappingProxyType(dict(masks)), answer, doubt, left, is_done=False)
    if latest is not None:
        yield ClipProgress(order, MappingProxyType(masks), latest, doubt, 0.0, is_done=True)


@dataclass(frozen=True)
class ClipFiles:
    """The files of a segmented clip.

    Attributes:
        video: MP4 (H.264), the masks laid over the frames, without sound.
        masks: zip of one PNG a frame, white on black, named by the frame's number in the clip.
        run_lengths: JSON with the masks in COCO's compressed RLE, and each frame's time.
    """

    video: Path
    masks: Path
    run_lengths: Path


def clip_files(directory: Path) -> ClipFiles:
    """Return the names that `write_clip` gives the files of a directory."""
    return ClipFiles(directory / "overlay.mp4", directory / "masks.zip", directory / "masks-rle.json")


def write_clip(directory: Path, finished: ClipProgress) -> Iterator[int]:
    """Write the frames that have a mask; yields the number of frames of the video that are written.

    Raises:
        EvfSamError: while iterating: the clip is gone, or a file cannot be written.
    """
    files = clip_files(directory)
    order, low = finished.order, min(finished.masks)
    with open_part(order.path, order.first + low, len(finished.masks)) as part:
        masks = [finished.masks[low + index] for index in range(len(part))]
        with VideoWriter(files.video, part) as writer:
            for index, packed in enumerate(masks):
                writer.write(overlay(part[index], packed.mask, order.strategy, is_labelled=False))
                yield index + 1
        write_whole(files.masks, _masks_zip(finished, part))
        write_whole(files.run_lengths, json_bytes(_run_lengths(finished, part)))


def _masks_zip(finished: ClipProgress, part: ClipPart) -> bytes:
    low = min(finished.masks)
    masks = ((part.first + index, finished.masks[low + index].mask) for index in range(len(part)))
    return zip_bytes((f"mask-{number:06d}.png", png_bytes(mask.astype(np.uint8) * 255)) for number, mask in masks)


def _run_lengths(finished: ClipProgress, part: ClipPart) -> object:
    order, low = finished.order, min(finished.masks)
    frames = [
        {
            "frame": part.first + index,
            "seconds": round(float(part.clip_seconds(index)), 6),
            "area": finished.masks[low + index].area,
            "segmentation": coco_rle(finished.masks[low + index].mask),
        }
        for index in range(len(part))
    ]
    content = {
        "phrase": order.phrase.strip(),
        "strategy": order.strategy,
        "carries_memory": finished.latest.carries_memory,
        "prompt_frame": order.first + order.prompt_frame,
        "size": part.size,
        "frames_per_second": float(part.rate),
        "frames": frames,
    }
    return as_json_value(content)
