"""The Video tab in a real browser, over fake strategies."""

import json
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.clips import colour_clip
from tests.workbench.videos import write_video

pytestmark = pytest.mark.browser

IS_PLAYABLE = (
    "() => { const clip = document.querySelector('#video-result-evf-sam video'); return clip && clip.readyState >= 2; }"
)


def opened_tab(page: Page) -> None:
    page.get_by_role("tab", name="Video", exact=True).click()
    expect(page.locator("#video-status")).to_contain_text("Choose a clip or take the example")


def choose(page: Page, path: Path) -> None:
    page.set_input_files("#video-file input[type=file]", path)
    expect(page.locator("#video-status")).to_contain_text(path.name)


def save(page: Page, name: str) -> Path:
    with page.expect_download() as download:
        page.click(f"#video-{name}-evf-sam")
    return download.value.path()


def test_a_clip_becomes_a_video_that_plays_and_masks_to_download(page: Page, tmp_path: Path) -> None:
    opened_tab(page)
    expect(page.locator("#video-memory")).to_contain_text("No memory carries the mask between frames")
    choose(page, colour_clip(tmp_path / "squares.mp4", 4))
    expect(page.locator("#video-picture img")).to_have_attribute(
        "alt", "Frame 0, at 0.00 s: the phrase is about this one."
    )
    page.locator("#video-frame input[type=number]").fill("2")
    page.locator("#video-frame input[type=number]").press("Tab")
    expect(page.locator("#video-picture")).to_contain_text("Frame 2, at 0.20 s")
    page.locator("#video-phrase input, #video-phrase textarea").fill("a square")
    page.click("#video-ask")
    expect(page.locator("#video-status progress")).to_be_visible()
    expect(page.locator("#video-status")).to_contain_text("Done: 4 frames, with a mask on 4.")
    page.wait_for_function(IS_PLAYABLE)
    assert page.evaluate("document.querySelector('#video-result-evf-sam video').videoWidth") == 160
    assert save(page, "mp4").read_bytes()[4:8] == b"ftyp"
    with zipfile.ZipFile(save(page, "masks")) as archive:
        assert len(archive.namelist()) == 4
    assert json.loads(save(page, "rle").read_text())["prompt_frame"] == 2


def test_several_strategies_take_turns_with_a_clip_and_say_what_is_left(page: Page, tmp_path: Path) -> None:
    opened_tab(page)
    choose(page, colour_clip(tmp_path / "squares.mp4", 6))
    page.locator("#video label:visible", has_text="CLIP text").first.click()
    page.locator("#video-phrase input, #video-phrase textarea").fill("a square")
    page.click("#video-ask")
    expect(page.locator("#video-status")).to_contain_text(re.compile(r"\d s.* left"))
    for key in ("evf-sam", "clip-text"):
        page.wait_for_function(IS_PLAYABLE.replace("evf-sam", key))


def test_a_clip_is_stopped_and_keeps_what_is_done(page: Page, tmp_path: Path) -> None:
    opened_tab(page)
    choose(page, colour_clip(tmp_path / "squares.mp4", 40))
    page.locator("#video-phrase input, #video-phrase textarea").fill("a square")
    page.click("#video-ask")
    expect(page.locator("#video-status")).to_contain_text("of 40 frames are segmented")
    page.click("#video-stop")
    expect(page.locator("#video-status")).to_contain_text("of 40 frames are kept")
    page.wait_for_function(IS_PLAYABLE)


def test_too_long_clips_and_what_is_no_video_are_told_before_the_work(page: Page, tmp_path: Path) -> None:
    opened_tab(page)
    expect(page.locator("#video")).to_contain_text("At most 240 frames are segmented at one time, 10 s at 24 a second")
    choose(page, write_video(tmp_path / "long.mp4", count=300))
    expect(page.locator("#video-status")).to_contain_text("only 9.6 s are segmented, frames 0 to 239.")
    page.locator("#video-start input[type=number]").fill("2")
    page.locator("#video-start input[type=number]").press("Tab")
    expect(page.locator("#video-status")).to_contain_text("frames 50 to 289.")
    page.locator("#video-file").get_by_role("button", name="Clear").first.click()
    expect(page.locator("#video-status")).to_contain_text("Choose a clip")
    (tmp_path / "notes.mp4").write_text("no video")
    choose(page, tmp_path / "notes.mp4")
    expect(page.locator("#video-status [role=alert]")).to_contain_text("is not a video that can be read")


def test_the_example_clip_needs_one_press(page: Page) -> None:
    opened_tab(page)
    page.click("#video-example")
    expect(page.locator("#video-status")).to_contain_text("48 frames of 320 × 320 pixels. All of it is segmented.")
    expect(page.locator("#video-phrase input, #video-phrase textarea")).to_have_value("the yellow penguin")
    expect(page.locator("#video-picture img")).to_be_visible()
