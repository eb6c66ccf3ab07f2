import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from evfsam.errors import ConfigurationError, EvfSamError, PhraseError
from evfsam.video.followers import FrameByFrame
from evfsam.video.tracking import FrameMask
from tests.workbench.doubles import suite_of
from tests.workbench.test_zero_gpu import FakeSpaces
from tests.workbench.videos import write_video
from workbench.comparison import Comparison
from workbench.datasets.coco_masks import decode_mask
from workbench.video.clip_run import (
    ClipAsker,
    ClipOrder,
    ClipProgress,
    StopFlag,
    chosen_strategy,
    clip_files,
    run_clip,
    write_clip,
)
from workbench.video.clips import FRAME_LIMIT, open_part
from workbench.video.video_files import VideoFrames
from workbench.zero_gpu import LONGEST_SECONDS, GpuUnavailableError, LentClipAsker, ZeroGpuComparison, clip_asker


@pytest.fixture
def order(tmp_path: Path) -> ClipOrder:
    clip = write_video(tmp_path / "clip.mp4", count=8)
    return ClipOrder(clip, "left", "light", first=1, count=5, prompt_frame=2, stop=StopFlag(tmp_path / "stop"))


@pytest.fixture
def asker(tmp_path: Path) -> ClipAsker:
    return clip_asker(Comparison(suite_of(tmp_path, left="load_bright")))


def last(asker: ClipAsker, order: ClipOrder) -> ClipProgress:
    return list(run_clip(asker, order))[-1]


def test_the_part_is_segmented_frame_by_frame_and_the_time_left_is_told(asker: ClipAsker, order: ClipOrder) -> None:
    steps = list(run_clip(asker, order))
    assert [step.latest.index for step in steps[:-1]] == [2, 1, 0, 3, 4]
    assert [step.is_done for step in steps] == [False] * 5 + [True]
    assert steps[0].seconds_left is None
    assert all(step.seconds_left is not None for step in steps[1:])
    assert sorted(steps[-1].masks) == [0, 1, 2, 3, 4]
    assert steps[-1].found_count == 5
    assert not steps[-1].latest.carries_memory
    with open_part(order.path, 1, 5) as part:
        for index, packed in steps[-1].masks.items():
            assert np.array_equal(packed.mask, part[index].astype(np.float32).mean(axis=2) > 128)


def test_others_are_answered_between_two_frames_of_a_clip(asker: ClipAsker, order: ClipOrder) -> None:
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    steps = run_clip(asker, order)
    next(steps)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: list(asker.comparison.run(image, "light")))
        assert [one.segmentation.verdict.kind != "failed" for one in asked.result(timeout=30)] == [True]
    assert list(steps)[-1].found_count == 5


