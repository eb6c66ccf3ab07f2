"""The gallery of failures, in a real browser, with the answers that are kept, and tried over fake strategies."""

import re
from typing import get_args

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_page import KEYS, PHRASE, expect_three_answers
from workbench.failures.cases import FAILURE_CASES, FailureKind

pytestmark = pytest.mark.browser


def open_gallery(page: Page) -> None:
    page.get_by_role("tab", name="Where it fails").click()
    expect(page.locator("#failures .failure").first).to_be_visible()


def test_every_kind_of_question_is_shown_with_three_answers_and_why(page: Page) -> None:
    open_gallery(page)
    expect(page.locator("#failures .failure")).to_have_count(len(FAILURE_CASES))
    assert {case.kind for case in FAILURE_CASES} == set(get_args(FailureKind))
    for section in page.locator("#failures .failure").all():
        pictures = section.locator("img")
        assert pictures.count() == 1 + len(KEYS)
        assert pictures.evaluate_all("(all) => all.every((each) => each.alt.length > 10)")
        lines = section.locator("figcaption p").all_inner_texts()
        assert all(len(line) > 20 for line in lines)
    absent = page.locator("#failures .failure", has_text="What is not there")
    expect(absent.locator("figcaption").first).to_contain_text("there is no such thing")
    broken = page.locator("#failures img").evaluate_all(
        "(all) => Promise.all(all.map((each) => each.decode().then(() => true, () => false)))"
    )
    assert broken == [True] * len(FAILURE_CASES) * (1 + len(KEYS))


def test_a_question_is_tried_on_its_scene_from_the_keyboard(page: Page) -> None:
    open_gallery(page)
    case = FAILURE_CASES[0]
    page.get_by_role("button", name=f"Try it: {case.phrase}").press("Enter")
    expect(page.locator(PHRASE)).to_be_visible()
    expect_three_answers(page)
    expect(page.locator(PHRASE)).to_have_value(case.phrase)
    expect(page.locator("#card-evf-sam")).to_contain_text("Measured IoU")
    expect(page.locator("#image img").first).to_be_visible()
    expect(page.locator("#overlay-evf-sam img")).to_have_attribute("src", re.compile("."))
    expect(page.locator("#chips button").first).to_have_text(case.phrase)
