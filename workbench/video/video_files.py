"""Video files: frames read one by one in any order, and frames written with the source's own times.

Sound is not carried over: only pictures are decoded and written.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Final, Protocol, Self, overload

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from evfsam.types import RgbImage
from workbench.export.file_writing import UnwritableError, check_writable, part_beside
from workbench.video.decoding import (
    READABLE,
    DecodingTally,
    Orientation,
    VideoFileError,
    file_address,
    frame_rate,
    frame_table,
    opened_container,
    picture_track,
    shown_picture,
    shown_size,
    video_errors_in_words,
    whole_frames,
)

_CODECS: Final = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
_QUALITY: Final = {"libx264": {"crf": "18"}, "libvpx-vp9": {"crf": "30", "b": "0"}}
_BLOCK_BYTES: Final = 128 * 2**20
_LARGEST_BLOCK: Final = 64
_KEYS_TRIED: Final = 3
"""Key frames, going back, that are jumped to: some kinds of files lead to the one after."""


class FrameTimes(Protocol):
    """What a writer has to know of the frames it is given."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        ...

    @property
    def rate(self) -> Fraction:
        """Mean frames a second."""
        ...

    def seconds(self, index: int) -> Fraction:
        """When a frame is shown, from the first one."""
        ...


class FrameSequence(Sequence[RgbImage]):
    """Frames by number, from 0; subclasses say how many there are and bring one."""

    @overload
    def __getitem__(self, index: int) -> RgbImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RgbImage]: ...
    def __getitem__(self, index: int | slice) -> RgbImage | Sequence[RgbImage]:
        """Return a frame as (H, W, 3) uint8 RGB.

        Raises:
            VideoFileError: the file cannot be decoded there.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"expected a frame from 0 to {len(self) - 1}, got {index}")
        return self._frame(index)

    @abstractmethod
    def _frame(self, index: int) -> RgbImage:
        """Return the frame of a number that is there."""


class VideoFrames(FrameSequence):
    """The frames of a video file as players show them, decoded when they are asked for. Use it in a `with` block.

    They are upright, with square pixels, and only those that can be decoded whole. Opening a file decodes it once to
    know them, unless it is long and has an index; then a frame that is damaged is told when it is asked for. Going
    forward decodes every frame once. Going backward decodes blocks of frames, and holds one of at most 128 MiB.

    Args:
        path: the file.
        longest_side: larger frames are scaled down to this, pixels; None leaves them.
        most_pixels: a file whose frames have more is refused before one is decoded; None refuses none.
        decodes_up_to: of a file with more frames only one is decoded on opening, where its kind keeps an index that is
            usually right; None decodes all.

    Attributes:
        rate: mean frames a second.
        size: (H, W), upright; frames of another size are scaled to it.
        stored_size: (H, W), upright, with square pixels, before frames are scaled down.
        damaged_count: frames that cannot be decoded and are left out, as far as that is known.
        is_decoded: whether every frame was decoded once, so that none can be found damaged.

    Raises:
        VideoFileError: there is no such file, or it is no video, has no picture track, too large frames, or cannot be
            decoded.
    """

    def __init__(
        self,
        path: Path,
        *,
        longest_side: int | None = None,
        most_pixels: int | None = None,
        decodes_up_to: int | None = None,
    ) -> None:
        self._path, self._most_pixels = path, most_pixels
        self._frames: Iterator[Any]
        self._next: int
        self._open()
        try:
            self._table = frame_table(path, decodes_up_to, most_pixels)
            self._numbers = {stamp: number for number, stamp in enumerate(self._table.stamps or ())}
            self.damaged_count, self.is_decoded = self._table.damaged_count, self._table.is_decoded
            self.rate = self._table.mean_rate(frame_rate(self._track))
            self._asked = -1
            self._block: dict[int, RgbImage] = {}
            self._measure(longest_side)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __len__(self) -> int:
        return len(self._table.seconds)

    def _frame(self, index: int) -> RgbImage:
        if index not in self._block:
            first = max(0, index - self._block_length + 1) if index < self._asked else index
            self._block = self._decode(first, index)
        self._asked = index
        return self._block[index]

    def seconds(self, index: int) -> Fraction:
        """When a frame is shown, from the first one."""
        return self._table.seconds[index]

    @property
    def _block_length(self) -> int:
        height, width = self.size
        return max(1, min(_LARGEST_BLOCK, _BLOCK_BYTES // (3 * height * width)))

    def _measure(self, longest_side: int | None) -> None:
        """Learn from the first frame how all are shown, and keep it."""
        with video_errors_in_words(self._path):
            first = next(self._frames, None)
            if first is None:
                raise VideoFileError(
                    "{path} cannot be decoded: it holds no whole frame; {readable}", path=self._path, readable=READABLE
                )
            self._turn = Orientation.of(first)
            width, height = shown_size(first, self._track.sample_aspect_ratio)
            self._decoded_size = _within(width, height, longest_side)
            self.stored_size, self.size = self._turn.size(width, height), self._turn.size(*self._decoded_size)
            self._frames = chain([first], self._frames)

    def _open(self) -> None:
        """Stand before the file's first frame."""
        self._container = opened_container(self._path)
        self._track = picture_track(self._container, self._path, self._most_pixels)
        self._frames = whole_frames(self._container, self._track, DecodingTally())
        self._next = 0

    def _rewind(self, index: int) -> None:
        """Stand before a frame, or before an earlier one; where the file leads elsewhere, before the first one."""
        for key in [number for number in self._table.key_frames if 0 < number <= index][: -_KEYS_TRIED - 1 : -1]:
            with suppress(av.FFmpegError):  # not every file can be entered in the middle
                if self._has_jumped_to(key, index):
                    return
        self._container.close()
        self._open()

    def _has_jumped_to(self, key: int, index: int) -> bool:
        """Jump to a key frame; whether that led to one that is not behind a frame."""
        if self._table.stamps is None:
            return False
        self._container.seek(self._table.stamps[key], stream=self._track)
        frames = whole_frames(self._container, self._track, DecodingTally())
        first = next(frames, None)
        number = -1 if first is None else self._numbers.get(first.pts, -1)
        if first is None or not first.key_frame or not 0 <= number <= index:
            return False
        self._frames, self._next = chain([first], frames), number
        return True

    def _decode(self, first: int, last: int) -> dict[int, RgbImage]:
        """Decode frames `first` to `last`; the others may be damaged, and are left out.

        What was reached by jumping is read again from the start where the last one lacks.
        """
        is_behind = self._next > first
        is_far_ahead = first - self._next > _LARGEST_BLOCK
        with video_errors_in_words(self._path):
            if is_behind or is_far_ahead:
                self._rewind(first)
            block = self._read_on(first, last)
            if last not in block:
                self._container.close()
                self._open()
                block = self._read_on(first, last)
        if last not in block:
            raise VideoFileError(
                "{path} is damaged or cut short: frame {frame} of {count} cannot be decoded; choose a part "
                "without it, or save it again",
                path=self._path,
                frame=last,
                count=len(self),
            )
        return block

    def _read_on(self, first: int, last: int) -> dict[int, RgbImage]:
        """Read on up to a frame, and return those from `first` on that come in their order."""
        block: dict[int, RgbImage] = {}
        while self._next <= last:
            frame = next(self._frames, None)
            if frame is None:
                self._next = len(self)
                break
            number = self._numbers.get(frame.pts, -1) if self._numbers else self._next
            if number >= self._next:
                self._next = number + 1
                if first <= number <= last:
                    block[number] = self._turn.applied(shown_picture(frame, self._decoded_size))
        return block


