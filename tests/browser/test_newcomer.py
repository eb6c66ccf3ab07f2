"""What a person reads who knows neither field nor suite: first words, and a note on what the suite cannot read."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened, serve
from tests.browser.test_page import PHRASE, ask, expect_three_answers, upload
from tests.browser.test_steady import SHIFTS
from tests.webui.fakes import fake_comparison
from webui.blocks import build_demo
from workbench.comparison import Comparison
from workbench.suites.registry import MINI

pytestmark = pytest.mark.browser

OF_THE_FIELD: Final = ("segment", "prompt", "sam", "embedding", "token", "iou", "inference", "multimodal", "strategies")
ALL: Final = "Marked: 5 % of the image."


@pytest.fixture(scope="module")
def mini_like() -> Iterator[str]:
    """Serve the page as the mini suite's, with fake answers: what is noted hangs on the question alone."""
    demo = build_demo(Comparison(replace(fake_comparison()[0].suite, key=MINI.key)))
    yield serve(demo)
    demo.close()


def said_of(page: Page, phrase: str) -> str:
    """Ask, and return the note on the question; empty where there is none."""
    ask(page, phrase)
    expect(page.locator("#overlay-point-query img")).to_have_attribute(
        "alt", f"Point query, mask for “{phrase}”. {ALL}"
    )
    expect_three_answers(page)
    note = page.locator("#note [role=note]")
    return note.inner_text() if note.count() else ""


def test_the_first_words_say_what_to_do_without_the_fields_own_and_those_are_explained(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_contain_text("Type words, see what")
    first = f"{page.locator('.page-head').inner_text()} {page.locator('#phrase').inner_text()}".lower().split()
    assert len(first) > 20
    assert [word for word in first if word.strip(".,:?") in OF_THE_FIELD] == []
    page.click("#new-scene")
    expect_three_answers(page)
    facts = page.locator("#card-evf-sam .facts > div")
    expect(facts.nth(2)).to_be_visible()  # a random scene may hold nothing for a mask whose edge is judged
    for fact in facts.all():
        assert len(fact.locator("dd.note").inner_text()) > 5, "a figure of the field says what it is"


def test_words_that_the_suite_cannot_read_are_named_in_a_quiet_note(
    browser: Browser, mini_like: str, picture: Path
) -> None:
    with opened(browser, mini_like) as page:
        upload(page, picture)
        on_a_photograph = said_of(page, "the blue bus")
        assert "“" not in on_a_photograph
        assert len(on_a_photograph) > 40, "the suite learnt from drawings"
        typo = said_of(page, "the drss")
        assert "“drss”; it may have read “dress”" in typo
        unknown = said_of(page, "the xylophone")
        assert "“xylophone”" in unknown
        assert "dog" in unknown, "what it does know"
        assert "English" in said_of(page, "狗")
        assert "English" not in unknown
        assert page.locator("#status [role=alert]").count() == 0
        page.locator("#examples button").first.click()
        expect_three_answers(page)
        expect(page.locator("#note")).to_have_text("")


@pytest.mark.parametrize(("width", "height"), [(1440, 1000), (390, 844)])
def test_a_note_has_its_room_before_it_comes(browser: Browser, mini_like: str, width: int, height: int) -> None:
    with opened(browser, mini_like, width=width, height=height) as page:
        page.locator("#examples button").first.click()
        expect_three_answers(page)
        expect(page.locator("#differences-table tbody tr")).to_have_count(3)
        expect(page.locator("#note")).to_have_text("")
        page.evaluate("document.getElementById('status-row').scrollIntoView()")
        page.evaluate(SHIFTS)
        page.fill(PHRASE, "the drss and the xylophone")
        page.press(PHRASE, "Enter")
        expect(page.locator("#note")).to_contain_text("xylophone")
        expect_three_answers(page)
        shifts = page.evaluate("window.unasked")
        assert sum(value for value, *_ in shifts) < 0.02, shifts


def test_on_a_phone_a_link_leads_to_the_picture_and_controls_stand_in_one_row_each(
    browser: Browser, fake_page: str, picture: Path
) -> None:
    with opened(browser, fake_page, width=390, height=844, has_touch=True) as page:
        upload(page, picture)
        ask(page, "a square")
        expect_three_answers(page)
        tools = page.locator(".viewer .tools > *:visible")
        middles = tools.evaluate_all(
            "(all) => all.map((one) => one.getBoundingClientRect()).map((b) => b.y + b.height / 2)"
        )
        assert max(middles) - min(middles) < 12
        page.locator("#column-evf-sam .look-closer").tap()
        expect(page.locator("#canvas .stage")).to_be_visible()
        labels = page.locator("#refine-kind label:visible")
        expect(labels).to_have_count(3)
        tops = labels.evaluate_all("(all) => all.map((one) => one.getBoundingClientRect().y)")
        assert len(set(tops)) == 1
        assert page.locator("#refine-kind").evaluate("(one) => one.scrollWidth <= one.clientWidth")
        told = page.locator("#refine-status .status").bounding_box()
        assert told is not None
        assert told["height"] < 80
        expect(page.locator("#image")).not_to_be_in_viewport()
        page.locator(".to-picture").tap()
        expect(page.locator("#image")).to_be_in_viewport()
        expect(page.locator("#overlay-evf-sam img")).to_have_count(1)
