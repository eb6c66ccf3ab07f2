"""A visitor's way through the page, in a real browser, over fake strategies."""

import json
import re
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import open_tab, opened
from tests.webui.fakes import HEADS, LAYERS, channel_mask, three_colours

pytestmark = pytest.mark.browser

KEYS = ("evf-sam", "clip-text", "point-query")
TABS = ("Compare", "Inspect", "Batch", "Video", "Where it fails")
PANELS = ("Differences", "Take away")
PHRASE = "#phrase textarea, #phrase input"

WATCH_STATUS = """
() => {
  const status = document.getElementById('status');
  window.said = [];
  new MutationObserver(() => window.said.push(status.innerText)).observe(
    status, {childList: true, subtree: true, characterData: true});
}
"""
CONTRAST = """
(selector) => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const linear = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, alpha = 1] = channels(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll(selector)]
    .filter((element) => element.offsetParent && element.innerText.trim())
    .map((element) => {
      const [one, other] = [luminance(channels(getComputedStyle(element).color)), luminance(behind(element))];
      const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      return {text: element.innerText.slice(0, 40), ratio};
    });
}
"""
TEXTS = (
    ".page-head h1, .lead, .banner strong, .banner span, .status span, .card h3, .card code, .card .verdict, .card dt, "
    ".card dd, .caption, .section, .chips button, .examples span, button[role=tab], "
    "#compare, #new-scene, #download, label span, .agreement td, .agreement th, .trace .step-name, .trace p"
)


def upload(page: Page, picture: Path) -> None:
    page.set_input_files("#image input[type=file]", picture)
    expect(page.locator("#status")).to_contain_text("Your image, 640 × 480 pixels")


def ask(page: Page, phrase: str) -> None:
    page.fill(PHRASE, phrase)
    page.press(PHRASE, "Enter")


def expect_three_answers(page: Page) -> None:
    expect(page.locator("#status")).to_contain_text("All 3 strategies answered")


def test_a_visitor_uploads_asks_sees_three_answers_looks_into_attention_and_downloads(
    page: Page, picture: Path
) -> None:
    upload(page, picture)
    page.evaluate(WATCH_STATUS)
    ask(page, "the red square")
    expect_three_answers(page)
    said = page.evaluate("window.said.join(' | ')")
    assert "1 of 3 answered. CLIP text is working" in said
    assert "2 of 3 answered. Point query is working" in said
    for key in KEYS:
        expect(page.locator(f"#card-{key} .verdict")).to_contain_text("Marked: 5 % of the image")
        expect(page.locator(f"#overlay-{key} img")).to_be_visible()
    expect(page.locator("#evidence-point-query img")).to_have_attribute("alt", re.compile("25 points"))
    expect(page.locator("#evidence-clip-text img")).to_have_attribute("alt", re.compile("held the object probable"))

    open_tab(page, "Inspect")
    shown = page.locator("#attention-maps-picture img")
    before = shown.get_attribute("src")
    expect(page.locator("#attention-heads button")).to_have_count(LAYERS * (HEADS + 1))
    page.locator("#attention-heads button").nth(3).click()
    pressed = page.locator('#attention-heads button[aria-pressed="true"]')
    expect(pressed).to_have_attribute("aria-label", re.compile("^Layer 1, head 3: "))
    expect(shown).not_to_have_attribute("src", str(before))
    open_tab(page, "Compare")

    with page.expect_download() as download:
        page.click("#download")
    with zipfile.ZipFile(download.value.path()) as archive:
        result = json.loads(archive.read("result.json"))
        mask = np.asarray(Image.open(BytesIO(archive.read("evf-sam-mask.png"))))
    assert result["phrase"] == "the red square"
    assert set(result["strategies"]) == set(KEYS)
    assert np.array_equal(mask > 0, channel_mask(three_colours((480, 640)), 0))


def test_a_second_phrase_says_that_the_embedding_was_reused(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "the first phrase")
    expect_three_answers(page)
    ask(page, "the second phrase")
    expect(page.locator("#status")).to_contain_text("reused: nothing was encoded again")


def test_an_empty_phrase_shows_a_message_and_keeps_the_image(page: Page, picture: Path) -> None:
    upload(page, picture)
    page.press(PHRASE, "Enter")
    expect(page.locator("#status [role=alert]")).to_contain_text("The phrase is empty")
    expect(page.locator("#image img").first).to_be_visible()
    ask(page, "now with words")
    expect_three_answers(page)


def test_a_phrase_without_an_image_shows_a_message_and_keeps_the_phrase(page: Page) -> None:
    ask(page, "the dog")
    expect(page.locator("#status [role=alert]")).to_contain_text("There is no image yet")
    expect(page.locator(PHRASE)).to_have_value("the dog")


def test_a_broken_file_shows_a_message_without_a_traceback(page: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"this is no picture")
    page.set_input_files("#image input[type=file]", tmp_path / "broken.png")
    expect(page.locator("#status [role=alert]")).to_contain_text("xpected an image")
    assert "Traceback" not in page.content()


