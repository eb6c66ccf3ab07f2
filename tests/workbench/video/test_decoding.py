"""Frames of containers that keep times badly or none, of damaged files, and pixels as their metadata says."""

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from tests.workbench.videos import grey_frame, number_of, write_video
from workbench.video import decoding
from workbench.video.clips import open_part, read_clip
from workbench.video.decoding import VideoFileError
from workbench.video.video_files import VideoFrames, VideoWriter

KINDS = {"ts": "libx264", "mpg": "mpeg2video", "avi": "libx264", "mkv": "libx264", "webm": "libvpx", "flv": "libx264"}
BACK_AND_FORTH = [*range(23), *range(22, -1, -1), 7, 3, 22, 0, 11]


@pytest.mark.parametrize("kind", KINDS)
def test_every_container_gives_each_frame_once_in_any_order_at_its_time(kind: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"in.{kind}", count=23, codec=KINDS[kind])
    with VideoFrames(path) as frames:
        assert len(frames) == 23
        assert [number_of(frames[index]) for index in BACK_AND_FORTH] == BACK_AND_FORTH
        times = [float(frames.seconds(index)) for index in range(23)]
        assert times == pytest.approx([index / 25 for index in range(23)], abs=2e-3)


@pytest.mark.parametrize("kind", ["ts", "mpg", "avi"])
def test_one_key_frame_is_enough(kind: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"in.{kind}", count=10, codec=KINDS[kind], gop=100)
    with VideoFrames(path) as frames:
        assert [number_of(frames[index]) for index in (0, 9, 4, 0)] == [0, 9, 4, 0]


def test_a_transport_stream_is_entered_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "in.ts", count=60, codec="libx264")
    monkeypatch.setattr("workbench.video.video_files._BLOCK_BYTES", 4 * 48 * 64 * 3)
    with VideoFrames(path) as frames:
        again = pytest.fail
        monkeypatch.setattr(
            "workbench.video.video_files.opened_container", lambda _: again("it was read from the start")
        )
        assert [number_of(frames[index]) for index in (59, 45, 20)] == [59 % 25, 45 % 25, 20]


