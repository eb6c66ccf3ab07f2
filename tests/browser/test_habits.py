"""What people do without thinking: Enter twice, a picture pasted, an earlier phrase or run, a result in full screen."""

import re
from base64 import b64encode
from pathlib import Path
from threading import Event

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from evfsam.types import ImageView, Segmentation
from tests.browser.test_accessibility_axe import STILL
from tests.browser.test_page import PHRASE, WATCH_STATUS, ask, expect_three_answers, upload
from tests.webui.fakes import FakeStrategy
from webui.fetching import Fetcher, FetchError

pytestmark = pytest.mark.browser

ADDRESS = "#image-address textarea, #image-address input"
PASTE = """
(data) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const given = new DataTransfer();
  given.items.add(new File([bytes], 'pasted.png', {type: 'image/png'}));
  document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: given, bubbles: true, cancelable: true}));
}
"""


PASTE_TEXT = """
(text) => {
  const given = new DataTransfer();
  given.setData('text/plain', text);
  document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: given, bubbles: true, cancelable: true}));
}
"""
BORDER_CONTRAST = """
(fields) => {
  const luminance = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = luminance(getComputedStyle(document.body).backgroundColor);
  return fields.map((one) => luminance(getComputedStyle(one).borderTopColor))
    .map((border) => (Math.max(border, ground) + 0.05) / (Math.min(border, ground) + 0.05));
}
"""


def test_enter_ten_times_asks_once(page: Page, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_answer, segment = Event(), FakeStrategy.segment

    def late(strategy: FakeStrategy, view: ImageView, phrase: str) -> Segmentation:
        assert may_answer.wait(90)
        return segment(strategy, view, phrase)

    monkeypatch.setattr(FakeStrategy, "segment", late)
    upload(page, picture)
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request))
    page.fill(PHRASE, "the one question")
    for _ in range(10):
        page.press(PHRASE, "Enter")
    may_answer.set()
    expect_three_answers(page)
    page.wait_for_timeout(1500)
    asked = [each for each in sent if "queue/join" in each.url and "the one question" in str(each.post_data)]
    assert len(asked) == 1
    page.press(PHRASE, "Enter")
    expect(page.locator("#status")).to_contain_text("reused: nothing was encoded again")


def test_a_picture_is_pasted_anywhere_also_in_place_of_another(page: Page, picture: Path) -> None:
    data = b64encode(picture.read_bytes()).decode()
    page.evaluate(PASTE, data)
    expect(page.locator("#status")).to_contain_text("Your image, 640 × 480 pixels")
    ask(page, "a square")
    expect_three_answers(page)
    page.evaluate(PASTE, data)
    expect(page.locator("#status")).to_contain_text("Your image, 640 × 480 pixels")


def test_an_address_in_the_field_or_pasted_is_asked_for_by_the_server_alone(page: Page) -> None:
    address = "http://127.0.0.1/picture.png"
    page.fill(ADDRESS, address)
    page.press(ADDRESS, "Enter")
    refused = page.locator("#status [role=alert]")
    expect(refused).to_contain_text("No picture came from this address")
    expect(refused).to_contain_text("127.0.0.1")
    page.click("#new-scene")
    expect_three_answers(page)
    page.evaluate(PASTE_TEXT, "no address")
    page.evaluate(PASTE_TEXT, address)
    expect(refused).to_contain_text("127.0.0.1")
    expect(page.locator("#overlay-evf-sam img")).to_be_visible()


@pytest.mark.parametrize("has_picture", [True, False])
def test_an_address_that_answers_once_another_picture_was_taken_changes_nothing(
    page: Page, picture: Path, monkeypatch: pytest.MonkeyPatch, has_picture: bool
) -> None:
    may_answer, has_answered = Event(), Event()

    def late(_: Fetcher, address: str) -> bytes:
        may_answer.wait(90)
        has_answered.set()
        if not has_picture:
            raise FetchError("cannot fetch {address}", address=address)
        return picture.read_bytes()

    monkeypatch.setattr(Fetcher, "fetch", late)
    page.fill(ADDRESS, "https://example.org/picture.png")
    page.press(ADDRESS, "Enter")
    expect(page.locator("#status")).to_contain_text("Fetching the picture")
    page.click("#new-scene")
    expect_three_answers(page)
    scene = page.locator("#image img").first.get_attribute("src")
    page.evaluate(WATCH_STATUS)
    may_answer.set()
    assert has_answered.wait(90)
    ask(page, "the red thing")
    expect(page.locator("#overlay-evf-sam img")).to_have_attribute("alt", re.compile("the red thing"))
    expect_three_answers(page)
    assert page.locator("#image img").first.get_attribute("src") == scene
    said = page.evaluate("window.said.join(' | ')")
    assert "No picture came" not in said
    assert "Your image" not in said


def test_a_picture_comes_from_its_address_and_is_asked_about(
    page: Page, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fetcher, "fetch", lambda _, __: picture.read_bytes())
    page.fill(ADDRESS, "https://example.org/picture.png")
    page.press(ADDRESS, "Enter")
    expect(page.locator("#status")).to_contain_text("Your image, 640 × 480 pixels")
    expect(page.locator(ADDRESS)).to_have_value("")
    ask(page, "a square")
    expect_three_answers(page)


