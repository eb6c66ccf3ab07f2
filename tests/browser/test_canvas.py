"""The large picture in a real browser, over fake strategies: layers, whose answer, clicks and a box on it."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import open_tab, opened
from tests.browser.test_page import ask, expect_three_answers, upload
from tests.browser.test_tabs_agreement import choose
from tests.webui.fakes import channel_mask, three_colours

pytestmark = pytest.mark.browser

AFTER = "#refine-after-card"
STAGE = "#canvas .stage"
RED, BLUE, GREY = (70, 80), (483, 140), (320, 400)
"""Places in the squares and beside them, in the picture of 640 x 480."""


def open_large(page: Page, picture: Path, phrase: str = "a square", key: str = "evf-sam") -> None:
    upload(page, picture)
    ask(page, phrase)
    expect_three_answers(page)
    look_closer(page, key)


def look_closer(page: Page, key: str) -> None:
    page.locator(f"#column-{key} .look-closer").click()
    expect(page.locator(STAGE)).to_have_attribute("data-key", key)


def position(page: Page, column: int, row: int) -> dict[str, float]:
    box = page.locator(STAGE).bounding_box()
    assert box is not None
    return {"x": (column + 0.5) * box["width"] / 640, "y": (row + 0.5) * box["height"] / 480}


def click_at(page: Page, column: int, row: int) -> None:
    page.locator(STAGE).click(position=position(page, column, row))


def colour(page: Page, place: tuple[int, int]) -> tuple[int, ...]:
    at = position(page, *place)
    picture = Image.open(BytesIO(page.locator(STAGE).screenshot())).convert("RGB")
    return picture.getpixel((round(at["x"]), round(at["y"])))


def is_near(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) < 25


def marks(page: Page) -> list[str]:
    return page.locator("#refine-marks li").all_inner_texts()


def switch(page: Page, layer: str) -> None:
    page.get_by_label(layer, exact=True).click()


def test_one_large_picture_shows_the_answer_chosen_in_the_strip_with_layers_to_switch(
    page: Page, picture: Path
) -> None:
    expect(page.locator("#canvas")).to_be_hidden()
    open_large(page, picture)
    expect(page.locator("#columns .look-closer[aria-pressed=true]")).to_have_attribute("data-key", "evf-sam")
    box, strip = page.locator(STAGE).bounding_box(), page.locator("#column-evf-sam").bounding_box()
    assert box is not None
    assert strip is not None
    assert box["width"] > 2 * strip["width"]
    dimmed = tuple(round(0.4 * value) for value in (120, 120, 120))
    assert is_near(colour(page, GREY), dimmed)
    assert colour(page, RED)[0] > 150
    switch(page, "Mask")
    switch(page, "Outline")
    assert is_near(colour(page, GREY), (120, 120, 120))
    switch(page, "Disagreement")
    assert is_near(colour(page, GREY), (72, 72, 72))
    assert not is_near(colour(page, BLUE), (30, 30, 230))
    switch(page, "Attention")
    expect(page.get_by_label("Disagreement", exact=True)).not_to_be_checked()
    assert not is_near(colour(page, GREY), (120, 120, 120))
    switch(page, "Attention")
    assert is_near(colour(page, GREY), (120, 120, 120))

    page.locator("#column-point-query h3").click()
    expect(page.locator(STAGE)).to_have_attribute("data-key", "point-query")
    expect(page.get_by_label("Attention", exact=True)).to_be_hidden()
    blue = colour(page, BLUE)
    switch(page, "Points and boxes")
    assert any(not is_near(colour(page, (BLUE[0] + off, BLUE[1])), blue) for off in range(-12, 13, 3))
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator("#canvas")).to_be_hidden()
    expect(page.locator("#evidence-evf-sam img")).to_be_visible()


def test_strategy_and_phrase_are_one_choice_for_the_large_picture_and_all_of_inspect(page: Page, picture: Path) -> None:
    open_large(page, picture, "the red square; another", "point-query")
    open_tab(page, "Inspect", "Steps")
    told = page.locator("#steps-told").get_by_role("heading", level=2)
    expect(told).to_have_text("How Point query answered “the red square”")
    choose(page, "inspect-strategy", "CLIP text")
    choose(page, "inspect-phrase", "another")
    expect(told).to_have_text("How CLIP text answered “another”")
    open_tab(page, "Verdict")
    expect(page.locator("#verdict-masks img").first).to_have_attribute("alt", re.compile("CLIP text.*another"))
    open_tab(page, "Attention")
    expect(page.locator("#attention-maps-picture")).to_contain_text("CLIP text has no attention to show")
    expect(page.locator("#attention-maps-picture figcaption")).to_contain_text("another")
    open_tab(page, "Compare")
    expect(page.locator(STAGE)).to_have_attribute("data-key", "clip-text")
    expect(page.locator("#canvas .stage-title")).to_contain_text("another")


def test_a_click_adds_to_the_mask_undo_takes_it_back_and_start_over_removes_all(page: Page, picture: Path) -> None:
    open_large(page, picture)
    expect(page.locator("#refine-undo")).to_be_disabled()
    click_at(page, *GREY)
    expect(page.locator(AFTER)).to_contain_text("Marked: 5 % of the image")
    (said,) = marks(page)
    column, row = (int(number) for number in re.findall(r"\d+", said))
    assert abs(column - 320) <= 2
    assert abs(row - 400) <= 2
    page.locator("#refine-kind label", has_text="Point off it").click()
    click_at(page, *RED)
    expect(page.locator("#refine-marks li")).to_have_count(2)
    expect(page.locator("#refine-status")).to_contain_text("Decoded again with 2 marks")
    with page.expect_download() as download:
        page.locator("#canvas a.save").click()
    assert download.value.suggested_filename == "squares-a-square-evf-sam-corrected-mask.png"
    saved = np.asarray(Image.open(download.value.path())) > 0
    assert saved[400, 320]
    assert not saved[80, 70]
    switch(page, "Before your marks")
    page.click("#refine-undo")
    expect(page.locator("#refine-marks li")).to_have_count(1)
    page.click("#refine-reset")
    expect(page.locator("#refine-marks li")).to_have_count(0)
    expect(page.locator(AFTER)).to_have_text("")


def test_a_box_is_dragged_and_a_picture_that_is_moved_gets_no_mark(page: Page, picture: Path) -> None:
    open_large(page, picture)
    page.locator("#refine-kind label", has_text="Box corner").click()
    page.locator(STAGE).evaluate("(one) => one.scrollIntoView({block: 'center'})")
    box = page.locator(STAGE).bounding_box()
    assert box is not None
    for place, act in (((1, 1), page.mouse.down), ((70, 470), page.mouse.up)):
        at = position(page, *place)
        page.mouse.move(box["x"] + at["x"], box["y"] + at["y"], steps=4)
        act()
    expect(page.locator("#refine-marks li")).to_have_count(2)
    expect(page.locator(AFTER)).to_contain_text("Marked: 2 % of the image")
    page.click("#refine-reset")
    expect(page.locator("#refine-marks li")).to_have_count(0)
    page.locator("#refine-kind label", has_text="Point on it").click()
    page.locator("[data-do=in]").click()
    page.locator(STAGE).evaluate("(one) => one.scrollIntoView({block: 'center'})")
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 140, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Reset view").click()
    click_at(page, *GREY)
    expect(page.locator("#refine-status")).to_contain_text("Decoded again with 1 mark")
    assert len(marks(page)) == 1


def test_marks_are_made_from_the_keyboard_in_the_picture_and_in_numbers(page: Page, picture: Path) -> None:
    open_large(page, picture)
    page.locator(STAGE).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#refine-marks li")).to_have_text(["A point on the object at x 332, y 240"])
    page.click("#refine-reset")
    page.locator("#refine-kind input").nth(2).press("Space")
    expect(page.locator("#refine-kind input").nth(2)).to_be_checked()
    for column, row in ((0, 0), (69, 479)):
        page.fill("#refine-x input", str(column))
        page.fill("#refine-y input", str(row))
        page.press("#refine-y input", "Enter")
        expect(page.locator("#refine-marks")).to_contain_text(f"A corner of the box at x {column}, y {row}")
    expect(page.locator(AFTER)).to_contain_text("Marked: 2 % of the image")
    page.fill("#refine-x input", "640")
    page.press("#refine-x input", "Enter")
    expect(page.locator("#refine-status [role=alert]")).to_contain_text("xpected x from 0 to 639")
    assert len(marks(page)) == 2


def test_marks_stay_for_the_next_answer_chosen_and_go_with_a_new_run(page: Page, picture: Path) -> None:
    open_large(page, picture, "a square; absent", "point-query")
    click_at(page, *GREY)
    expect(page.locator(AFTER)).to_contain_text("point-query")
    look_closer(page, "evf-sam")
    expect(page.locator(AFTER)).to_contain_text("evf-sam")
    open_tab(page, "Inspect", "Steps")
    choose(page, "inspect-phrase", "absent")
    open_tab(page, "Compare")
    expect(page.locator(AFTER)).to_contain_text("Not in the image")
    ask(page, "another square")
    expect(page.locator("#canvas .stage-title")).to_contain_text("another square")
    assert marks(page) == []
    upload(page, picture)
    expect(page.locator(STAGE)).to_have_count(0)
    expect(page.locator("#canvas")).to_contain_text("There are no answers yet")


def test_on_a_phone_the_strip_lies_over_the_picture_which_takes_the_whole_width(
    browser: Browser, fake_page: str, picture: Path
) -> None:
    with opened(browser, fake_page, width=390, height=844, has_touch=True) as page:
        open_large(page, picture)
        box = page.locator(STAGE).bounding_box()
        assert box is not None
        assert box["width"] > 340
        expect(page.locator(STAGE)).to_be_in_viewport()
        expect(page.locator("#overlay-evf-sam img")).to_be_visible()
        expect(page.locator("#overlay-evf-sam .icon-button-wrapper")).to_be_hidden()
        page.locator(STAGE).tap(position=position(page, *GREY))
        expect(page.locator(AFTER)).to_contain_text("Marked: 5 % of the image")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_saved_mask_is_the_answer_to_the_pixel(page: Page, picture: Path) -> None:
    open_large(page, picture)
    with page.expect_download() as download:
        page.locator("#canvas a.save").click()
    saved = np.asarray(Image.open(download.value.path())) > 0
    assert np.array_equal(saved, channel_mask(three_colours((480, 640)), 0))
