"""Video files: frames read one by one in any order, and frames written with the source's own times.

Sound is not carried over: only pictures are decoded and written.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Protocol, Self, overload

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from evfsam.errors import EvfSamError
from evfsam.types import RgbImage

_READABLE: Final = "use a video file such as MP4, MOV, WebM or MKV"
_CODECS: Final = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9"}
_QUALITY: Final = {"libx264": {"crf": "18"}, "libvpx-vp9": {"crf": "30", "b": "0"}}
_STILL_FORMATS: Final = ("_pipe", "image2", "tty")  # what FFmpeg takes pictures and text files for
_BLOCK_BYTES: Final = 128 * 2**20
_LARGEST_BLOCK: Final = 64


class VideoFileError(EvfSamError):
    """The file is no video that can be read, or none that can be written."""


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
    """The frames of a video file, upright, decoded when they are asked for. Use it in a `with` block.

    Opening reads the whole file's time stamps, but decodes only one frame. Going forward decodes every frame once.
    Going backward decodes blocks of frames, and holds one block of at most 128 MiB.

    Args:
        path: the file.
        longest_side: larger frames are scaled down to this, pixels; None leaves them.
        most_pixels: a file whose frames have more is refused before one is decoded; None refuses none.

    Attributes:
        rate: mean frames a second.
        size: (H, W), upright; frames of another size are scaled to it.
        stored_size: (H, W), upright, as the file has them.

    Raises:
        VideoFileError: there is no such file, or it is no video, has no picture track, too large frames, or cannot be
            decoded.
    """

    def __init__(self, path: Path, *, longest_side: int | None = None, most_pixels: int | None = None) -> None:
        self._path = path
        self._container = _opened(path)
        try:
            self._stream = self._picture_track(most_pixels)
            self._times = self._read_times()
            self.rate = Fraction(self._stream.average_rate or self._stream.guessed_rate or 25)
            self._decoder: Iterator[Any] = iter(())
            self._pending: Any = None
            self._asked = -1
            self._block: dict[int, RgbImage] = {}
            self._rewind(0)
            first = self._next_frame()
            self._quarter_turns = round(first.rotation / 90) % 4
            self.stored_size = self._turned(first.width, first.height)
            self._decoded_size = _within(first.width, first.height, longest_side)
            self.size = self._turned(*self._decoded_size)
            self._pending = first
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __len__(self) -> int:
        return len(self._times)

    def _frame(self, index: int) -> RgbImage:
        if index not in self._block:
            first = max(0, index - self._block_length + 1) if index < self._asked else index
            self._block = self._decode(first, index)
        self._asked = index
        return self._block[index]

    def seconds(self, index: int) -> Fraction:
        """When a frame is shown, from the first one."""
        return (self._times[index] - self._times[0]) * Fraction(self._stream.time_base)

    @property
    def _block_length(self) -> int:
        height, width = self.size
        return max(1, min(_LARGEST_BLOCK, _BLOCK_BYTES // (3 * height * width)))

    def _turned(self, width: int, height: int) -> tuple[int, int]:
        return (width, height) if self._quarter_turns % 2 else (height, width)

    def _picture_track(self, most_pixels: int | None) -> Any:
        tracks = [
            track
            for track in self._container.streams.video
            if not track.disposition & av.stream.Disposition.attached_pic  # the cover of a piece of music
        ]
        if not tracks:
            raise VideoFileError(f"expected a video, but {self._path} has no picture track; {_READABLE}")
        width, height = tracks[0].codec_context.width, tracks[0].codec_context.height
        if most_pixels is not None and width * height > most_pixels:
            raise VideoFileError(
                f"expected frames of at most {most_pixels / 1e6:.0f} megapixels, but {self._path} has "
                f"{width} × {height} pixels; save it smaller"
            )
        tracks[0].thread_type = "AUTO"
        return tracks[0]

    def _read_times(self) -> list[int]:
        """Time stamps of all frames in the order they are shown, in the track's time base."""
        with _plain_errors(self._path):
            packets = self._container.demux(self._stream)
            times = sorted({packet.pts for packet in packets if packet.pts is not None and not packet.is_discard})
        if not times:
            raise VideoFileError(f"expected a video, but {self._path} holds no frames with times; {_READABLE}")
        return times

    def _rewind(self, index: int) -> None:
        with _plain_errors(self._path):
            self._container.seek(self._times[index], stream=self._stream)
            self._decoder = (frame for frame in self._container.decode(self._stream) if frame.pts is not None)
        self._pending = None

    def _next_frame(self) -> Any:
        """The next decoded frame, or None at the end."""
        with _plain_errors(self._path):
            frame, self._pending = self._pending, None
            frame = frame or next(self._decoder, None)
        if frame is None and not hasattr(self, "size"):
            raise VideoFileError(f"{self._path} cannot be decoded: it holds no whole frame; {_READABLE}")
        return frame

    def _decode(self, first: int, last: int) -> dict[int, RgbImage]:
        """Decode frames `first` to `last`. Where a damaged file lacks one, the one beside it stands in."""
        frame, latest = self._frame_from(first), None
        block: dict[int, RgbImage] = {}
        for index in range(first, last + 1):
            while frame is not None and frame.pts < self._times[index]:
                frame, latest = self._next_frame(), frame
            shown = frame or latest
            if shown is None:
                raise VideoFileError(
                    f"{self._path} is damaged or cut short: it ends before frame {index} of {len(self)}; save it again"
                )
            block[index] = self._upright(shown)
        self._pending = frame
        return block

    def _frame_from(self, index: int) -> Any:
        """A decoded frame not after the one asked for, by reading on or by going back."""
        frame = self._next_frame()
        is_ahead = frame is None or frame.pts > self._times[index]
        is_far_behind = frame is not None and index - self._asked > _LARGEST_BLOCK
        if is_ahead or is_far_behind:
            self._rewind(index)
            frame = self._next_frame()
            if frame is None or frame.pts > self._times[index]:  # the file's index points behind the frame
                self._rewind(0)
                frame = self._next_frame()
        return frame

    def _upright(self, frame: Any) -> RgbImage:
        width, height = self._decoded_size
        picture = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
        return np.ascontiguousarray(np.rot90(picture, self._quarter_turns))


