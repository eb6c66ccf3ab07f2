"""What the comparison owes to screen readers, keyboards and weak eyes, before, between and after answers."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.browser.test_page import CONTRAST, KEYS, PHRASE, expect_three_answers

pytestmark = pytest.mark.browser

OFFENCES = """
() => {
  const shown = (one) => one.getClientRects().length > 0;
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  const short = (one) => one.outerHTML.slice(0, 140);
  const found = {};
  const blame = (rule, ones) => { if (ones.length) found[rule] = ones.map((one) => one.outerHTML ? short(one) : one); };
  const ids = [...document.querySelectorAll('#workplace [id]')].map((one) => one.id).filter(Boolean);
  blame('an id is there twice', ids.filter((id, index) => ids.indexOf(id) !== index));
  blame('a picture has no alternative text', all('img:not([alt])'));
  blame('a result has no words', all('#columns img').filter((one) => one.alt.length < 20));
  blame('a reference leads nowhere', all('[aria-labelledby], [aria-describedby]').filter((one) =>
    [one.getAttribute('aria-labelledby'), one.getAttribute('aria-describedby')].join(' ').trim().split(/\\s+/)
      .some((id) => id && !['null'].includes(id) && !document.getElementById(id))));
  blame('a button holds a button', all('button button, button a[href]'));
  blame('focus goes where nothing is said',
    all('[aria-hidden=true] button, [aria-hidden=true] input').filter((one) => one.tabIndex >= 0));
  blame('a status is within a button', all('button [role=status], button [role=alert]'));
  const levels = all('h1, h2, h3, h4').map((one) => Number(one.tagName[1]));
  blame('a heading skips a level', levels.filter((level, index) => index && level > levels[index - 1] + 1));
  if (levels.filter((level) => level === 1).length !== 1) found['not one main heading'] = levels;
  if (!document.documentElement.lang) found['the page has no language'] = [''];
  return found;
}
"""
TEXTS = ".viewer button, .viewer output, .viewer label span, .viewer .caption, .readout, .problem span, .empty, .reason"


def answered(page: Page) -> None:
    page.click("#new-scene")
    expect_three_answers(page)
    for key in KEYS:
        expect(page.locator(f"#overlay-{key} img")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_hidden_from_a_screen_reader_or_from_weak_eyes(browser: Browser, fake_page: str, theme: str) -> None:
    with opened(browser, f"{fake_page}?__theme={theme}") as page:
        assert page.evaluate(OFFENCES) == {}
        page.press(PHRASE, "Enter")
        expect(page.locator("#status [role=alert]")).to_be_visible()
        assert page.evaluate(OFFENCES) == {}
        measured = page.evaluate(CONTRAST, TEXTS)
        answered(page)
        assert page.evaluate(OFFENCES) == {}
        page.locator("#overlay-evf-sam img").hover()
        expect(page.locator("#readout-evf-sam")).to_contain_text("logit")
        measured += page.evaluate(CONTRAST, TEXTS)
        assert len(measured) > 8
        assert [text for text in measured if text["ratio"] < 4.5] == []


def test_what_is_chosen_is_seen_where_the_systems_colours_rule(browser: Browser, fake_page: str) -> None:
    context = browser.new_context(forced_colors="active")
    page = context.new_page()
    page.goto(fake_page)
    open_tab, other = (page.get_by_role("tab", name=name, exact=True) for name in ("Compare", "Inspect"))
    expect(open_tab).to_be_visible()
    ground = "(one) => getComputedStyle(one).backgroundColor"
    assert open_tab.evaluate(ground) != other.evaluate(ground)
    box = page.locator("#strategies input").first
    assert box.evaluate("(one) => [getComputedStyle(one).appearance, one.checked]") == ["auto", True]
    context.close()
