"""An evaluation is browsed by mouse and by keyboard, in every look, and is as easy to read as the rest of the page."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened, serve
from tests.browser.test_accessibility_axe import AXE, SETTLED, STILL, violations
from tests.webui.fakes import fake_comparison
from tests.workbench.evaluation.test_merging import RUN, answer, written
from webui.blocks import build_demo
from workbench.evaluation.merging import merged_runs
from workbench.reporting.browsing import Browsing

pytestmark = pytest.mark.browser

ANSWER = "#evaluation-answer"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the page with two runs; what happened in the first: one good answer, a poor one, a failure, one absent."""
    folder: Path = tmp_path_factory.mktemp("evaluation")
    first = [
        answer(0, 0, phrase="the <b>first</b>", intersection=10),
        answer(0, 0, "dark", phrase="the <b>first</b>", intersection=50),
        answer(0, 1, phrase="the second", intersection=40, kind="colour"),
        answer(0, 1, "dark", phrase="the second", outcome="failed", reason="no memory", kind="colour", intersection=0),
    ]
    files = [written(folder / "a.jsonl", first), written(folder / "b.jsonl", first[:2], run=replace(RUN, limit=1))]
    demo = build_demo(fake_comparison()[0], [Browsing(run) for run in merged_runs(files)])
    yield serve(demo)
    demo.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as new_page:
        new_page.get_by_role("tab", name="Evaluation").click()
        expect(new_page.locator(ANSWER)).to_contain_text("the <b>first</b>")
        yield new_page


def test_expressions_are_gone_through_with_the_buttons_and_by_their_place(page: Page) -> None:
    page.click("#evaluation-next")
    expect(page.locator(ANSWER)).to_contain_text("the second")
    expect(page.locator("#evaluation-place input")).to_have_value("2")
    page.click("#evaluation-previous")
    expect(page.locator(ANSWER)).to_contain_text("the <b>first</b>")
    page.fill("#evaluation-place input", "2")
    page.press("#evaluation-place input", "Enter")
    expect(page.locator(ANSWER)).to_contain_text("no memory")


def test_the_keyboard_alone_goes_through_an_order(page: Page) -> None:
    order = page.locator("#evaluation-order").get_by_label("Highest IoU first")
    order.focus()
    page.keyboard.press("Space")
    expect(order).to_be_checked()
    expect(page.locator(ANSWER)).to_contain_text("the second")
    onward = page.locator("#evaluation-next")
    onward.focus()
    expect(onward).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#evaluation-place input")).to_have_value("2")
    expect(page.locator(ANSWER)).to_contain_text("the <b>first</b>")


def test_what_is_pressed_while_an_answer_is_drawn_counts(page: Page) -> None:
    place = page.locator("#evaluation-place input")
    page.click("#evaluation-next")
    expect(page.locator(ANSWER)).to_contain_text("the second")
    page.locator("#evaluation-order").get_by_label("Highest IoU first").check()
    page.click("#evaluation-next")
    expect(place).to_have_value("2")
    expect(page.locator(ANSWER)).to_contain_text("the <b>first</b>")
    ways = ["previous", "next", "previous"]
    page.evaluate("(ways) => ways.forEach((way) => document.getElementById(`evaluation-${way}`).click())", ways)
    expect(page.locator(ANSWER)).to_contain_text("the second")
    expect(place).to_have_value("1")


def test_axe_finds_nothing_serious_in_the_tab(page: Page) -> None:
    page.evaluate(AXE)
    page.add_style_tag(content=STILL)
    page.evaluate(SETTLED)
    panel = "#" + str(page.get_by_role("tab", name="Evaluation").get_attribute("aria-controls"))
    assert violations(page, "first", panel) == []
    page.click("#evaluation-next")
    expect(page.locator(ANSWER)).to_contain_text("no memory")
    page.evaluate(SETTLED)
    assert violations(page, "a failure", panel) == []
