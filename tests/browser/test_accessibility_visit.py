"""A person new to the page: from opening it to a mask in a file, plain words for every mistake, and no jumps."""

from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.browser.test_accessibility_axe import each_tab
from tests.browser.test_page import KEYS, PHRASE, ask, expect_three_answers, upload
from tests.webui.fakes import channel_mask, three_colours

pytestmark = pytest.mark.browser

WATCH_SHIFTS: Final = """
() => {
  window.shifts = [];
  new PerformanceObserver((list) => {
    const name = ({node}) => node?.id || node?.className || node?.nodeName;
    for (const entry of list.getEntries()) {
      if (!entry.hadRecentInput) window.shifts.push({value: entry.value, moved: entry.sources.map(name)});
    }
  }).observe({type: 'layout-shift', buffered: false});
}
"""
MOST_SHIFT: Final = 0.1
"""What the web's makers call good."""
TECHNICAL: Final = ("Traceback", "Error:", "None", "undefined", "null", "NaN")


def test_a_newcomer_gets_from_the_open_page_to_a_mask_in_a_file(page: Page) -> None:
    expect(page.locator("#status")).to_contain_text("example")
    page.locator("#examples button").first.click()
    expect_three_answers(page)
    link = page.get_by_role("link", name="Save mask (PNG) EVF-SAM")
    expect(link).to_be_visible()
    with page.expect_download() as download:
        link.click()
    assert download.value.suggested_filename == "scene-colour-the-blue-bus-evf-sam-mask.png"
    mask = np.asarray(Image.open(download.value.path()))
    assert set(np.unique(mask)) == {0, 255}
    assert mask.ndim == 2


def test_the_saved_mask_of_each_of_several_phrases_is_the_answers_own(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "the red square; another")
    expect_three_answers(page)
    column = page.locator("#column-evf-sam")
    expect(column.locator("a.save")).to_have_count(2)
    with page.expect_download() as download:
        column.locator("a.save").nth(1).click()
    assert download.value.suggested_filename == "squares-another-evf-sam-mask.png"
    mask = np.asarray(Image.open(download.value.path())) > 0
    assert np.array_equal(mask, channel_mask(three_colours((480, 640)), 0))


def test_several_phrases_have_a_colour_and_a_number_each_in_picture_and_legend(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "the red square; another; a third")
    expect_three_answers(page)
    rows = page.locator("#card-evf-sam .phrases li")
    expect(rows).to_have_count(3)
    assert [row.locator(".number").inner_text() for row in rows.all()] == ["1", "2", "3"]
    colours = rows.locator(".number").evaluate_all("(all) => all.map((one) => getComputedStyle(one).borderColor)")
    assert len(set(colours)) == 3
    image = page.locator("#overlay-evf-sam img")
    drawn = np.asarray(Image.open(BytesIO(page.request.get(str(image.get_attribute("src"))).body())).convert("RGB"))
    plain = three_colours((480, 640))
    assert (np.abs(drawn.astype(int) - plain).max(axis=2)[channel_mask(plain, 0)] > 20).mean() > 0.5
    assert "the red square; another; a third" in str(image.get_attribute("alt"))


def test_every_tab_says_in_plain_words_what_will_be_there_before_a_run(page: Page) -> None:
    silent = []
    for name, panel in each_tab(page):
        words = page.locator(panel).inner_text()
        if len(words.strip()) < 30 or any(each in words for each in TECHNICAL):
            silent.append(f"{name}: {words[:120]!r}")
        assert page.locator(panel).locator("img[src='']").count() == 0
    assert silent == []


def test_an_image_of_too_many_pixels_is_refused_in_one_sentence_and_the_phrase_stays(
    page: Page, tmp_path: Path
) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    page.fill(PHRASE, "the dog")
    page.set_input_files("#image input[type=file]", tmp_path / "huge.png")
    alert = page.locator("#status [role=alert]")
    expect(alert).to_contain_text("pixels")
    assert len(alert.inner_text()) < 260
    assert not any(each in alert.inner_text() for each in TECHNICAL)
    expect(page.locator(PHRASE)).to_have_value("the dog")


def test_no_strategy_chosen_is_told_and_nothing_is_lost(page: Page, picture: Path) -> None:
    upload(page, picture)
    for name in ("EVF-SAM", "CLIP text", "Point query"):
        page.locator("#strategies").get_by_role("checkbox", name=name).uncheck()
    ask(page, "the red square")
    expect(page.locator("#status [role=alert]")).to_contain_text("Choose at least one")
    expect(page.locator(PHRASE)).to_have_value("the red square")


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_jumps_while_answers_come(browser: Browser, fake_page: str, picture: Path, width: int) -> None:
    with opened(browser, fake_page, width=width) as page:
        upload(page, picture)
        page.fill(PHRASE, "the red square")
        page.evaluate(WATCH_SHIFTS)
        page.press(PHRASE, "Enter")
        expect_three_answers(page)
        for key in KEYS:
            expect(page.locator(f"#overlay-{key} img")).to_be_visible()
        page.wait_for_timeout(700)
        shifts = page.evaluate("window.shifts")
        assert sum(shift["value"] for shift in shifts) < MOST_SHIFT, shifts
