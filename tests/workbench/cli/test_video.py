from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.evfsam.tiny import tiny_model, tiny_processor
from tests.workbench.doubles import suite_of
from tests.workbench.videos import save_tiny_evf_sam2, write_video
from workbench.__main__ import main
from workbench.cli.parser import EXIT_BAD_INPUT
from workbench.cli.video import _in_order
from workbench.video.video_files import VideoFrames


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_evf_sam2(tmp_path_factory.mktemp("evf-sam2"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clips") / "in.mp4", count=6, rate=Fraction(24))


def run(clip: Path, out: Path, checkpoint: Path | str, *options: str, phrase: str = "two cats") -> int:
    return main(["video", str(clip), phrase, "--out", str(out), "--checkpoint", str(checkpoint), *options])


def test_a_phrase_is_followed_and_the_video_written(
    clip: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mp4"
    assert run(clip, out, checkpoint) == 0
    assert "6 frames at 24 a second, without sound; found on" in capsys.readouterr().out
    with VideoFrames(out) as written, VideoFrames(clip) as frames:
        assert (len(written), written.rate, written.size) == (6, 24, (48, 64))
        changes = [np.abs(written[i].astype(int) - frames[i].astype(int)).mean() for i in range(6)]
    assert max(changes) > 3  # the overlay is there


def test_frames_before_the_prompted_one_are_written_in_their_place(
    clip: Path, checkpoint: Path, tmp_path: Path
) -> None:
    assert run(clip, tmp_path / "out.mp4", checkpoint, "--frame", "4") == 0
    with VideoFrames(tmp_path / "out.mp4") as written:
        levels = [float(np.median(written[index][..., 0])) for index in range(6)]
    assert len(levels) == 6
    assert levels == sorted(levels)


def test_a_folder_that_may_not_be_written_into_is_told_before_anything_is_read(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", denied)  # as for a folder that is read only; root may write into any
    monkeypatch.setattr("workbench.cli.video.VideoFrames", lambda _: pytest.fail("the video was read"))
    assert run(clip, tmp_path / "out.mp4", tmp_path / "nowhere") == EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith(f"error: cannot write {tmp_path / 'out.mp4'}: Permission denied; choose another")
    assert said.count("\n") == 1


def test_masks_made_backwards_meet_their_frames() -> None:
    frames = [np.full((5, 7, 3), index, dtype=np.uint8) for index in range(6)]
    masks = [np.random.default_rng(index).random((5, 7)) > 0.5 for index in range(6)]
    results = iter([(index, masks[index]) for index in (3, 2, 1, 0, 4, 5)])
    pairs = list(_in_order(results, frames, 3))
    assert [int(frame[0, 0, 0]) for frame, _ in pairs] == [0, 1, 2, 3, 4, 5]
    for (_, mask), expected in zip(pairs, masks, strict=True):
        assert mask.dtype == np.bool_
        assert np.array_equal(mask, expected)


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    output = capsys.readouterr()
    assert (code, output.out) == (EXIT_BAD_INPUT, "")
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    return output.err


def test_a_checkpoint_without_a_memory_for_videos_is_refused(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path / "evf-sam")
    tiny_processor(model).save_pretrained(tmp_path / "evf-sam")
    code = run(clip, tmp_path / "out.mp4", tmp_path / "evf-sam")
    assert "expected an EVF-SAM2, which has a memory for videos, got an EVF-SAM" in refused(capsys, code)
    assert not (tmp_path / "out.mp4").exists()


def test_what_cannot_be_used_is_refused_before_the_weights_are_read(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "no checkpoint"
    (tmp_path / "text.mp4").write_text("no video")
    linked = tmp_path / "linked.mp4"
    linked.hardlink_to(clip)
    cases = [
        (run(tmp_path / "text.mp4", tmp_path / "out.mp4", nowhere), "is not a video"),
        (run(tmp_path / "none.mp4", tmp_path / "out.mp4", nowhere), "there is no file"),
        (run(clip, tmp_path / "out.txt", nowhere), "expected an output file ending in"),
        (run(clip, clip, nowhere), "is the video itself"),
        (run(clip, linked, nowhere), "is the video itself"),
        (run(clip, tmp_path / "text.mp4" / "out.mp4", nowhere), "cannot write"),
        (run(clip, tmp_path / "out.mp4", nowhere, "--frame", "6"), "one of the frames 0 to 5, got frame 6"),
        (run(clip, tmp_path / "out.mp4", nowhere, phrase=" "), "expected a phrase"),
    ]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == len(cases)
    for (code, message), error in zip(cases, errors, strict=True):
        assert code == EXIT_BAD_INPUT
        assert message in error


def test_a_missing_checkpoint_is_named(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no checkpoint" in refused(capsys, run(clip, tmp_path / "out.mp4", tmp_path / "no checkpoint"))


def test_a_suites_strategy_without_memory_is_asked_frame_by_frame(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "workbench.suites.composition.choose_suite", lambda *_, **__: suite_of(tmp_path, bright="load_bright")
    )
    out = tmp_path / "out.webm"
    options = ["--suite", "mini", "--strategy", "bright", "--frame", "2"]
    assert main(["video", str(clip), "light", "--out", str(out), *options]) == 0
    assert "each frame was asked alone, since this model has no memory for videos" in capsys.readouterr().out
    with VideoFrames(out) as written:
        assert len(written) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strategy", "evf-sam"], "expected --suite beside --strategy, --option or --weights"),
        (["--suite", "mini", "--checkpoint", "somewhere"], "expected --suite or --checkpoint, got both"),
        (["--suite", "mini", "--strategy", "evf"], "unknown strategy 'evf'"),
    ],
)
def test_choices_that_exclude_each_other_are_refused(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    code = main(["video", str(clip), "light", "--out", str(tmp_path / "out.mp4"), *options])
    assert message in refused(capsys, code)