def test_a_random_scene_offers_phrases_that_run_at_a_click_and_are_measured(page: Page) -> None:
    page.click("#new-scene")
    expect_three_answers(page)
    page.evaluate(WATCH_STATUS)
    chip = page.locator("#chips button").nth(1)
    phrase = chip.inner_text()
    chip.click()
    page.wait_for_function("window.said.some((each) => each.includes('2 of 3 answered'))")
    expect_three_answers(page)
    expect(page.locator(PHRASE)).to_have_value(phrase)
    expect(page.locator("#card-evf-sam")).to_contain_text("Measured IoU")


def test_an_example_is_ready_to_run_from_the_keyboard(page: Page) -> None:
    page.locator("#examples button").first.focus()
    page.keyboard.press("Enter")
    expect_three_answers(page)
    expect(page.locator("#card-evf-sam")).to_contain_text("Measured IoU")


def test_there_is_one_place_for_each_question_and_a_run_that_ended_out_of_sight_is_there_too(
    page: Page, picture: Path
) -> None:
    named = "[...document.querySelectorAll('[role=tab]')].filter((one) => one.getClientRects().length)"
    assert page.evaluate(f"{named}.map((one) => one.innerText.trim())") == [*TABS, *PANELS]
    upload(page, picture)
    ask(page, "the {{red}} ${square} <b>bold</b>")
    expect(page.locator("#differences-table tbody tr")).to_have_count(3)
    open_tab(page, "Inspect", "Steps")
    expect(page.locator("#steps-told pre").first).to_have_text("the {{red}} ${square} <b>bold</b>")
    open_tab(page, "Compare")
    ask(page, "another square")
    open_tab(page, "Inspect")
    expect(page.locator("#steps-told pre").first).to_have_text("another square")
    open_tab(page, "Compare")
    expect(page.locator("#differences-table tbody tr")).to_have_count(3)


def test_leaving_a_strategy_out_asks_the_others_alone(page: Page, picture: Path) -> None:
    upload(page, picture)
    page.locator("#strategies label", has_text="CLIP text").click()
    ask(page, "a square")
    expect(page.locator("#status")).to_contain_text("All 2 strategies answered")
    expect(page.locator("#card-clip-text")).to_contain_text("Not asked this time")


def test_a_new_picture_removes_the_answers_of_the_old_one(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "a square")
    expect_three_answers(page)
    upload(page, picture)
    expect(page.locator("#overlay-evf-sam img")).to_have_count(0)
    expect(page.locator("#card-evf-sam")).not_to_contain_text("Marked")
    expect(page.locator("#download")).to_be_disabled()


def test_a_new_picture_stops_the_run_on_the_old_one(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "a square")
    expect(page.locator("#status")).to_contain_text("of 3 answered")
    another = picture.with_name("another.png")
    Image.fromarray(three_colours((480, 640), shift=7)).save(another)
    upload(page, another)
    page.wait_for_timeout(1500)
    expect(page.locator("#status")).to_contain_text("Your image")
    expect(page.locator("#overlay-point-query img")).to_have_count(0)
    page.click("#compare")
    expect_three_answers(page)


def test_a_scene_taken_during_a_run_is_asked_in_its_place(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "a square")
    expect(page.locator("#status")).to_contain_text("of 3 answered")
    page.click("#new-scene")
    for key in KEYS:
        expect(page.locator(f"#overlay-{key} img")).not_to_have_attribute("alt", re.compile("a square"))
    expect_three_answers(page)
    assert page.locator(PHRASE).input_value() in str(page.locator("#overlay-point-query img").get_attribute("alt"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(browser: Browser, fake_page: str, theme: str) -> None:
    with opened(browser, f"{fake_page}?__theme={theme}") as page:
        page.click("#new-scene")
        expect_three_answers(page)
        measured = page.evaluate(CONTRAST, TEXTS)
        for tab in ("Steps", "Verdict"):
            open_tab(page, "Inspect", tab)
            expect(page.locator(f"#{tab.lower()}").locator("h2").first).to_be_visible()
            measured += page.evaluate(CONTRAST, TEXTS)
        assert len(measured) > 60
        assert [text for text in measured if text["ratio"] < 4.5] == []


def test_a_phone_shows_one_column_without_sideways_scrolling(browser: Browser, fake_page: str, picture: Path) -> None:
    with opened(browser, fake_page, width=390, height=844) as page:
        upload(page, picture)
        ask(page, "a phrase so long that it cannot stand in a single line of a telephone, and that makes one explode")
        expect_three_answers(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        lefts = [page.locator(f"#column-{key}").bounding_box()["x"] for key in KEYS]
        assert len(set(lefts)) == 1
        wide = page.evaluate(
            "[...document.querySelectorAll('#controls, #answers, #columns, #panels, .card, .card *')]"
            ".filter((element) => element.getBoundingClientRect().right > 391).map((element) => element.id)"
        )
        assert wide == []


def test_every_button_and_field_has_a_name(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "a square")
    expect_three_answers(page)
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input:not([type=hidden]), textarea, select')]
        .filter((element) => element.offsetParent)
        .filter((element) => !(element.innerText || '').trim() && !element.getAttribute('aria-label') && !element.title
          && !element.querySelector('img[alt]:not([alt=""])') && !element.getAttribute('aria-labelledby')
          && !(element.labels && element.labels.length))
        .map((element) => element.outerHTML.slice(0, 160))"""
    )
    assert nameless == []
