"""Arriving in a result, one click or Enter to the next, and an address that brings a run back."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import PATIENCE_MS, open_tab, opened, serve
from tests.browser.test_page import KEYS, PHRASE, ask, expect_three_answers, upload
from webui.blocks import build_demo
from webui.fetching import Fetcher
from webui.tabs.compare.opening import Opening
from workbench.bundled import EXAMPLES
from workbench.comparison import Comparison
from workbench.kept_run import ARRIVAL_PHRASE
from workbench.suites.registry import MINI

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def mini_page() -> Iterator[str]:
    """Serve the mini suite without reading its weights: what is kept needs none."""
    demo = build_demo(Comparison(MINI))
    yield serve(demo)
    demo.close()


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_the_page_opens_with_an_answered_question_and_the_field_for_the_next_in_sight(
    browser: Browser, mini_page: str, width: int, height: int
) -> None:
    with opened(browser, mini_page, width=width, height=height) as page:
        for key in KEYS:
            expect(page.locator(f"#overlay-{key} img")).to_be_visible()
        expect(page.locator(PHRASE)).to_have_value(ARRIVAL_PHRASE)
        expect(page.locator(PHRASE)).to_be_focused()
        for needed in (PHRASE, "#compare", "#card-evf-sam .verdict"):
            expect(page.locator(needed)).to_be_in_viewport(ratio=1)
        expect(page.locator("#overlay-evf-sam img")).to_be_in_viewport()
        for key in KEYS:
            expect(page.locator(f"#card-{key}")).to_contain_text("Measured IoU")
            assert float(page.locator(f"#card-{key} dd:not(.note)").nth(0).inner_text()) > 0.8
        expect(page.locator("#differences-table tbody tr")).to_have_count(3)
        page.locator("#column-clip-text .look-closer").click()
        expect(page.locator("#canvas .stage")).to_have_attribute("data-key", "clip-text")
        open_tab(page, "Inspect", "Verdict")
        expect(page.locator("#verdict-masks img").first).to_be_visible()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_first_answers_are_seen_before_gradio_runs_and_stay_though_the_server_answers_nothing_more(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    never = Event()
    monkeypatch.setattr(Opening, "open", lambda *_: never.wait(PATIENCE_MS / 1000) and {})
    demo = build_demo(Comparison(MINI))
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    held: list[Route] = []
    page.route(re.compile(r"/assets/index-[^/]*\.js"), lambda route: held.append(route))
    page.goto(f"{serve(demo)}?lang={language}", wait_until="commit")
    page.wait_for_function("performance.getEntriesByName('answers-seen').length", timeout=PATIENCE_MS)
    cover = page.locator("#arrival")
    expect(cover).to_be_visible()
    expect(page.locator("#compare")).to_have_count(0)
    drawn = Image.open(BytesIO(page.screenshot())).convert("RGB").crop((0, 560, 1000, 800))
    assert len(drawn.getcolors(1_000_000) or ()) > 1_000, "pictures, not only words on a ground"
    held[0].continue_()
    for key in KEYS:
        expect(page.locator(f"#overlay-{key} img")).to_be_visible()
    expect(cover).to_have_count(0)
    expect(page.locator(PHRASE)).to_have_value(ARRIVAL_PHRASE)
    expect(page.locator("#status")).to_contain_text("An example" if language == "en" else "示例")
    never.set()
    context.close()
    demo.close()


def test_who_takes_marks_and_who_does_not_is_told_before_any_weights_are_read(browser: Browser) -> None:
    entries = dict(MINI.strategies)
    entries["clip-text"] = replace(entries["clip-text"], card=replace(entries["clip-text"].card, takes_marks=False))
    demo = build_demo(Comparison(replace(MINI, strategies=entries)))
    with opened(browser, serve(demo)) as page:
        page.locator("#column-clip-text .look-closer").click()
        expect(page.locator("#refine-status")).to_contain_text("CLIP text takes no marks")
        page.locator("#column-point-query .look-closer").click()
        expect(page.locator("#refine-status")).to_contain_text("Click in the picture")
    demo.close()


def test_a_link_to_a_run_is_not_covered_by_another_one(browser: Browser, mini_page: str) -> None:
    with opened(browser, f"{mini_page}?run=nobody") as visitor:
        assert visitor.evaluate("performance.getEntriesByName('answers-seen').length") == 0
        expect(visitor.locator("#status [role=alert]")).to_contain_text("upload it again")
        expect(visitor.locator("#overlay-evf-sam img")).to_have_count(0)


def take_an_example(page: Page) -> None:
    page.locator("#examples button").nth(1).click()


def take_from_the_gallery(page: Page) -> None:
    open_tab(page, "Where it fails")
    page.locator("#failures .failure > button").first.click()


def take_by_address(page: Page) -> None:
    page.fill("#image-address textarea, #image-address input", "https://example.org/picture.png")
    page.press("#image-address textarea, #image-address input", "Enter")
    expect(page.locator("#status")).to_contain_text("Your image")
    ask(page, "the dog")


@pytest.mark.weights
@pytest.mark.parametrize("take", [take_an_example, take_from_the_gallery, take_by_address])
def test_a_picture_taken_before_the_page_has_opened_stays_and_can_be_asked_about(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, take: Callable[[Page], None]
) -> None:
    shown, may_open, has_opened = Opening.open, Event(), Event()

    def late(self: Opening, query: object, seen: object) -> dict[Any, Any]:
        updates = shown(self, query, seen)
        may_open.wait(90)
        has_opened.set()
        return updates

    monkeypatch.setattr(Opening, "open", late)
    monkeypatch.setattr(Fetcher, "fetch", lambda _, __: (EXAMPLES / "scene-category.png").read_bytes())
    demo = build_demo(Comparison(MINI))
    with opened(browser, serve(demo)) as page:
        take(page)
        expect_three_answers(page)
        may_open.set()
        assert has_opened.wait(90)
        page.wait_for_timeout(3_000)  # for what must not arrive
        phrase = page.locator(PHRASE).input_value()
        open_tab(page, "Inspect", "Steps")
        told = page.locator("#steps-told").get_by_role("heading", level=2)
        expect(told).to_have_text(f"How EVF-SAM answered “{phrase}”")
        open_tab(page, "Compare")
        ask(page, "the red thing")
        expect(page.locator("#overlay-evf-sam img")).to_have_attribute("alt", re.compile("the red thing"))
        expect_three_answers(page)
    demo.close()


def test_a_scene_is_asked_by_itself_and_enter_asks_again_instead_of_drawing_another(page: Page) -> None:
    page.click("#new-scene")
    expect_three_answers(page)
    expect(page.locator(PHRASE)).to_be_focused()
    scene = page.locator("#image img").first.get_attribute("src")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("the red thing")
    page.keyboard.press("Enter")
    expect(page.locator("#overlay-evf-sam img")).to_have_attribute("alt", re.compile("the red thing"))
    assert page.locator("#image img").first.get_attribute("src") == scene


def test_back_and_reload_bring_a_run_back(page: Page) -> None:
    page.locator("#examples button").first.click()
    expect_three_answers(page)
    first = page.locator(PHRASE).input_value()
    page.locator("#examples button").nth(1).click()
    expect(page).to_have_url(re.compile("scene-category.*run="))
    second = page.locator(PHRASE).input_value()
    assert second != first
    page.reload()
    expect(page.locator("#status")).to_contain_text("The answers are those of before")
    expect(page.locator(PHRASE)).to_have_value(second)
    page.go_back()
    expect(page.locator(PHRASE)).to_have_value(first)
    expect(page.locator("#overlay-evf-sam img")).to_have_attribute("alt", re.compile(re.escape(first)))
    page.go_forward()
    expect(page.locator(PHRASE)).to_have_value(second)


def test_an_upload_comes_back_while_it_is_kept_in_either_language_and_is_told_when_it_is_not(
    page: Page, browser: Browser, fake_page: str, picture: Path
) -> None:
    upload(page, picture)
    ask(page, "the red square")
    expect_three_answers(page)
    expect(page).to_have_url(re.compile("run="))
    page.get_by_role("link", name="中文").click()
    expect(page.get_by_role("tab", name="比较")).to_be_visible()
    expect(page.locator(PHRASE)).to_have_value("the red square")
    expect(page.locator("#overlay-evf-sam img")).to_be_visible()
    expect(page.locator("#image img").first).to_be_visible()
    with opened(browser, f"{fake_page}?run=nobody") as visitor:
        expect(visitor.locator("#status [role=alert]")).to_contain_text("upload it again")
