"""The page in Chinese, in a real browser, over fake strategies."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PATIENCE_MS, opened

pytestmark = pytest.mark.browser

HAN = re.compile(r"[\u4e00-\u9fff]")
NAMES = {
    # Names of people's works, of formats and of figures, which Chinese readers know by these names.
    *("EVF-SAM", "COCO RLE", "Label Studio", "labelme", "curl", "[CLS]", "result.json", "pred_iou", "P(yes)"),
    *("cIoU", "gIoU", "IoU", "pdf", "png", "svg", "English", "CSV", "PQPP", "PPG"),
    # What the fakes say of themselves, and keys.
    *("Fake suite", "Fake strategies that look for colours: they know red, green and blue, and nothing else."),
    *("evf-sam", "clip-text", "point-query"),
}
SHOWN = """() => {
  const told = new Set();
  const skipped = 'script, style, svg, pre, code, .cm-editor, [data-models-read], #chips button, .tokens button';
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode;
    if (!node.parentElement.closest(skipped)) told.add(node.textContent.trim());
  }
  for (const element of document.querySelectorAll('[aria-label], [alt], [title]')) {
    if (element.closest(skipped) && !element.matches('button')) continue;
    for (const name of ['aria-label', 'alt', 'title']) told.add((element.getAttribute(name) ?? '').trim());
  }
  return [...told];
}"""


def english_on(page: Page) -> set[str]:
    """Return what is on the page, seen or said aloud, in Latin letters alone, other than names."""
    told = {text for text in page.evaluate(SHOWN) if re.search(r"[A-Za-z]{2}", text) and not HAN.search(text)}
    return {text for text in told if text not in NAMES}


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
    page.locator("#compare").click()
    expect(page.locator("#status")).to_contain_text("秒作答")
    phrases = set(page.locator("#chips button").all_inner_texts())
    tabs = page.locator("#tabs > .tab-wrapper button[role=tab]")
    for index in range(tabs.count()):
        tabs.nth(index).click()
        page.wait_for_timeout(400)
        found |= english_on(page)
    assert found - phrases == set()
