from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from evfsam.errors import ConfigurationError
from tests.workbench.videos import grey_frame, number_of, write_video
from workbench.comparison import Comparison
from workbench.suites.full import full_suite
from workbench.suites.registry import MINI
from workbench.video import clips as video_clips
from workbench.video import decoding
from workbench.video.clip_run import PackedMask
from workbench.video.clips import FRAME_LIMIT, SLOW_FRAME_LIMIT, Clip, frame_limit, open_part, read_clip
from workbench.video.decoding import VideoFileError


def write_gif(path: Path, count: int = 4) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "rgb8"
        for index in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey_frame(index), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_clip_is_known_before_it_is_segmented(tmp_path: Path) -> None:
    clip = read_clip(write_video(tmp_path / "clip.mp4", count=50))
    assert (clip.frame_count, clip.rate, clip.size, clip.stored_size) == (50, 25, (48, 64), (48, 64))
    assert clip.seconds == pytest.approx(2.0)
    assert (clip.part_count(20), clip.part_count(80)) == (20, 50)
    assert clip.seconds_of(20) == pytest.approx(0.8)


def test_an_animated_gif_is_a_clip(tmp_path: Path) -> None:
    assert read_clip(write_gif(tmp_path / "clip.gif")).frame_count == 4


def test_large_frames_are_scaled_down_and_huge_ones_refused_undecoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "clip.mp4", count=3)
    monkeypatch.setattr(video_clips, "LONGEST_SIDE", 32)
    clip = read_clip(path)
    assert (clip.size, clip.stored_size) == ((24, 32), (48, 64))
    with open_part(path, 0, 3) as part:
        assert part[2].shape == (24, 32, 3)
    monkeypatch.setattr(video_clips, "MOST_PIXELS", 3000)
    with pytest.raises(VideoFileError, match="64 × 48 pixels; save it smaller"):
        read_clip(path)


def test_a_clip_that_takes_too_long_to_look_through_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gif(tmp_path / "clip.gif")
    height, width = read_clip(path).stored_size
    monkeypatch.setattr(video_clips, "MOST_PIXELS", height * width)
    monkeypatch.setattr(decoding, "MOST_FRAMES_OF_MOST_PIXELS", 4)
    assert read_clip(path).frame_count == 4
    monkeypatch.setattr(decoding, "MOST_FRAMES_OF_MOST_PIXELS", 3)
    decoding._frame_table.cache_clear()
    with pytest.raises(VideoFileError, match="is too long for its kind; save it as MP4"):
        read_clip(path)


def test_a_part_is_numbered_from_its_first_frame_and_knows_the_clips_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", count=12)
    with open_part(path, 5, 4) as part:
        assert [number_of(frame) for frame in part] == [5, 6, 7, 8]
        assert number_of(part[3]) == 8
        assert (part.seconds(1), part.clip_seconds(1)) == (Fraction(1, 25), Fraction(6, 25))
        with pytest.raises(IndexError):
            part[4]


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (0, 0), (10, 3)])
def test_a_part_outside_the_clip_is_refused(first: int, count: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", count=12)
    with pytest.raises(ConfigurationError, match="frames 0 to 11"), open_part(path, first, count):
        pass


def test_messages_name_the_file_without_the_servers_folders(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    for use in (lambda: read_clip(path), lambda: open_part(path, 0, 1).__enter__()):
        with pytest.raises(VideoFileError, match=r"^“notes\.mp4” is not a video") as caught:
            use()
        assert str(tmp_path) not in str(caught.value)


def test_published_models_on_a_cpu_get_fewer_frames() -> None:
    full = full_suite(gated_reason=lambda _: "gated")
    assert frame_limit(Comparison(MINI)) == FRAME_LIMIT
    assert frame_limit(Comparison(full, "cpu")) == SLOW_FRAME_LIMIT
    assert frame_limit(Comparison(full, torch.device("meta"))) == FRAME_LIMIT


def test_masks_are_packed_without_loss() -> None:
    mask = np.random.default_rng(0).random((5, 7)) > 0.5
    packed = PackedMask.of(mask)
    assert packed.area == mask.sum()
    assert packed.mask.dtype == np.bool_
    assert np.array_equal(packed.mask, mask)


def test_a_still_lasts_one_frame() -> None:
    assert Clip(Path("a"), 1, Fraction(10), (4, 4), (4, 4), 0.1).part_count(24) == 1