def test_a_mask_is_copied_as_the_picture_that_is_saved_and_files_are_named_after_it(page: Page, picture: Path) -> None:
    page.evaluate("() => { navigator.clipboard.write = async (items) => { window.copied = items[0]; }; }")
    upload(page, picture)
    ask(page, "the red square")
    expect_three_answers(page)
    button = page.locator("#column-evf-sam .copy-mask")
    button.click()
    expect(button).to_contain_text("Copied")
    size = page.evaluate("async () => (await window.copied.getType('image/png')).size")
    link = page.locator("#column-evf-sam a.save")
    saved = page.evaluate("async (address) => (await (await fetch(address)).blob()).size", link.get_attribute("href"))
    assert size == saved > 100
    assert link.get_attribute("download") == "squares-the-red-square-evf-sam-mask.png"
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "squares-the-red-square.zip"


def test_the_arrow_up_brings_an_earlier_phrase_and_the_strip_an_earlier_run(page: Page, picture: Path) -> None:
    upload(page, picture)
    for phrase in ("the first", "the second"):
        ask(page, phrase)
        expect_three_answers(page)
    page.focus(PHRASE)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.locator(PHRASE)).to_have_value("the first")
    page.keyboard.press("ArrowDown")
    expect(page.locator(PHRASE)).to_have_value("the second")
    expect(page.locator("#recent li")).to_have_count(2)
    page.locator("#recent button", has_text="the first").click()
    expect(page.locator(PHRASE)).to_have_value("the first")
    expect(page.locator("#overlay-evf-sam img")).to_have_attribute(
        "alt", "EVF-SAM, mask for “the first”. Marked: 5 % of the image."
    )
    expect(page.locator("#image img").first).to_be_visible()


def test_a_result_in_full_screen_is_one_whole_picture_in_its_own_shape(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "a square")
    expect_three_answers(page)
    shown = page.locator("#overlay-evf-sam img")
    expect(shown).to_be_visible()
    page.locator("#overlay-evf-sam").hover()
    page.locator("#overlay-evf-sam").get_by_role("button", name="Fullscreen").click()
    expect(page.locator("#overlay-evf-sam.fullscreen")).to_be_visible()
    page.wait_for_timeout(300)
    assert shown.evaluate("(one) => getComputedStyle(one).objectFit") == "contain"
    frame = page.locator("#overlay-evf-sam .image-frame")
    assert frame.evaluate("(one) => getComputedStyle(one, '::before').display") == "none"
    box = shown.bounding_box()
    assert box is not None
    assert box["height"] <= 1000


def test_two_of_the_last_runs_stand_side_by_side(page: Page, picture: Path) -> None:
    upload(page, picture)
    for phrase in ("the first", "the absent second"):
        ask(page, phrase)
        expect_three_answers(page)
    beside = page.locator("#recent-beside")
    expect(beside).to_have_text("")
    page.locator("#recent li", has_text="the first").locator(".put-beside").click()
    expect(beside.locator("thead th")).to_have_text(["the absent second", "the first"])
    expect(beside.locator("tbody tr")).to_have_count(3)
    row = beside.locator("tbody tr", has_text="EVF-SAM")
    expect(row.locator("td").nth(0)).to_contain_text("Not in the image")
    expect(row.locator("td").nth(1)).to_contain_text("Marked: 5 % of the image")
    expect(row.locator("th")).to_contain_text("IoU of the two masks: 0.00")
    expect(row.locator("img").nth(1)).to_have_attribute(
        "alt", "EVF-SAM, mask for “the first”. Marked: 5 % of the image."
    )
    expect(page.locator(PHRASE)).to_have_value("the absent second")
    beside.get_by_role("button", name="Close").click()
    expect(beside).to_have_text("")


def test_a_picture_is_dropped_anywhere(page: Page, picture: Path) -> None:
    drop = PASTE.replace("ClipboardEvent('paste', {clipboardData: given,", "DragEvent('drop', {dataTransfer: given,")
    page.evaluate(drop, b64encode(picture.read_bytes()).decode())
    expect(page.locator("#status")).to_contain_text("Your image, 640 × 480 pixels")


def test_fields_have_borders_that_are_seen_and_all_example_pictures_are_there(page: Page) -> None:
    fields = page.locator("#phrase input:visible, #phrase textarea:visible, #image-address input:visible")
    expect(fields).to_have_count(2)
    page.add_style_tag(content=STILL)
    page.evaluate("document.activeElement.blur()")  # the one in focus has a ring
    for ratio in fields.evaluate_all(BORDER_CONTRAST):
        assert ratio >= 3
    examples = page.locator("#examples")
    examples.scroll_into_view_if_needed()
    for shown in examples.locator("img").all():
        shown.scroll_into_view_if_needed()
        expect(shown).to_have_js_property("complete", True)
        assert shown.evaluate("(one) => one.naturalWidth") > 0
    assert examples.evaluate("(one) => one.scrollHeight <= one.clientHeight + 1"), (
        "none is hidden in a box that scrolls"
    )


def test_a_wheel_is_spoken_of_only_where_there_is_one(page: Page, browser: Browser, fake_page: str) -> None:
    page.click("#new-scene")
    expect_three_answers(page)
    expect(page.locator(".viewer .caption")).to_contain_text("wheel")
    expect(page.locator(".viewer .caption")).to_be_visible()
    context = browser.new_context(viewport={"width": 1200, "height": 900}, has_touch=True, is_mobile=True)
    tablet = context.new_page()
    tablet.goto(fake_page)
    tablet.click("#new-scene")
    expect_three_answers(tablet)
    expect(tablet.locator(".viewer .caption")).to_be_hidden()
    context.close()
