"""Handlers of the Video tab called as functions, over strategies that look for colours."""

import json
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from tests.browser.clips import colour_clip
from tests.webui.fakes import fake_comparison
from tests.workbench.videos import write_video
from webui.blocks import LAUNCH_LIMITS
from webui.tabs.compare.tab import build_compare
from webui.tabs.video import tab as video
from webui.tabs.video import wording as video_wording
from webui.tabs.video.components import build_parts
from webui.tabs.video.tab import VideoTab
from workbench.limits import LARGEST_FILE_MB
from workbench.video import clips as video_clips
from workbench.zero_gpu import clip_asker

Updates = dict[object, object]


@pytest.fixture
def tab(monkeypatch: pytest.MonkeyPatch) -> VideoTab:
    monkeypatch.setattr(video, "_REDRAW_SECONDS", 0.0)
    with gr.Blocks():
        page = build_compare(fake_comparison()[0], ())
        asker = clip_asker(page.comparison)
        return VideoTab(page, asker, build_parts(asker))


def upload(path: Path) -> dict[str, object]:
    return {"path": str(path)}


def taken(tab: VideoTab, path: Path) -> object:
    return tab.take_upload(upload(path))[tab.ui.clip]


def work(tab: VideoTab, path: Path, phrase: str = "a square", frame: int = 0) -> Iterator[Updates]:
    return tab.segment(taken(tab, path), phrase, ["evf-sam"], 0, frame)


def test_a_clip_becomes_a_video_and_two_kinds_of_masks(tab: VideoTab, tmp_path: Path) -> None:
    shown = []
    for updates in work(tab, colour_clip(tmp_path / "clip.mp4", 4), frame=2):
        shown.append(str(updates.get(tab.ui.status)))
        if tab.ui.place in updates:
            files = [updates[button]["value"] for button in tab.ui.results["evf-sam"].downloads]
            sizes = [Path(name).stat().st_size for name in files if name]
    assert "Reading the clip" in shown[0]
    assert any("2 of 4 frames are segmented. About" in words for words in shown)
    assert any("Writing the video: 3 of 4" in words for words in shown)
    assert "Done: 4 frames, with a mask on 4." in shown[-1]
    assert len(sizes) == 3
    assert min(sizes) > 100
    assert not Path(files[0]).exists(), "the server keeps nothing of its own"


def test_a_stop_is_obeyed_and_what_is_done_can_be_taken_away(tab: VideoTab, tmp_path: Path) -> None:
    steps = work(tab, colour_clip(tmp_path / "clip.mp4", 6))
    flag = next(steps)[tab.ui.flag]
    for updates in steps:
        if "2 of 6 frames" in str(updates.get(tab.ui.status)):
            assert "what is done is kept" in str(tab.stop(flag)[tab.ui.status])
        if tab.ui.place in updates:
            kept = updates
        if "Stopped" in str(updates.get(tab.ui.status)):
            break
    assert "Stopped: 2 of 6 frames are kept, with a mask on 2." in str(updates[tab.ui.status])
    assert kept[tab.ui.results["evf-sam"].downloads[0]]["value"].endswith("overlay.mp4")


def test_a_clip_that_is_too_long_is_told_before_the_work_and_a_part_can_be_chosen(
    tab: VideoTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_clips, "FRAME_LIMIT", 10)
    updates = tab.take_upload(upload(write_video(tmp_path / "long.mp4", count=50)))
    assert "only 0.4 s are segmented, frames 0 to 9." in str(updates[tab.ui.status])
    assert updates[tab.ui.start] == gr.update(value=0, maximum=1.6, visible=True)
    moved = tab.look(updates[tab.ui.clip], 1.0, 0)
    assert "frames 25 to 34." in str(moved[tab.ui.status])
    assert moved[tab.ui.frame] == gr.update(minimum=25, maximum=34, value=25, visible=True)
    end = tab.look(updates[tab.ui.clip], 99.0, 99)
    assert end[tab.ui.frame] == gr.update(minimum=40, maximum=49, value=49, visible=True)