def packet_places(path: Path) -> list[tuple[int, int]]:
    """Place and length of each packet, in the order in which they lie in the file."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def damaged(path: Path, number: int, part: float = 1.0) -> Path:
    """Overwrite a share of a packet, the last bytes of it, with noise."""
    start, length = packet_places(path)[number]
    content = bytearray(path.read_bytes())
    first = start + length - int((length - 8) * part)
    content[first : start + length] = np.random.default_rng(0).bytes(start + length - first)
    path.write_bytes(content)
    return path


def faststart(path: Path, **options: object) -> Path:
    """A clip whose index lies in front, so that its end can be cut off."""
    return write_video(path, container_options={"movflags": "faststart"}, **options)


def test_one_damaged_last_packet_costs_one_frame_and_is_told(tmp_path: Path) -> None:
    path = damaged(faststart(tmp_path / "in.mp4", count=20), -1)
    with VideoFrames(path) as frames:
        assert (len(frames), frames.damaged_count) == (19, 1)
        assert len({number_of(frames[index]) for index in range(19)}) == 19
    clip = read_clip(path)
    assert (clip.frame_count, clip.damaged_count) == (19, 1)


def test_a_file_that_is_cut_short_keeps_its_whole_frames(tmp_path: Path) -> None:
    path = faststart(tmp_path / "in.mp4", count=20)
    start, length = packet_places(path)[-1]
    path.write_bytes(path.read_bytes()[: start + length // 2])
    with VideoFrames(path) as frames:
        assert (len(frames), frames.damaged_count) == (19, 1)
        assert number_of(frames[18]) in (18, 19)


def test_a_frame_that_the_decoder_patched_up_is_none(tmp_path: Path) -> None:
    path = damaged(write_video(tmp_path / "in.avi", count=20, size=(144, 192), codec="mpeg4"), -1, part=0.5)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20
    with VideoFrames(path) as frames:
        assert (len(frames), frames.damaged_count) == (19, 1)
        times = [round(25 * frames.seconds(index)) for index in range(len(frames))]
        assert times == list(range(19))


def test_in_a_long_clip_a_damaged_frame_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.video.clips.MOST_DECODED", 5)
    path = damaged(faststart(tmp_path / "in.mp4", count=20), -1)
    clip = read_clip(path)
    assert (clip.frame_count, clip.damaged_count) == (20, 0), "its index is believed"
    with open_part(path, 0, 10) as part:
        part.check()
        assert [number_of(frame) for frame in part] == list(range(10))
    words = r"“in\.mp4” is damaged or cut short: frame 19 of 20 cannot be decoded; choose a part without it"
    with pytest.raises(VideoFileError, match=words), open_part(path, 10, 10) as part:
        part.check()


def test_a_damaged_frame_before_the_part_ends_no_way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.video.clips.MOST_DECODED", 5)
    path = damaged(faststart(tmp_path / "in.mp4", count=20), 6)
    with open_part(path, 0, 20) as whole, pytest.raises(VideoFileError, match="cannot be decoded"):
        whole.check()
    with open_part(path, 10, 10) as part:
        part.check()
        assert [number_of(part[index]) for index in range(9, -1, -1)] == list(range(19, 9, -1))


def test_packets_that_show_nothing_are_no_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.video.clips.MOST_DECODED", 5)
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}
    path = write_video(tmp_path / "in.webm", count=23, codec="libvpx", options=options, gop=100)
    assert read_clip(path).frame_count == 23


def test_pixels_that_are_no_squares_are_stretched_to_squares(tmp_path: Path) -> None:
    for aspect, size in ((Fraction(64, 45), (48, 91)), (Fraction(1, 2), (96, 64)), (Fraction(1, 100), (48, 64))):
        path = write_video(tmp_path / "in.mp4", count=3, aspect=aspect)
        out = tmp_path / "out.mp4"
        with VideoFrames(path) as frames, VideoWriter(out, frames) as writer:
            assert (frames.size, frames[2].shape[:2]) == (size, size)
            writer.write(frames[0])
        with av.open(str(out)) as container:
            assert container.streams.video[0].sample_aspect_ratio == 1


@pytest.mark.parametrize(
    ("size", "tagged", "meant"),
    [
        ((720, 1280), None, Colorspace.ITU709),
        ((720, 1280), Colorspace.ITU601, Colorspace.ITU601),
        ((720, 1280), Colorspace.ITU709, Colorspace.ITU709),
        ((96, 128), None, Colorspace.ITU601),
        ((96, 128), Colorspace.ITU709, Colorspace.ITU709),
    ],
)
def test_colours_are_those_that_are_said_or_else_those_of_the_size(
    size: tuple[int, int], tagged: Colorspace | None, meant: Colorspace, tmp_path: Path
) -> None:
    colour = np.array([200, 40, 60], dtype=np.uint8)
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv444p"
        if tagged is not None:
            stream.codec_context.colorspace = tagged.value
        picture = av.VideoFrame.from_ndarray(np.full((*size, 3), colour), format="rgb24")
        stored = picture.reformat(format="yuv444p", dst_colorspace=meant)
        stored.colorspace = 2 if tagged is None else tagged.value
        container.mux(stream.encode(stored))
        container.mux(stream.encode(None))
    with VideoFrames(path) as frames:
        assert np.abs(frames[0].astype(int) - colour).max() <= 3


# What a display matrix (a, b, c, d) does to a picture: x and y become a x + c y and b x + d y.
TURNS: dict[tuple[int, int, int, int], Callable[[np.ndarray], np.ndarray]] = {
    (1, 0, 0, 1): lambda stored: stored,
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (-1, 0, 0, -1): lambda stored: np.rot90(stored, 2),
    (0, -1, 1, 0): np.rot90,
    (0, 1, -1, 0): lambda stored: np.rot90(stored, -1),
    (0, 1, 1, 0): lambda stored: stored.swapaxes(0, 1),
}


@pytest.mark.parametrize("matrix", TURNS)
def test_frames_are_turned_and_mirrored_as_the_file_says(matrix: tuple[int, int, int, int], tmp_path: Path) -> None:
    path = write_video(tmp_path / "in.mp4", count=3, turn=90)
    turned = (np.array([0, -1, 0, 1, 0, 0]) * 65536).astype(">i4")  # in the track's header, as it was written
    a, b, c, d = matrix
    wanted = (np.array([a, b, 0, c, d, 0]) * 65536).astype(">i4")
    content = path.read_bytes()
    assert content.count(turned.tobytes()) == 1
    path.write_bytes(content.replace(turned.tobytes(), wanted.tobytes()))
    with VideoFrames(path) as frames:
        expected = TURNS[matrix](grey_frame(2))
        assert frames.size == expected.shape[:2]
        assert np.abs(frames[2].astype(int) - expected.astype(int)).mean() < 4


def test_names_with_a_colon_and_names_that_are_no_text_are_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = write_video(tmp_path / "base.mp4", count=3)
    for name in ("2024-05-01T12:30:00.mp4", "http:clip.mp4", "\udcff.mp4", "a%d #?.mp4"):
        shutil.copy(base, name)
        with VideoFrames(Path(name)) as frames, VideoWriter(Path(f"out:{name}"), frames) as writer:
            for frame in frames:
                writer.write(frame)
        with VideoFrames(Path(f"out:{name}")) as written:
            assert number_of(written[2]) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.mp4", "ffconcat version 1.0\nfile base.mp4\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nbase.ts\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nbase.ts\n#EXT-X-ENDLIST\n"),
        ("list.mpd", '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>'),
        ("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\n"),
        ("list.mp4", ";FFMETADATA1\ntitle=x\n"),
    ],
)
def test_scripts_and_lists_that_name_other_files_are_no_videos(name: str, content: str, tmp_path: Path) -> None:
    write_video(tmp_path / "base.mp4", count=3)
    write_video(tmp_path / "base.ts", count=3)
    (tmp_path / name).write_text(content)
    with pytest.raises(VideoFileError, match=r"got a picture, text or frames|is not a video that can be read"):
        VideoFrames(tmp_path / name)


def test_a_rate_that_the_times_of_the_frames_belie_is_not_believed() -> None:
    """As of DV, whose container tells 60,000 frames a second; a rate that fits is kept to the fraction."""
    seconds = tuple(Fraction(number, 25) for number in range(5))
    table = decoding.FrameTable(seconds, None, (0,), is_decoded=True)
    assert table.mean_rate(Fraction(60_000)) == 25
    assert table.mean_rate(Fraction(30_000, 1001)) == Fraction(30_000, 1001)
    assert decoding.FrameTable((Fraction(0),), None, (0,), is_decoded=True).mean_rate(Fraction(7)) == 7


def test_whatever_a_decoder_raises_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "in.mp4", count=3)

    def broken(*_: object) -> None:
        raise TypeError("inside")

    monkeypatch.setattr(decoding, "whole_frames", broken)
    with pytest.raises(VideoFileError, match=r"is not a video that can be read \(inside\)"):
        VideoFrames(path)
