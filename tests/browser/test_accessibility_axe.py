"""What axe-core says of every tab that the page has: before a run, after one, in both themes, wide and on a phone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.browser.test_page import PHRASE, expect_three_answers

pytestmark = pytest.mark.browser

AXE: Final = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
LOOKS: Final[tuple[tuple[int, int, str, list[str]], ...]] = (
    (1440, 1000, "dark", ["color-contrast", "link-in-text-block"]),
    (390, 844, "light", []),
    (1440, 1000, "light", []),
)
"""Width, height, theme, and the rules that this look can break; none stands for all. The walk goes on in the last."""

EXCUSED: Final[dict[str, str]] = {}
"""Selectors of nodes that Gradio makes and that cannot be mended from outside, each with the reason."""

STILL: Final = "*, *::before, *::after {transition: none !important; animation: none !important}"
VIOLATIONS: Final = """
async ([within, excused, rules]) => {
  const only = rules.length ? {runOnly: {type: 'rule', values: rules}} : {};
  const where = {include: [[within]], exclude: excused.map((one) => [one])};
  const found = await axe.run(where, {resultTypes: ['violations'], ...only});
  return found.violations.filter((one) => one.impact !== 'minor').flatMap((one) =>
    one.nodes.map((node) => `${one.id} (${one.impact}) at ${node.target.join(' ')}: ${node.html.slice(0, 160)}`));
}
"""
SETTLED: Final = """
() => new Promise((done) => {
  let waiting = setTimeout(done, 300);
  new MutationObserver(() => { clearTimeout(waiting); waiting = setTimeout(done, 300); })
    .observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
})
"""
UNSEEN_TAB: Final = """
(visited) => {
  const depth = (tab) => {
    let panels = 0;
    for (let at = tab; at; at = at.parentElement) panels += at.role === 'tabpanel';
    return panels;
  };
  const key = (tab) => `${depth(tab)}/${tab.dataset.tabId}`;
  return [...document.querySelectorAll('[role=tab]')]
    .filter((tab) => tab.getClientRects().length && getComputedStyle(tab).visibility !== 'hidden')
    .map((tab) => ({key: key(tab), id: tab.dataset.tabId, name: tab.innerText.trim(), depth: depth(tab)}))
    .filter((tab) => !visited.includes(tab.key)).reverse().sort((one, other) => other.depth - one.depth)[0] ?? null;
}
"""


def each_tab(page: Page) -> Iterator[tuple[str, str]]:
    """Open every tab that the page shows, the inner ones first; tell its name and the selector of its panel."""
    visited: list[str] = []
    while tab := page.evaluate(UNSEEN_TAB, visited):
        visited.append(tab["key"])
        button = page.locator(f'[role=tab][data-tab-id="{tab["id"]}"]:visible').first
        button.click()
        expect(button).to_have_attribute("aria-selected", "true")
        page.evaluate(SETTLED)
        yield tab["name"], "#" + str(button.get_attribute("aria-controls"))


def violations(page: Page, where: str, within: str = "html") -> list[str]:
    """Ask axe-core in every look; each line names place, rule and node."""
    found = []
    for width, height, theme, rules in LOOKS:
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", theme == "dark")
        said = page.evaluate(VIOLATIONS, [within, list(EXCUSED), rules])
        found += [f"{where}, {width} px, {theme}: {each}" for each in said]
    return found


@pytest.fixture
def watched(browser: Browser, fake_page: str) -> Iterator[Page]:
    with opened(browser, fake_page) as page:
        page.evaluate(AXE)
        page.add_style_tag(content=STILL)
        yield page


def walked(page: Page, state: str) -> str:
    found: list[str] = []
    names: list[str] = []
    for name, panel in each_tab(page):
        assert page.locator(panel).get_attribute("aria-labelledby"), f"the panel of {name} has no name"
        found += violations(page, f"{name}, {state}", panel if names else "html")
        names.append(name)
    assert {"Compare", "Take away", "Inspect", "Verdict", "Steps", "Where it fails"} <= set(names)
    return "\n".join(found)


def test_axe_finds_nothing_worse_than_minor_on_any_tab_before_a_run(watched: Page) -> None:
    assert walked(watched, "before a run") == ""


def test_axe_finds_nothing_worse_than_minor_on_any_tab_after_a_run(watched: Page) -> None:
    watched.click("#new-scene")
    expect_three_answers(watched)
    watched.fill(PHRASE, "the first thing; the second thing")
    watched.click("#compare")
    expect_three_answers(watched)
    assert walked(watched, "after a run") == ""
    watched.get_by_role("tab", name="Compare", exact=True).click()
    watched.locator("#column-evf-sam .look-closer").click()
    expect(watched.locator("#canvas .stage")).to_be_visible()
    assert violations(watched, "one large picture") == []


def test_axe_finds_nothing_worse_than_minor_in_messages(watched: Page) -> None:
    watched.press(PHRASE, "Enter")
    expect(watched.locator("#status [role=alert]")).to_be_visible()
    assert violations(watched, "no image") == []
    watched.click("#new-scene")
    expect_three_answers(watched)
    watched.fill(PHRASE, "absent")
    watched.click("#compare")
    expect_three_answers(watched)
    watched.fill(PHRASE, "explode")
    watched.click("#compare")
    expect(watched.locator("#status")).to_contain_text("1 of them with a failure")
    assert violations(watched, "a failure") == []