def check_output(path: Path) -> None:
    """Refuse an output file of a kind that cannot be written.

    Raises:
        VideoFileError: the name ends otherwise than in .mp4, .mov, .mkv or .webm.
    """
    if path.suffix.lower() not in _CODECS:
        raise VideoFileError(f"expected an output file ending in {', '.join(_CODECS)}, got {path.name!r}; rename it")


class VideoWriter:
    """Writes frames, in order, to a file that is there whole or not at all. Use it in a `with` block.

    Frames with an odd side get one more row or column, a copy of the last: the codec knows even sides only.

    Args:
        path: the file; its ending chooses H.264 (.mp4, .mov, .mkv) or VP9 (.webm).
        source: gives the frames' size, rate and times.

    Raises:
        VideoFileError: the ending is unknown, or the file cannot be written.
    """

    def __init__(self, path: Path, source: FrameTimes) -> None:
        check_output(path)
        self._path, self._source, self._count = path, source, 0
        self._part = path.with_name(f".{path.stem}.part{path.suffix.lower()}")
        codec = _CODECS[path.suffix.lower()]
        with _plain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._part), "w")
            self._stream = self._container.add_stream(codec, rate=source.rate, options=dict(_QUALITY[codec]))
        height, width = source.size
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._ticks = Fraction(1, 90_000)
        context = self._stream.codec_context
        context.time_base = self._ticks
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
            VideoFileError: the file cannot be written.
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


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise VideoFileError(f"expected a video file, but there is no file {path}; check the path")
    if path.stat().st_size == 0:
        raise VideoFileError(f"expected a video, but {path} is empty (0 bytes); save it again")
    with _plain_errors(path):
        container = av.open(str(path))
    if container.format.name.endswith(_STILL_FORMATS):
        container.close()
        raise VideoFileError(f"expected a video, got a picture or text in {path}; {_READABLE}")
    return container


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Say in plain words what FFmpeg found wrong with a file."""
    try:
        yield
    except (av.FFmpegError, OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or err
        raise VideoFileError(f"{path} is not a video that can be read ({reason}); {_READABLE}") from err


@contextmanager
def _plain_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise VideoFileError(f"cannot write {path}: {reason}; choose another place or ending") from err
