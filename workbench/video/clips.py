"""A visitor's clip: what is known of it before work begins, the limits on it, and the part of it that is segmented."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from evfsam.errors import ConfigurationError
from evfsam.types import RgbImage
from workbench.comparison import Comparison
from workbench.video.decoding import VideoFileError
from workbench.video.video_files import FrameSequence, VideoFrames

FRAME_LIMIT: Final = 240
"""Frames that are segmented at one time: 10 seconds at 24 a second."""
SLOW_FRAME_LIMIT: Final = 24
"""The same for published models on a CPU, which takes many seconds a frame."""
LONGEST_SIDE: Final = 1280
"""Larger frames are scaled down to this, pixels."""
MOST_PIXELS: Final = 36_000_000
"""Frames with more are refused before one is decoded."""
MOST_DECODED: Final = 1000
"""Frames of a file that are decoded to find damaged ones before work begins; of a longer one whose container keeps an
index, the part asked for."""
CLIP_ENDINGS: Final = (".mp4", ".webm", ".mov", ".mkv", ".gif")


def frame_limit(comparison: Comparison) -> int:
    """Return how many frames of a clip are segmented at one time, by what the models need on this device."""
    is_slow = comparison.suite.has_published_models and comparison.device.type == "cpu"
    return SLOW_FRAME_LIMIT if is_slow else FRAME_LIMIT


@dataclass(frozen=True)
class Clip:
    """What is known of a video file without segmenting it.

    Attributes:
        path: of the file.
        frame_count: at least 1.
        rate: mean frames a second.
        size: (H, W) of the frames as they are segmented.
        stored_size: (H, W) before they are scaled down to `size`.
        seconds: how long it lasts.
        damaged_count: frames that cannot be decoded and are left out, as far as that is known.
    """

    path: Path
    frame_count: int
    rate: Fraction
    size: tuple[int, int]
    stored_size: tuple[int, int]
    seconds: float
    damaged_count: int = 0

    def part_count(self, limit: int) -> int:
        """Return how many frames are segmented at one time."""
        return min(self.frame_count, limit)

    def seconds_of(self, frame_count: int) -> float:
        """Return how long so many frames last."""
        return self.seconds * frame_count / self.frame_count


def read_clip(path: Path) -> Clip:
    """Look at a video file; a long one whose container keeps an index is decoded in its first frame alone.

    Raises:
        VideoFileError: it cannot be used; the message names the file without its folder.
    """
    with _named_without_folder(path), _frames(path) as frames:
        count = len(frames)
        seconds = float(frames.seconds(count - 1) + 1 / frames.rate)
        return Clip(path, count, frames.rate, frames.size, frames.stored_size, seconds, frames.damaged_count)


class ClipPart(FrameSequence):
    """Successive frames of a video file, numbered from 0.

    Args:
        frames: of the whole file.
        first: number of the part's first frame in the file.
        count: how many.

    Raises:
        ConfigurationError: the part is empty, or leaves the file.
    """

    def __init__(self, frames: VideoFrames, first: int, count: int) -> None:
        if first < 0 or count < 1 or first + count > len(frames):
            raise ConfigurationError(
                "expected a part of the clip's frames 0 to {last}, got {count} frames from frame {first}; choose "
                "the part again",
                last=len(frames) - 1,
                count=count,
                first=first,
            )
        self._frames, self.first, self._count = frames, first, count

    def check(self) -> None:
        """Find damaged frames before the work; nothing is decoded where there can be none.

        Raises:
            VideoFileError: a frame cannot be decoded; the message has its number.
        """
        if not self._frames.is_decoded:
            for index in range(len(self)):
                self._frame(index)

    def __len__(self) -> int:
        return self._count

    def _frame(self, index: int) -> RgbImage:
        return self._frames[self.first + index]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self._frames.size

    @property
    def rate(self) -> Fraction:
        """Mean frames a second."""
        return self._frames.rate

    def seconds(self, index: int) -> Fraction:
        """When a frame is shown, from the part's first one."""
        return self.clip_seconds(index) - self.clip_seconds(0)

    def clip_seconds(self, index: int) -> Fraction:
        """When a frame is shown, from the file's first one."""
        return self._frames.seconds(self.first + index)


@contextmanager
def open_part(path: Path, first: int, count: int) -> Iterator[ClipPart]:
    """Open a part of a clip for reading.

    Raises:
        VideoFileError: the file cannot be used; the message names it without its folder.
        ConfigurationError: the part leaves the file.
    """
    with _named_without_folder(path), _frames(path) as frames:
        yield ClipPart(frames, first, count)


def _frames(path: Path) -> VideoFrames:
    return VideoFrames(path, longest_side=LONGEST_SIDE, most_pixels=MOST_PIXELS, decodes_up_to=MOST_DECODED)


@contextmanager
def _named_without_folder(path: Path) -> Iterator[None]:
    """Keep the server's folders out of what a visitor reads."""
    try:
        yield
    except VideoFileError as error:
        raise VideoFileError(str(error).replace(str(path), f"“{path.name}”")) from error
