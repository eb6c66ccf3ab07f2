"""The reference mask that is drawn, or the scene's own, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.test_page import ask, expect_three_answers, upload

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def settled(page: Page) -> Iterator[None]:
    """Leave the page only once its editor is set up: Gradio's raises an error where it is closed before."""
    yield
    page.wait_for_timeout(1500)


def open_differences(page: Page) -> None:
    page.get_by_role("tab", name="Differences").click()
    expect(page.locator("#differences-picture img")).to_be_visible()


def choose_kind(page: Page, name: str) -> None:
    page.locator("#reference-kind label", has_text=name).click()


def figures_of(page: Page, title: str) -> Locator:
    return page.locator("#differences-reference tr", has_text=title).locator("td")


def paint(page: Page, first: tuple[float, float], last: tuple[float, float]) -> None:
    """Draw a line between two points, given as shares of the picture's width and height."""
    canvas = page.locator("#reference-editor canvas").first
    canvas.scroll_into_view_if_needed()
    zoom = page.locator("#reference-editor", has_text="%")
    expect(zoom).to_be_visible()
    page.wait_for_timeout(500)
    scale = int(re.search(r"(\d+)%", zoom.inner_text())[1]) / 100
    box, width, height = canvas.bounding_box(), *shown_size(page)
    centre = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    places = [(centre[0] + (x - 0.5) * width * scale, centre[1] + (y - 0.5) * height * scale) for x, y in (first, last)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=8)
    page.mouse.up()


def shown_size(page: Page) -> list[int]:
    """(width, height) of the picture that lies on the editor."""
    shown = page.locator("#differences-picture img")
    return shown.evaluate("(image) => [image.naturalWidth, image.naturalHeight]")


def test_a_mask_is_drawn_and_every_strategy_is_measured_against_it(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "the square")
    expect_three_answers(page)
    open_differences(page)
    expect(page.locator("#reference-kind label")).to_have_count(2)
    choose_kind(page, "Draw one")
    page.click("#reference-take")
    expect(page.locator("#reference-status [role=alert]")).to_contain_text("Nothing is painted yet")
    expect(page.locator("#differences-reference")).to_contain_text("No reference mask is known here")

    paint(page, (0.4, 0.23), (0.5, 0.23))
    page.click("#reference-take")
    expect(page.locator("#differences-reference")).to_contain_text("Your drawing")
    ciou, giou, boundary, count = figures_of(page, "CLIP text").all_inner_texts()
    assert 0.2 < float(ciou) == float(giou) < 1
    assert 0 <= float(boundary) < 1
    assert count == "1"
    assert figures_of(page, "EVF-SAM").all_inner_texts() == ["0.000", "0.000", "0.000", "1"]

    page.click("#reference-clear")
    expect(page.locator("#differences-reference")).to_contain_text("No reference mask is known here")
    paint(page, (0.7, 0.3), (0.8, 0.3))
    page.locator("#reference-editor").get_by_role("button", name="Undo").click()
    page.click("#reference-take")
    expect(page.locator("#reference-status [role=alert]")).to_contain_text("Nothing is painted yet")


def test_a_scene_brings_its_own_mask_and_a_drawing_takes_its_place(page: Page) -> None:
    page.click("#new-scene")
    expect_three_answers(page)
    open_differences(page)
    expect(page.get_by_label("This scene's own mask")).to_be_checked()
    expect(page.locator("#differences-reference")).to_contain_text("The scene's own mask of this phrase")
    before = figures_of(page, "EVF-SAM").all_inner_texts()
    assert len(before) == 4

    choose_kind(page, "Draw one")
    expect(page.locator("#differences-reference")).to_contain_text("draw one")
    paint(page, (0.2, 0.5), (0.8, 0.5))
    page.click("#reference-take")
    expect(page.locator("#differences-reference")).to_contain_text("Your drawing")
    choose_kind(page, "This scene's own mask")
    expect(page.locator("#differences-reference")).to_contain_text("The scene's own mask of this phrase")
    assert figures_of(page, "EVF-SAM").all_inner_texts() == before

    page.get_by_role("tab", name="Compare").click()
    page.click("#new-scene")
    expect(page.locator("#status")).not_to_contain_text("answered")
    expect_three_answers(page)
    open_differences(page)
    choose_kind(page, "Draw one")
    expect(page.locator("#differences-reference")).not_to_contain_text("Your drawing")
    expect(page.locator("#reference-editor canvas").first).to_be_visible()