@pytest.mark.parametrize("content", [b"", b"hello " * 500])
def test_what_is_no_video_is_told_when_it_is_uploaded(tab: VideoTab, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes.mp4").write_bytes(content)
    updates = tab.take_upload(upload(tmp_path / "notes.mp4"))
    words = str(updates[tab.ui.status])
    assert "notes.mp4" in words
    assert 'role="alert"' in words
    assert str(tmp_path) not in words
    assert updates[tab.ui.clip] is None


@pytest.mark.parametrize("payload", [None, 5, {"path": 7}, {}])
def test_clients_may_send_anything(tab: VideoTab, payload: object) -> None:
    assert "There is no clip yet" in str(tab.take_upload(payload)[tab.ui.status])


def test_without_a_clip_or_a_phrase_nothing_is_asked_and_nothing_is_lost(tab: VideoTab, tmp_path: Path) -> None:
    (updates,) = tab.segment(None, "a square", ["evf-sam"], 0, 0)
    assert "There is no clip yet" in str(updates[tab.ui.status])
    (updates,) = work(tab, colour_clip(tmp_path / "clip.mp4", 2), phrase=" ")
    assert "The phrase is empty. Type what to segment" in str(updates[tab.ui.status])
    assert set(updates) == {tab.ui.status, tab.ui.flag, tab.ui.stop}


def test_a_phrase_that_is_absent_on_its_frame_is_told_with_what_to_do(tab: VideoTab, tmp_path: Path) -> None:
    *_, updates = work(tab, colour_clip(tmp_path / "clip.mp4", 3), phrase="absent", frame=1)
    words = str(updates[tab.ui.status])
    assert "Probably not in this image" in words
    assert "That is frame 1, which the phrase is about: choose a frame that shows it, or other words." in words
    assert tab.ui.results["evf-sam"].video not in updates


def test_a_clip_that_breaks_off_keeps_what_was_done(
    tab: VideoTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = video_clips.ClipPart.__getitem__

    def breaking(part: video_clips.ClipPart, index: int) -> object:
        if index == 3:
            raise video_clips.VideoFileError("the clip is damaged")
        return read(part, index)

    monkeypatch.setattr(video_clips.ClipPart, "__getitem__", breaking)
    *_, kept, updates = work(tab, colour_clip(tmp_path / "clip.mp4", 5))
    assert "Ended early: 3 of 5 frames are kept" in str(updates[tab.ui.status])
    assert "The clip is damaged" in str(updates[tab.ui.status])
    assert kept[tab.ui.results["evf-sam"].downloads[1]]["interactive"]


def test_the_example_clip_fills_clip_and_phrase(tab: VideoTab) -> None:
    (updates,) = tab.take_example()
    assert updates[tab.ui.phrase] == "the yellow penguin"
    assert "clip-moving.mp4: 3.0 s, 48 frames of 320 × 320 pixels. All of it is segmented." in str(
        updates[tab.ui.status]
    )
    assert updates[tab.ui.frame]["maximum"] == 47


def test_several_strategies_take_turns_and_what_is_left_is_told_as_far_as_it_is_known(
    tab: VideoTab, tmp_path: Path
) -> None:
    clip = taken(tab, colour_clip(tmp_path / "clip.mp4", 3))
    shown, kept = [], set()
    for updates in tab.segment(clip, "a square", ["evf-sam", "point-query"], 0, 0):
        shown.append(str(updates.get(tab.ui.status)))
        kept |= {key for key, result in tab.ui.results.items() if updates.get(result.whole) == gr.update(visible=True)}
    first = next(words for words in shown if "EVF-SAM: 2 of 3 frames" in words)
    assert "About" in first
    assert "Strategies that follow: 1." in first
    assert not any("Point query: " in words and "that follow" in words for words in shown)
    assert "EVF-SAM: Done: 3 frames, with a mask on 3. Point query: Done: 3 frames" in shown[-1]
    assert kept == {"evf-sam", "point-query"}


def test_a_clip_without_a_strategy_is_not_asked(tab: VideoTab, tmp_path: Path) -> None:
    clip = taken(tab, colour_clip(tmp_path / "clip.mp4", 2))
    (updates,) = tab.segment(clip, "a square", [], 0, 0)
    assert "No strategy is chosen" in str(updates[tab.ui.status])


def test_strategies_without_memory_say_so(tab: VideoTab) -> None:
    assert "No memory carries the mask between frames" in tab.take_strategies(["evf-sam"])
    assert "memory carries the mask to the others" in video_wording.memory_notes({"EVF-SAM2": True})
    both = video_wording.memory_notes({"EVF-SAM2": True, "CLIP text": False})
    assert "EVF-SAM2: The phrase is asked on one frame" in both
    assert "CLIP text: No memory" in both


def test_the_size_told_is_the_size_that_uploads_may_have() -> None:
    assert LAUNCH_LIMITS["max_file_size"] == f"{LARGEST_FILE_MB}mb"
    assert json.loads((Path(video.__file__).parents[2] / "i18n/languages/zh/video.json").read_text("utf-8"))
