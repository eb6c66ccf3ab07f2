"""What must not happen on a slow machine or a bad line: lost pictures, jumps, questions asked twice, silence."""

import re
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.browser.test_page import KEYS, PHRASE, expect_three_answers

pytestmark = pytest.mark.browser

STALL: Final = """
(milliseconds) => {
  const status = document.getElementById('status');
  const watching = new MutationObserver(() => {
    if (!status.innerText.includes('of 3 answered')) return;
    watching.disconnect();
    const until = performance.now() + milliseconds;
    while (performance.now() < until);
  });
  watching.observe(status, {childList: true, subtree: true, characterData: true});
}
"""
"""Let the browser do nothing from the first word of a run on, so that all its answers arrive together."""


SHIFTS: Final = """
() => {
  window.shifts = [];
  window.unasked = []; // as browsers count: not what follows an input at once
  new PerformanceObserver((list) => {
    for (const each of list.getEntries()) {
      const moved = each.sources.map(({node}) => (node?.outerHTML ?? node?.nodeValue)?.slice(0, 60));
      window.shifts.push([each.value, ...moved]);
      if (!each.hadRecentInput) window.unasked.push([each.value, ...moved]);
    }
  }).observe({type: 'layout-shift', buffered: false});
}
"""
PICTURES_AT_THE_END: Final = """
(keys) => {
  const status = document.getElementById('status');
  const watching = new MutationObserver(() => {
    if (!status.innerText.includes('strategies answered')) return;
    watching.disconnect();
    window.atTheEnd = keys.filter((key) => document.querySelector(`#overlay-${key} img`)?.alt.includes('red thing'));
  });
  watching.observe(status, {childList: true, subtree: true, characterData: true});
}
"""


def watch_a_run(page: Page) -> None:
    """Ask, and note what moves and which pictures are there when the page says that all have answered."""
    page.evaluate(SHIFTS)
    page.evaluate(PICTURES_AT_THE_END, list(KEYS))
    page.fill(PHRASE, "the red thing")
    page.press(PHRASE, "Enter")
    page.wait_for_function("window.atTheEnd")


def test_a_run_moves_nothing_and_ends_when_its_pictures_are_there(page: Page) -> None:
    page.locator("#examples button").first.click()
    expect_three_answers(page)
    expect(page.locator("#download")).to_be_enabled()
    page.evaluate("window.scrollTo(0, document.getElementById('status-row').offsetTop)")
    watch_a_run(page)
    assert page.evaluate("window.atTheEnd") == list(KEYS)
    expect(page.locator("#differences-table tbody tr")).to_have_count(3)
    shifts = page.evaluate("window.shifts")
    assert sum(value for value, *_ in shifts) < 0.02, shifts


def test_on_a_phone_a_run_moves_nothing_either_and_the_margins_are_narrow(browser: Browser, fake_page: str) -> None:
    with opened(browser, fake_page, width=390, height=844, has_touch=True) as page:
        page.locator("#examples button").first.click()
        expect_three_answers(page)
        expect(page.locator("#differences-table tbody tr")).to_have_count(3)
        assert page.locator("#question").bounding_box()["x"] <= 12
        page.evaluate("document.getElementById('status-row').scrollIntoView()")
        watch_a_run(page)
        expect_three_answers(page)
        shifts = page.evaluate("window.unasked")
        assert sum(value for value, *_ in shifts) < 0.02, shifts


def test_a_server_that_does_not_answer_is_told_in_the_status_line_and_the_answers_stay(page: Page) -> None:
    page.click("#new-scene")
    expect_three_answers(page)
    page.route("**/app_id", lambda route: route.abort())
    expect(page.locator("#status [role=alert]")).to_contain_text("The server does not answer")
    expect(page.locator("#overlay-evf-sam img")).to_be_visible()
    page.unroute("**/app_id")
    expect_three_answers(page)
    expect(page.locator("#status [role=alert]")).to_have_count(0)


def test_every_picture_is_there_though_all_answers_arrive_at_once_in_a_busy_browser(page: Page) -> None:
    page.click("#new-scene")
    expect_three_answers(page)
    page.evaluate(STALL, 6000)
    page.fill(PHRASE, "the red thing")
    page.press(PHRASE, "Enter")
    for key in KEYS:
        expect(page.locator(f"#card-{key}")).to_contain_text("Marked")
        expect(page.locator(f"#overlay-{key} img")).to_have_attribute("alt", re.compile("the red thing"))
