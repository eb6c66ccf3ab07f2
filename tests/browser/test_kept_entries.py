"""What is entered in the very moment in which a tab or a fold shows its fields stays, and is what the run gets."""

import re
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_page import ask, expect_three_answers

pytestmark = pytest.mark.browser

ENTER_AT_ONCE: Final = """
([selector, value]) => {
  window.entered = null;
  const watching = new MutationObserver(() => {
    const field = document.querySelector(selector);
    if (!field) return;
    watching.disconnect();
    if (field.type === 'radio') field.click();
    else { field.value = value; field.dispatchEvent(new Event('input', {bubbles: true})); }
    let frames = 10;
    const wait = () => frames-- ? requestAnimationFrame(wait) : (window.entered = field);
    wait();
  });
  watching.observe(document.body, {subtree: true, childList: true});
}
"""
"""Enter a value before the browser has painted the field, then count frames until nothing is to come any more."""


def enter_at_once(page: Page, selector: str, value: str = "") -> None:
    page.evaluate(ENTER_AT_ONCE, [selector, value])


def wait_until_entered(page: Page) -> None:
    page.wait_for_function("window.entered !== null")


def test_a_number_entered_as_the_options_open_stays_and_reaches_the_run(page: Page) -> None:
    page.locator("#examples button").first.click()
    expect_three_answers(page)
    enter_at_once(page, "#options input[type=number]", "4")
    page.locator("#options button").first.click()
    wait_until_entered(page)
    expect(page.locator("#options input[type=number]").first).to_have_value("4")
    assert page.locator("#options input[type=range]").first.input_value() == "4"
    ask(page, "the first")
    expect_three_answers(page)
    page.get_by_role("tab", name="Take away").click()
    expect(page.locator("#link textarea")).to_have_value(re.compile(r"option=point-query\.grid_size%3D4"))


def test_a_choice_made_as_the_options_open_stays(page: Page) -> None:
    enter_at_once(page, "#options input[value=ppg]")
    page.locator("#options button").first.click()
    wait_until_entered(page)
    assert page.locator("#options input[value=ppg]").is_checked()
    assert not page.locator("#options input[value=pqpp]").is_checked()


@pytest.mark.parametrize(
    ("tab", "selector"), [("Batch", "#batch-phrases textarea"), ("Take away", "#take-away input[value=curl]")]
)
def test_what_is_entered_as_a_tab_opens_stays(page: Page, tab: str, selector: str) -> None:
    page.locator("#examples button").first.click()
    expect_three_answers(page)
    enter_at_once(page, selector, "40")
    page.get_by_role("tab", name=tab).press("Enter")
    wait_until_entered(page)
    field = page.locator(selector)
    assert field.is_checked() if "value=curl" in selector else field.input_value() == "40"


def test_what_is_entered_later_is_entered_once(page: Page) -> None:
    page.locator("#options button").first.click()
    number = page.locator("#options input[type=number]").first
    page.wait_for_timeout(1000)
    page.evaluate("document.addEventListener('input', () => window.inputs = (window.inputs ?? 0) + 1, true)")
    number.fill("7")
    page.wait_for_timeout(500)
    assert page.evaluate("window.inputs") == 1
    assert number.input_value() == "7"