def test_a_clip_waits_for_its_turn_at_the_models(
    asker: ClipAsker, order: ClipOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow, followed = FrameByFrame.follow, Event()

    def told(*arguments: Any, **options: Any) -> Iterator[FrameMask]:
        followed.set()
        return follow(*arguments, **options)

    monkeypatch.setattr(FrameByFrame, "follow", told)
    with ThreadPoolExecutor(1) as pool:
        with asker.comparison.turns.taken():
            begun = pool.submit(lambda: next(run_clip(asker, order)))
            with pytest.raises(TimeoutError):
                begun.result(timeout=1)
            assert not followed.is_set(), "a follower with a memory asks its model at once"
        assert begun.result(timeout=30).masks
    assert followed.is_set()


def test_a_stop_ends_after_the_frame_under_way_and_keeps_what_is_done(asker: ClipAsker, order: ClipOrder) -> None:
    steps = []
    for step in run_clip(asker, order):
        steps.append(step)
        if len(step.masks) == 2:
            order.stop.set()
    assert sorted(steps[-1].masks) == [1, 2]
    assert steps[-1].is_done


def test_a_stop_flag_may_come_too_late(tmp_path: Path) -> None:
    StopFlag(tmp_path / "gone" / "stop").set()
    assert not (tmp_path / "gone").exists()


def test_a_phrase_that_is_not_on_its_frame_is_doubted(asker: ClipAsker, order: ClipOrder) -> None:
    assert last(asker, order).doubt == ""
    absent = last(asker, replace(order, phrase="nothing"))
    assert absent.doubt == "Probably not in this image: the mask is empty."
    assert absent.found_count == 0


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"phrase": " "}, PhraseError, "phrase"),
        ({"strategy": "other"}, ConfigurationError, "unknown strategy"),
        (
            {"count": FRAME_LIMIT + 1},
            ConfigurationError,
            f"1 to {FRAME_LIMIT} frames at one time, got {FRAME_LIMIT + 1}",
        ),
        ({"count": 0}, ConfigurationError, "got 0"),
        ({"prompt_frame": 5}, ConfigurationError, "one of the 5 frames that are segmented, got frame 5"),
    ],
)
def test_orders_that_cannot_be_carried_out_are_refused_at_once(
    asker: ClipAsker, order: ClipOrder, changed: dict[str, object], error: type[EvfSamError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_clip(asker, replace(order, **changed))


def test_the_clip_goes_to_an_evf_sam2_where_there_is_one(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, **{"clip-text": "load_bright", "evf-sam": "load_bright", "evf-sam2": "load_bright"})
    assert chosen_strategy(Comparison(suite)) == "evf-sam2"
    comparison = Comparison(suite_of(tmp_path, **{"clip-text": "load_bright", "evf-sam": "load_bright"}))
    assert chosen_strategy(comparison) == "evf-sam"
    asker = ClipAsker(Comparison(suite))
    assert asker.carries_memory("evf-sam2")
    assert not asker.carries_memory("evf-sam")
    asker.comparison.strategy("evf-sam2")
    assert not asker.carries_memory("evf-sam2"), "its weights turned out to have none"


def test_a_segmented_clip_is_taken_away_as_video_masks_and_run_lengths(
    asker: ClipAsker, order: ClipOrder, tmp_path: Path
) -> None:
    progress = last(asker, order)
    assert list(write_clip(tmp_path / "out", progress)) == [1, 2, 3, 4, 5]
    files = clip_files(tmp_path / "out")
    with VideoFrames(files.video) as video, open_part(order.path, 1, 5) as part:
        assert (len(video), video.rate, video.size) == (5, 25, (48, 64))
        assert np.abs(video[4].astype(int) - part[4].astype(int)).mean() > 1  # the mask is laid over
    with zipfile.ZipFile(files.masks) as archive:
        assert archive.namelist() == [f"mask-00000{number}.png" for number in range(1, 6)]
        with Image.open(BytesIO(archive.read("mask-000003.png"))) as picture:
            assert np.array_equal(np.asarray(picture) > 0, progress.masks[2].mask)
    content = json.loads(files.run_lengths.read_text())
    assert (content["phrase"], content["prompt_frame"], content["carries_memory"]) == ("light", 3, False)
    assert [(frame["frame"], frame["seconds"]) for frame in content["frames"]] == [
        (number, pytest.approx(number / 25)) for number in range(1, 6)
    ]
    counts = content["frames"][2]["segmentation"]["counts"]
    assert np.array_equal(decode_mask(counts, (48, 64)), progress.masks[2].mask)


def test_a_stopped_clip_has_the_frames_that_were_done(asker: ClipAsker, order: ClipOrder, tmp_path: Path) -> None:
    *_, progress = (step for step in run_clip(asker, order) if len(step.masks) <= 2)
    assert list(write_clip(tmp_path / "out", progress)) == [1, 2]
    content = json.loads(clip_files(tmp_path / "out").run_lengths.read_text())
    assert [frame["frame"] for frame in content["frames"]] == [2, 3]


def test_one_clip_is_one_bounded_call_on_a_lent_gpu(order: ClipOrder, tmp_path: Path) -> None:
    spaces = FakeSpaces()
    asker = clip_asker(ZeroGpuComparison(suite_of(tmp_path, left="load_bright"), "cpu", torch.float32, spaces.gpu))
    assert isinstance(asker, LentClipAsker)
    assert sorted(last(asker, order).masks) == [0, 1, 2, 3, 4]
    assert len(spaces.seconds) == 1
    assert spaces.seconds[0] < asker.duration(replace(order, count=FRAME_LIMIT)) <= LONGEST_SECONDS


def test_the_seconds_of_a_clip_go_by_its_strategy(order: ClipOrder, tmp_path: Path) -> None:
    suite = suite_of(tmp_path, **dict.fromkeys(("evf-sam2", "grounded-sam", "point-query"), "load_bright"))
    asker = LentClipAsker(ZeroGpuComparison(suite, "cpu", torch.float32, FakeSpaces().gpu))
    asked = [asker.duration(replace(order, strategy=key, count=24)) for key in suite.strategies]
    assert asked == sorted(set(asked)), "a slower strategy is given more"
    asker.comparison.strategy("evf-sam2")
    longest = replace(order, strategy="evf-sam2", count=FRAME_LIMIT)
    assert asker.duration(longest) < LONGEST_SECONDS, "the longest part fits into a call"


def test_a_strategy_under_a_name_of_its_own_is_given_the_seconds_of_its_card(order: ClipOrder, tmp_path: Path) -> None:
    suite = suite_of(tmp_path, **dict.fromkeys(("evf-sam2", "mine", "another"), "load_bright"))
    mine = suite.strategies["mine"]
    named = {**suite.strategies, "mine": replace(mine, card=replace(mine.card, key="evf-sam2"))}
    asker = LentClipAsker(ZeroGpuComparison(replace(suite, strategies=named), "cpu", torch.float32, FakeSpaces().gpu))
    orders = [replace(order, strategy=key, count=24) for key in ("mine", "evf-sam2", "another")]
    of_card, usual, other = map(asker.duration, orders)
    assert of_card == usual != other


def test_a_refused_gpu_is_told_in_plain_words(order: ClipOrder, tmp_path: Path) -> None:
    spaces = FakeSpaces(fault=RuntimeError("No GPU was available after 60s"))
    asker = clip_asker(ZeroGpuComparison(suite_of(tmp_path, left="load_bright"), "cpu", torch.float32, spaces.gpu))
    with pytest.raises(GpuUnavailableError, match="All GPUs are busy"):
        last(asker, order)
