"""The page in Chinese, in a real browser, over fake strategies."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.browser.test_page import PHRASE
from webui.known_scenes import read_examples

pytestmark = pytest.mark.browser

EXAMPLES = read_examples()
HAN = re.compile(r"[\u4e00-\u9fff]")
NAMES = {
    # Names of people's works, of formats and of figures, which Chinese readers know by these names.
    *("EVF-SAM", "COCO RLE", "Label Studio", "labelme", "curl", "[CLS]", "result.json", "pred_iou", "P(yes)"),
    *("cIoU", "gIoU", "IoU", "pdf", "png", "svg", "English", "CSV", "PQPP", "PPG"),
    # What the fakes say of themselves, and keys.
    *("Looks for one colour.", "look", "Segments the pixels in which one colour stands out."),
    *("Finds saturated colours.", "Reads no words at all."),
    *("Fake suite", "Fake strategies that look for colours: they know red, green and blue, and nothing else."),
    *("evf-sam", "clip-text", "point-query"),
    # Gradio's own, in a control that is hidden.
    "Stop Recording",
}
SHOWN = """() => {
  const told = new Set();
  const skipped = 'script, style, svg, pre, code, .cm-editor, [lang=en], [lang=de]';
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode;
    const element = node.parentElement;
    if (!element.closest(skipped) && element.checkVisibility({opacityProperty: true, visibilityProperty: true})) {
      told.add(node.textContent.trim());
    }
  }
  for (const element of document.querySelectorAll('[aria-label], [alt], [title]')) {
    if (element.closest(skipped)) continue;
    for (const name of ['aria-label', 'alt', 'title']) told.add((element.getAttribute(name) ?? '').trim());
  }
  return [...told];
}"""

SWITCH_SOON = """
() => {
  const look = () => {
    const isUnderWay = document.querySelector('#status').innerText.includes('of 3 answered');
    if (isUnderWay) document.querySelector('a[data-language=zh]').click();
    else setTimeout(look, 20);
  };
  look();
}
"""


def english_on(page: Page) -> set[str]:
    """Return what is on the page, seen or said aloud, in Latin letters alone, other than names."""
    told = {text for text in page.evaluate(SHOWN) if re.search(r"[A-Za-z]{2}", text) and not HAN.search(text)}
    return {text for text in told if text.strip(" ,") not in NAMES}


@pytest.fixture
def chinese(browser: Browser, fake_page: str) -> Iterator[Page]:
    with opened(browser, f"{fake_page}?lang=zh") as page:
        yield page


def test_nothing_is_left_in_english_on_any_tab_before_and_after_a_run(chinese: Page) -> None:
    page = chinese
    assert page.title() == "文本提示 SAM 工作台"
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    found = english_on(page)
    page.locator("#examples button").nth(2).click()
    expect(page.locator("#chips button").first).to_be_visible()
    found |= english_on(page)
    expect(page.locator("#status")).to_contain_text("秒作答")
    phrases = {page.locator(PHRASE).input_value()}
    tabs = page.locator("#tabs > .tab-wrapper button[role=tab]")
    for index in range(tabs.count()):
        tabs.nth(index).click()
        page.wait_for_timeout(400)
        found |= english_on(page)
    assert found - phrases == set()


def test_the_switch_works_by_keyboard_takes_the_run_along_and_is_remembered(browser: Browser, fake_page: str) -> None:
    with opened(browser, fake_page) as page:
        page.locator("#examples button").first.click()
        expect(page.locator("#status")).to_contain_text("All 3 strategies answered")
        phrase = page.locator(PHRASE).input_value()
        link = page.get_by_role("link", name="中文")
        link.focus()
        link.press("Enter")
        expect(page.get_by_role("tab", name="比较")).to_be_visible()
        expect(page.locator(PHRASE)).to_have_value(phrase)
        expect(page.locator("#overlay-evf-sam img")).to_be_visible()
        expect(page.locator("#image img").first).to_be_visible()
        expect(page.get_by_role("link", name="中文")).to_have_attribute("aria-current", "true")
        page.goto(fake_page)
        expect(page.get_by_role("tab", name="比较")).to_be_visible()
        page.goto(f"{fake_page}?lang=en")
        expect(page.get_by_role("tab", name="Compare")).to_be_visible()


def test_the_switch_takes_a_run_along_that_is_still_under_way(browser: Browser, fake_page: str) -> None:
    with opened(browser, fake_page) as page:
        page.evaluate(SWITCH_SOON)
        page.locator("#examples button").first.click()
        expect(page.get_by_role("tab", name="比较")).to_be_visible()
        expect(page.locator("#status")).to_contain_text("秒作答")
        expect(page.locator(PHRASE)).to_have_value(EXAMPLES[0].phrases[0])
