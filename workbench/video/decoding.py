"""Video files decoded: containers alone are opened, whole frames alone count, and pixels look as players show them.

What a file says of its frames is believed only where it can be: MPEG-TS and PS seek by decoding times, AVI has no times
at which frames are shown, VP8 has packets that show nothing, and any packet may be damaged. So a file is decoded once
to know its frames, and its index is taken at its word only where that would take long.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import Colorspace

from evfsam.errors import EvfSamError, Sentence
from evfsam.types import RgbImage

READABLE: Final = Sentence("use a video file such as MP4, MOV, WebM or MKV")
_CONTAINERS: Final = "mov,matroska,avi,mpegts,mpeg,flv,asf,gif,ogg,mxf,nut,rm,ivf,wtv,dv,wav,mp3,flac,aac,aiff"
"""Formats that hold frames or sound themselves: no lists and scripts, which name other files, no pictures, no text."""
_INDEXED: Final = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Formats whose packets have the times at which frames are shown."""
_ONE_PACKET_A_FRAME: Final = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})
_USUAL_RATE: Final = 25
MOST_FRAMES_OF_MOST_PIXELS: Final = 300
"""Frames of the largest size, or as many pixels in smaller ones, that are decoded of a file where it is bounded."""
_RATE_TOLERANCE: Final = 4
"""The rate told may differ from the mean of the frames' times by one part in so many: few frames give no exact one."""
_WIDEST_PIXEL: Final = 4
_UNSPECIFIED: Final = 2
_HD_WIDTH, _SD_HEIGHT = 1280, 576
"""From this width on, or above this height, colours of which nothing is said are those of HD (BT.709)."""


class VideoFileError(EvfSamError):
    """The file is no video that can be read, or none that can be written."""


@dataclass(frozen=True)
class FrameTable:
    """The frames of a file in the order in which they are shown.

    Attributes:
        seconds: when each is shown, from the first one.
        stamps: time stamp of each, in the track's time base; None where they do not tell frames apart.
        key_frames: numbers of those at which decoding can begin, ascending.
        is_decoded: whether each was decoded once; else the file's index says that they are there.
        damaged_count: what could not be decoded, and is no frame here.
    """

    seconds: tuple[Fraction, ...]
    stamps: tuple[int, ...] | None
    key_frames: tuple[int, ...]
    is_decoded: bool
    damaged_count: int = 0

    def mean_rate(self, told: Fraction) -> Fraction:
        """Return the frames a second that a file tells, or where its frames' times say otherwise, their mean."""
        if len(self.seconds) < 2 or not self.seconds[-1]:
            return told
        mean = (len(self.seconds) - 1) / self.seconds[-1]
        return told if abs(told - mean) <= mean / _RATE_TOLERANCE else mean


@dataclass
class DecodingTally:
    """What came by while a file was decoded: packets, and what could not be decoded of them."""

    packets: int = 0
    damaged: int = 0


