"""Correcting a mask by clicks, numbers and a box, in a real browser, over fake strategies."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_page import ask, expect_three_answers, upload

pytestmark = pytest.mark.browser

AFTER = "#refine-after-card"


def open_refine(page: Page, picture: Path, phrase: str = "a square") -> None:
    upload(page, picture)
    ask(page, phrase)
    expect_three_answers(page)
    page.get_by_role("tab", name="Refine").click()
    expect(page.locator("#refine-picture img")).to_be_visible()


def click_at(page: Page, column: int, row: int) -> None:
    """Click a pixel of the picture of 640 x 480."""
    shown = page.locator("#refine-picture img")
    box = shown.bounding_box()
    assert box is not None
    shown.click(position={"x": (column + 0.5) * box["width"] / 640, "y": (row + 0.5) * box["height"] / 480})


def marks(page: Page) -> list[str]:
    return page.locator("#refine-marks li").all_inner_texts()


def test_a_click_adds_to_the_mask_undo_takes_it_back_and_start_over_removes_all(page: Page, picture: Path) -> None:
    page.get_by_role("tab", name="Refine").click()
    expect(page.get_by_text("its masks can be corrected here")).to_be_visible()
    page.get_by_role("tab", name="Compare").click()
    open_refine(page, picture)
    expect(page.locator("#refine-undo")).to_be_disabled()
    click_at(page, 320, 400)
    expect(page.locator(AFTER)).to_contain_text("Marked: 5 % of the image")
    (said,) = marks(page)
    column, row = (int(number) for number in re.findall(r"\d+", said))
    assert abs(column - 320) <= 2
    assert abs(row - 400) <= 2
    expect(page.locator("#refine-after img")).to_be_visible()
    page.locator("#refine-kind label", has_text="off the object").click()
    click_at(page, 70, 80)
    expect(page.locator("#refine-marks li")).to_have_count(2)
    expect(page.locator("#refine-status")).to_contain_text("Decoded again with 2 marks")
    page.click("#refine-undo")
    expect(page.locator("#refine-marks li")).to_have_count(1)
    page.click("#refine-reset")
    expect(page.locator("#refine-marks li")).to_have_count(0)
    expect(page.locator(AFTER)).to_contain_text("The mask with your marks appears here")


def test_a_box_and_a_point_can_be_given_from_the_keyboard(page: Page, picture: Path) -> None:
    open_refine(page, picture)
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


def test_each_strategy_and_phrase_can_be_refined_and_a_new_picture_closes_it(page: Page, picture: Path) -> None:
    open_refine(page, picture, "a square; absent")
    page.locator("#refine-phrase label", has_text="absent").click()
    page.locator("#refine-strategy label", has_text="Point query").click()
    page.click("#refine-add")
    expect(page.locator(AFTER)).to_contain_text("Not in the image")
    page.locator("#refine-phrase label", has_text="a square").click()
    expect(page.locator(AFTER)).to_contain_text("Marked")
    expect(page.locator(AFTER)).to_contain_text("point-query")
    page.get_by_role("tab", name="Compare").click()
    upload(page, picture)
    page.get_by_role("tab", name="Refine").click()
    expect(page.get_by_text("its masks can be corrected here")).to_be_visible()
