"""The page with the keyboard alone: the order of the Tab key, a ring that shows it, and nothing for a mouse only."""

from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.browser.test_accessibility_axe import STILL, each_tab
from tests.browser.test_page import KEYS, PHRASE, expect_three_answers

pytestmark = pytest.mark.browser

STOPS: Final = (
    "accessibility",
    "tabs",
    "ask-row",
    "chips",
    "download",
    "viewer",
    "columns",
    "panels",
    "image",
    "image-address",
    "new-scene",
    "examples",
    "strategies",
    "options",
)
"""Where the Tab key goes, in this order; what lies in none of them is passed over here."""
MOST_STOPS: Final = 150
FOCUSED: Final = """
(stops) => {
  const at = document.activeElement;
  if (at === document.body) return null;
  const style = getComputedStyle(at);
  return {
    stop: stops.findLast((id) => at.closest('#' + id)) ?? '',
    seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
    html: at.outerHTML.slice(0, 140),
  };
}
"""
OUT_OF_REACH: Final = """
(selector) => {
  const panel = document.querySelector(selector);
  const reach = 'a[href], button, input, textarea, select, summary, video, audio, [tabindex]:not([tabindex="-1"])';
  const shown = (one) => one.getClientRects().length && getComputedStyle(one).visibility !== 'hidden';
  const name = (one) => one.outerHTML.slice(0, 160);
  const forMice = [...panel.querySelectorAll('*')].filter((one) => shown(one)
    && getComputedStyle(one).cursor === 'pointer' && getComputedStyle(one.parentElement).cursor !== 'pointer'
    && !one.closest(reach) && !one.closest('label') && !one.querySelector(reach));
  const ringless = [...panel.querySelectorAll(reach)].filter((one) => shown(one) && !one.disabled && one.tabIndex >= 0)
    .filter((one) => {
      one.focus({preventScroll: true});
      const style = getComputedStyle(one);
      return document.activeElement === one && !(style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2);
    });
  const blamed = (ones, why) => ones.map((one) => `${why}: ${name(one)}`);
  return [...blamed(forMice, 'only a mouse reaches'), ...blamed(ringless, 'no ring')];
}
"""


@pytest.fixture
def answered(browser: Browser, fake_page: str) -> Iterator[Page]:
    with opened(browser, fake_page) as page:
        page.add_style_tag(content=STILL)
        page.locator("#examples button").first.focus()
        page.keyboard.press("Enter")
        expect_three_answers(page)
        yield page


def test_the_tab_key_goes_through_the_page_as_one_reads_it_is_seen_and_comes_out_again(answered: Page) -> None:
    for key in KEYS:
        expect(answered.locator(f"#overlay-{key} img")).to_be_visible()
    expect(answered.locator("#download")).to_be_enabled()  # a moment after the last answer
    answered.evaluate("document.activeElement.blur()")
    answered.locator(".page-head h1").click()
    seen: list[str] = []
    ringless: list[str] = []
    answered.locator("#accessibility a").focus()
    for _ in range(MOST_STOPS):
        at = answered.evaluate(FOCUSED, list(STOPS))
        if at is None or (seen and at["stop"] == STOPS[0]):
            break
        ringless += [] if at["seen"] else [at["html"]]
        if at["stop"] and at["stop"] not in seen[-1:]:
            seen.append(at["stop"])
        answered.keyboard.press("Tab")
    else:
        pytest.fail(f"the Tab key did not come out of the page after {MOST_STOPS} stops: {seen}")
    assert ringless == []
    assert seen == list(STOPS)


def test_nothing_on_any_tab_is_for_the_mouse_alone_and_every_focus_is_seen(answered: Page) -> None:
    found = []
    for name, panel in each_tab(answered):
        answered.keyboard.press("Shift")
        found += [f"{name}: {said}" for said in answered.evaluate(OUT_OF_REACH, panel)]
    assert "\n".join(found) == ""


def test_arrow_keys_go_along_the_tabs_and_the_first_link_leads_past_the_head(page: Page) -> None:
    page.get_by_role("tab", name="Compare", exact=True).focus()
    page.keyboard.press("ArrowRight")
    inspect = page.get_by_role("tab", name="Inspect")
    expect(inspect).to_be_focused()
    expect(inspect).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Home")
    expect(page.get_by_role("tab", name="Compare", exact=True)).to_have_attribute("aria-selected", "true")
    page.locator("#accessibility a").focus()
    expect(page.locator("#accessibility a")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("tabpanel", name="Compare", exact=True)).to_be_focused()


def test_heads_words_and_marks_are_chosen_without_a_mouse(answered: Page) -> None:
    answered.get_by_role("tab", name="Inspect").press("Enter")
    answered.locator("#attention-heads [aria-pressed=true]").focus()
    answered.keyboard.press("ArrowRight")
    answered.keyboard.press("ArrowRight")
    answered.keyboard.press("Enter")
    expect(answered.locator("#attention-maps-picture figcaption")).to_contain_text("layer 3, head 2")
    word = answered.locator("#attention-tokens button").nth(1)
    word.focus()
    answered.keyboard.press("Enter")
    expect(answered.locator("#attention-tokens button[aria-pressed=true]")).not_to_contain_text("[CLS]")
    answered.get_by_role("tab", name="Compare").press("Enter")
    answered.locator("#column-evf-sam .look-closer").press("Enter")
    expect(answered.locator("#canvas .stage")).to_be_visible()
    answered.locator("#refine-kind input").first.focus()
    answered.keyboard.press("ArrowDown")
    expect(answered.locator("#refine-kind input").nth(1)).to_be_checked()
    answered.locator("#refine-x input").fill("40")
    answered.locator("#refine-add").press("Enter")
    expect(answered.locator("#refine-marks li")).to_have_count(1)


def test_a_run_is_said_when_asked_and_at_its_end_and_every_result_has_its_words(page: Page) -> None:
    page.evaluate(
        """() => {
          window.said = [];
          const status = document.getElementById('status');
          const live = () => status.querySelector('[role=status], [role=alert]')?.innerText.trim();
          new MutationObserver(() => { if (live() && live() !== window.said.at(-1)) window.said.push(live()); })
            .observe(status, {childList: true, subtree: true, characterData: true});
        }"""
    )
    page.click("#new-scene")
    page.wait_for_function("window.said.some((each) => each.startsWith('A new scene'))")
    expect_three_answers(page)
    page.wait_for_function("window.said.at(-1)?.startsWith('All')")
    page.evaluate("window.said = []")
    page.fill(PHRASE, "the red thing")
    page.press(PHRASE, "Enter")
    page.wait_for_function("window.said.at(-1)?.startsWith('All')")
    said = page.evaluate("window.said")
    assert [sentence.split(" ")[0] for sentence in said] == ["Asked.", "All"], said
    for key, title in zip(KEYS, ("EVF-SAM", "CLIP text", "Point query"), strict=True):
        words = str(page.locator(f"#overlay-{key} img").get_attribute("alt"))
        assert words.startswith(f"{title}, mask for “the red thing”. Marked"), words
        assert "of the image" in words or "the mask is empty" in words, words