def opened_container(path: Path) -> Any:
    """Open a video file as a container; a name with a colon is a name, not an address.

    Raises:
        VideoFileError: there is no such file, it is empty, or something else than a video.
    """
    if not path.is_file():
        raise VideoFileError("expected a video file, but there is no file {path}; check the path", path=path)
    if path.stat().st_size == 0:
        raise VideoFileError("expected a video, but {path} is empty (0 bytes); save it again", path=path)
    with video_errors_in_words(path):
        try:
            return av.open(file_address(path), options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"})
        except av.ArgumentError as err:  # its format is none of these
            raise VideoFileError(
                "expected a video, got a picture, text or frames without a container in {path}; {readable}",
                path=path,
                readable=READABLE,
            ) from err


def file_address(path: Path) -> str:
    """Return a path as FFmpeg takes it for a file, whatever its name looks like."""
    return f"file:{path}"


def picture_track(container: Any, path: Path, most_pixels: int | None) -> Any:
    """Return the track of moving pictures; the cover of a piece of music is none.

    Raises:
        VideoFileError: there is none, or its frames have more than `most_pixels`.
    """
    tracks = [track for track in container.streams.video if not track.disposition & av.stream.Disposition.attached_pic]
    if not tracks:
        raise VideoFileError(
            "expected a video, but {path} has no picture track; {readable}", path=path, readable=READABLE
        )
    track = tracks[0]
    width, height = track.codec_context.width, track.codec_context.height
    if most_pixels is not None and width * height > most_pixels:
        raise VideoFileError(
            "expected frames of at most {most:.0f} megapixels, but {path} has {width} × {height} pixels; save it "
            "smaller",
            most=most_pixels / 1000000.0,
            path=path,
            width=width,
            height=height,
        )
    if most_pixels is not None:
        track.codec_context.options = {"max_pixels": str(most_pixels)}  # frames may grow on the way
    # Frames decoded in parallel are lost together with a damaged one behind them.
    track.thread_type = "SLICE"
    return track


def whole_frames(container: Any, track: Any, tally: DecodingTally) -> Iterator[Any]:
    """Yield the frames of a track that can be decoded whole, from where the container stands.

    Frames that the decoder patched up are none: they show what was there before, or grey.
    """
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            tally.damaged += 1  # the file breaks off
            return
        if packet is None:
            return
        tally.packets += bool(packet.size) and not packet.is_discard
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            tally.damaged += 1
            continue
        for frame in decoded:
            if frame.is_corrupt:
                tally.damaged += 1
            else:
                yield frame


def frame_table(path: Path, decodes_up_to: int | None, most_pixels: int | None = None) -> FrameTable:
    """Return what frames a file has; kept for files that do not change.

    Args:
        path: the file.
        decodes_up_to: a file with more frames is taken at its word, where its container and codec usually keep it;
            None decodes every file.
        most_pixels: as in `picture_track`; then `MOST_FRAMES_OF_MOST_PIXELS` times as many are decoded at most.

    Raises:
        VideoFileError: it is no video, has no whole frame, or more to decode.
    """
    try:
        state = path.stat()
    except OSError as err:
        raise VideoFileError("expected a video file, but there is no file {path}; check the path", path=path) from err
    return _frame_table(path, decodes_up_to, most_pixels, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=32)
def _frame_table(
    path: Path, decodes_up_to: int | None, most_pixels: int | None, _changed_ns: int, _nbytes: int
) -> FrameTable:
    if decodes_up_to is not None:
        with opened_container(path) as container, video_errors_in_words(path):
            table = _table_by_index(container, picture_track(container, path, None))
        if table is not None and len(table.seconds) > decodes_up_to:
            return table
    return _decoded_table(path, most_pixels)


def _table_by_index(container: Any, track: Any) -> FrameTable | None:
    """Return what the packets say; None where a packet may be no frame, or has no time of its own."""
    if not _has_a_packet_a_frame(container, track):
        return None
    packets = [packet for packet in container.demux(track) if packet.size and not packet.is_discard]
    is_key = {packet.pts: packet.is_keyframe for packet in packets if packet.pts is not None}
    if not is_key or len(is_key) < len(packets):
        return None
    return _table(sorted(is_key.items()), track, is_decoded=False)


def _has_a_packet_a_frame(container: Any, track: Any) -> bool:
    return container.format.name in _INDEXED and track.codec_context.name in _ONE_PACKET_A_FRAME


def _decoded_table(path: Path, most_pixels: int | None) -> FrameTable:
    with opened_container(path) as container, video_errors_in_words(path):
        track, tally = picture_track(container, path, most_pixels), DecodingTally()
        found, left = [], None if most_pixels is None else most_pixels * MOST_FRAMES_OF_MOST_PIXELS
        for frame in whole_frames(container, track, tally):
            found.append((frame.pts, frame.key_frame))
            if left is not None and (left := left - frame.width * frame.height) < 0:
                raise VideoFileError(
                    "expected a video that can be looked through in a while, but {path} is too long for its kind; save "
                    "it as MP4 (H.264), smaller or shorter",
                    path=path,
                )
        if not found:
            raise VideoFileError(
                "{path} cannot be decoded: it holds no whole frame; {readable}", path=path, readable=READABLE
            )
        lost = tally.packets - len(found) if _has_a_packet_a_frame(container, track) else 0
        return _table(found, track, is_decoded=True, damaged_count=max(tally.damaged, lost))


def _table(
    frames: Sequence[tuple[int | None, bool]], track: Any, *, is_decoded: bool, damaged_count: int = 0
) -> FrameTable:
    """Lay out time stamps and whether a frame is a key frame, in the order in which frames are shown."""
    keys = tuple(number for number, (_, is_key) in enumerate(frames) if is_key)
    stamps = tuple(stamp for stamp, _ in frames if stamp is not None)
    seconds = tuple((stamp - stamps[0]) * Fraction(track.time_base) for stamp in stamps)
    tells_apart = len(stamps) == len(frames) and all(earlier < later for earlier, later in pairwise(stamps))
    if not tells_apart:  # as in AVI, whose stamps only count
        seconds = tuple(number / frame_rate(track) for number in range(len(frames)))
    return FrameTable(seconds, stamps if tells_apart else None, keys, is_decoded, damaged_count)


def frame_rate(track: Any) -> Fraction:
    """Return the mean number of frames a second that a track says it has."""
    return Fraction(track.average_rate or track.guessed_rate or _USUAL_RATE)


@dataclass(frozen=True)
class Orientation:
    """How frames are turned and mirrored on the way from the file to the screen: first transposed, then flipped."""

    is_transposed: bool = False
    is_flipped_x: bool = False
    is_flipped_y: bool = False

    @classmethod
    def of(cls, frame: Any) -> "Orientation":
        """Read it from a frame's display matrix, rounded to quarter turns; none where there is no matrix."""
        data = frame.side_data.get(Type.DISPLAYMATRIX)
        if data is None:
            return cls()
        a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(data), dtype=np.int32)[:5])
        # x and y of the file become a x + c y and b x + d y on the screen.
        is_transposed = abs(b) > abs(a)
        along_x, along_y = (c, b) if is_transposed else (a, d)
        return cls(is_transposed, along_x < 0, along_y < 0)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (H, W) of turned frames."""
        return (width, height) if self.is_transposed else (height, width)

    def applied(self, picture: RgbImage) -> RgbImage:
        """Turn a picture (h, w, 3)."""
        turned = picture.swapaxes(0, 1) if self.is_transposed else picture
        turned = turned[:, ::-1] if self.is_flipped_x else turned
        return np.ascontiguousarray(turned[::-1] if self.is_flipped_y else turned)


def shown_size(frame: Any, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Return the width and height at which a frame has square pixels and loses none; not turned yet."""
    aspect = Fraction(pixel_aspect or 1)
    if not Fraction(1, _WIDEST_PIXEL) <= aspect <= _WIDEST_PIXEL:  # damage, or nobody's intent
        return frame.width, frame.height
    return round(frame.width * max(aspect, 1)), round(frame.height / min(aspect, 1))


def shown_picture(frame: Any, size: tuple[int, int]) -> RgbImage:
    """Return a frame (h, w, 3), not turned yet, scaled to (w, h) and in the colours that players show."""
    is_hd = frame.width >= _HD_WIDTH or frame.height > _SD_HEIGHT
    is_untold = frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb
    colours = Colorspace.ITU709 if is_untold and is_hd else None
    scaled = frame.reformat(width=size[0], height=size[1], format="rgb24", src_colorspace=colours)
    picture: RgbImage = scaled.to_ndarray()
    return picture


@contextmanager
def video_errors_in_words(path: Path) -> Iterator[None]:
    """Say in plain words what FFmpeg found wrong with a file, whatever it raises.

    Raises:
        VideoFileError: in place of every error that is not one of ours.
    """
    try:
        yield
    except EvfSamError:
        raise
    except Exception as err:
        reason = getattr(err, "strerror", None) or err
        raise VideoFileError(
            "{path} is not a video that can be read ({reason}); {readable}", path=path, reason=reason, readable=READABLE
        ) from err
