import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.workbench.videos import grey_frame, number_of, write_tone, write_video
from workbench.export.file_writing import UnwritableError
from workbench.video import video_files
from workbench.video.decoding import VideoFileError
from workbench.video.video_files import VideoFrames, VideoWriter


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "in.mp4", count=23, rate=Fraction(30000, 1001))


def test_frames_come_in_any_order(path: Path) -> None:
    order = [*range(23), *range(22, -1, -1), 7, 3, 22, 0, 11]
    order += random.Random(0).choices(range(23), k=30)
    with VideoFrames(path) as frames:
        assert (len(frames), frames.size, frames.rate) == (23, (48, 64), Fraction(30000, 1001))
        assert [number_of(frames[index]) for index in order] == order


def test_going_forward_decodes_each_frame_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewinds = []
    rewind = VideoFrames._rewind
    monkeypatch.setattr(VideoFrames, "_rewind", lambda frames, index: (rewinds.append(index), rewind(frames, index)))
    with VideoFrames(path) as frames:
        for index in range(len(frames)):
            assert number_of(frames[index]) == index
    assert rewinds == []


def test_going_backward_decodes_blocks_of_bounded_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_files, "_BLOCK_BYTES", 4 * 48 * 64 * 3)
    rewinds = []
    rewind = VideoFrames._rewind
    monkeypatch.setattr(VideoFrames, "_rewind", lambda frames, index: (rewinds.append(index), rewind(frames, index)))
    with VideoFrames(path) as frames:
        for index in range(22, -1, -1):
            assert number_of(frames[index]) == index
            assert len(frames._block) <= 4
    assert len(rewinds) <= 9


def test_frames_outside_are_refused(path: Path) -> None:
    with VideoFrames(path) as frames:
        for index in (-1, 23):
            with pytest.raises(IndexError, match=f"a frame from 0 to 22, got {index}"):
                frames[index]
        assert [number_of(frame) for frame in frames[20:]] == [20, 21, 22]


def test_turned_videos_are_read_upright(tmp_path: Path) -> None:
    with VideoFrames(write_video(tmp_path / "turned.mp4", count=3, turn=90)) as frames:
        assert frames.size == (64, 48)
        upright = np.rot90(grey_frame(2))
        assert np.abs(frames[2].astype(int) - upright.astype(int)).mean() < 4


def test_a_video_is_written_with_the_sources_times(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "folder" / "out.mp4"
    with VideoFrames(path) as frames, VideoWriter(out, frames) as writer:
        for frame in frames:
            writer.write(255 - frame)
    with VideoFrames(out) as written, VideoFrames(path) as frames:
        assert (len(written), written.size, written.rate) == (23, (48, 64), Fraction(30000, 1001))
        for index in range(23):
            assert abs(written.seconds(index) - frames.seconds(index)) < Fraction(1, 1000)
            assert np.abs(written[index].astype(int) - (255 - frames[index].astype(int))).mean() < 6
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    assert [file.name for file in out.parent.iterdir()] == ["out.mp4"]


def test_colours_are_kept_and_said_in_the_file(tmp_path: Path) -> None:
    colour = np.array([200, 40, 60], dtype=np.uint8)
    source = write_video(tmp_path / "in.mp4", count=2)
    with VideoFrames(source) as frames, VideoWriter(tmp_path / "out.mp4", frames) as writer:
        for _ in frames:
            writer.write(np.broadcast_to(colour, (48, 64, 3)))
    with VideoFrames(tmp_path / "out.mp4") as written:
        assert np.abs(written[1].astype(int) - colour).max() < 6
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (5, 1)


def test_uneven_times_are_kept(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = [Fraction(index * index, 100) for index in range(23)]
    monkeypatch.setattr(VideoFrames, "seconds", lambda _, index: times[index])
    with VideoFrames(path) as frames, VideoWriter(tmp_path / "out.mp4", frames) as writer:
        for frame in frames:
            writer.write(frame)
    monkeypatch.undo()
    with VideoFrames(tmp_path / "out.mp4") as written:
        assert [written.seconds(index) for index in range(23)] == pytest.approx(times, abs=1e-3)


@pytest.mark.parametrize("ending", ["webm", "mkv", "MOV"])
def test_other_kinds_and_odd_sides_are_written(ending: str, tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mkv", count=2, size=(47, 63), codec="ffv1")
    out = tmp_path / f"out.{ending}"
    with VideoFrames(source) as frames, VideoWriter(out, frames) as writer:
        for frame in frames:
            assert frame.shape == (47, 63, 3)
            writer.write(frame)
    with VideoFrames(out) as written:
        assert (len(written), written.size) == (2, (48, 64))


def test_an_interrupted_video_leaves_nothing_behind(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"

    def interrupted() -> None:
        with VideoFrames(path) as frames, VideoWriter(out, frames) as writer:
            writer.write(frames[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def _picture(path: Path) -> None:
    Image.fromarray(grey_frame(0)).save(path, format="PNG")


def _cut(path: Path) -> None:
    whole = write_video(path.with_name("whole.mp4")).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "there is no file"),
        (lambda path: path.mkdir(), "there is no file"),
        (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
        (lambda path: path.write_text("hello " * 500), "not a video that can be read|picture or text"),
        (lambda path: path.write_bytes(random.Random(0).randbytes(5000)), "is not a video that can be read"),
        (_picture, "expected a video, got a picture, text or frames"),
        (_cut, "is not a video that can be read"),
    ],
    ids=["none", "folder", "empty", "text", "noise", "picture", "cut short"],
)
def test_what_is_no_video_is_refused_in_words(make: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(VideoFileError, match=message):
        VideoFrames(path)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoFileError, match="has no picture track"):
        VideoFrames(write_tone(tmp_path / "tone.wav"))


def test_outputs_of_other_kinds_and_unwritable_ones_are_refused(path: Path, tmp_path: Path) -> None:
    with VideoFrames(path) as frames:
        with pytest.raises(VideoFileError, match=r"ending in \.mp4, \.mov, \.mkv, \.webm, got 'out\.avi'"):
            VideoWriter(tmp_path / "out.avi", frames)
        (tmp_path / "file").touch()
        with pytest.raises(UnwritableError, match="cannot write"):
            VideoWriter(tmp_path / "file" / "out.mp4", frames)
        writer = VideoWriter(tmp_path / "out.mp4", frames)
        writer.write(frames[0])
        (tmp_path / "out.mp4").mkdir()  # in the way of what is written
        with pytest.raises(UnwritableError, match="cannot write"):
            writer.__exit__(None, None, None)