def check_output(path: Path) -> None:
    """Refuse an output file that cannot be written, before the work, and make the folder that it goes to.

    Raises:
        VideoFileError: the name ends otherwise than in .mp4, .mov, .mkv or .webm.
        UnwritableError: no file can be written there.
    """
    if path.suffix.lower() not in _CODECS:
        raise VideoFileError(
            "expected an output file ending in {endings}, got {name!r}; rename it",
            endings=", ".join(_CODECS),
            name=path.name,
        )
    check_writable(path)


class VideoWriter:
    """Writes frames, in order, to a file that is there whole or not at all. Use it in a `with` block.

    Frames with an odd side get one more row or column, a copy of the last: the codec knows even sides only.

    Args:
        path: the file; its ending chooses H.264 (.mp4, .mov, .mkv) or VP9 (.webm).
        source: gives the frames' size, rate and times.

    Raises:
        VideoFileError: the ending is unknown.
        UnwritableError: the file cannot be written.
    """

    def __init__(self, path: Path, source: FrameTimes) -> None:
        check_output(path)
        self._path, self._source, self._count = path, source, 0
        self._part = part_beside(path)
        codec = _CODECS[path.suffix.lower()]
        with _plain_write_errors(path):
            self._container = av.open(file_address(self._part), "w")
            try:
                self._stream = self._container.add_stream(codec, rate=source.rate, options=dict(_QUALITY[codec]))
            except BaseException:
                self._container.close()
                self._part.unlink(missing_ok=True)
                raise
        height, width = source.size
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._ticks = Fraction(1, 90_000)
        context = self._stream.codec_context
        context.time_base, context.sample_aspect_ratio = self._ticks, Fraction(1)
        # What the conversion from RGB makes; players guess otherwise where nobody says it.
        context.colorspace, context.color_range = Colorspace.ITU601.value, ColorRange.MPEG.value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with _plain_write_errors(self._path):
                if kind is None:
                    self._container.mux(self._stream.encode(None))
                self._container.close()
                if kind is None:
                    self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def write(self, picture: RgbImage) -> None:
        """Append the next frame, shown when the source's frame of the same number is.

        Raises:
            UnwritableError: the file cannot be written.
        """
        height, width = picture.shape[:2]
        even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame.time_base = self._ticks
        frame.pts = round(self._source.seconds(self._count) / self._ticks)
        with _plain_write_errors(self._path):
            self._container.mux(self._stream.encode(frame))
        self._count += 1


def _within(width: int, height: int, longest_side: int | None) -> tuple[int, int]:
    factor = min(1.0, (longest_side or max(width, height)) / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


@contextmanager
def _plain_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise UnwritableError(
            "cannot write {path}: {reason}; choose another place or ending", path=path, reason=reason
        ) from err
