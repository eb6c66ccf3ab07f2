"""The tab of attention, in a real browser: heads, words, two phrases side by side, and a figure."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import open_tab
from tests.browser.test_page import ask, expect_three_answers, upload
from tests.browser.test_tabs_agreement import choose
from tests.webui.fakes import HEADS

pytestmark = pytest.mark.browser


def test_heads_words_and_a_second_phrase_are_looked_into_and_saved_as_a_figure(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "the red square; another")
    expect_three_answers(page)
    open_tab(page, "Inspect", "Attention")
    shown = page.locator("#attention-maps-picture")
    expect(shown.locator("figcaption")).to_contain_text(
        re.compile(r"layer 3, all heads: \d+% inside the mask, [\d.]+×")
    )
    heads = page.locator("#attention-heads button")
    expect(heads).to_have_count(HEADS + 1)
    before = shown.locator("img").get_attribute("src")
    heads.nth(2).focus()
    page.keyboard.press("Enter")
    expect(shown.locator("figcaption")).to_contain_text("head 2")
    expect(shown.locator("img")).not_to_have_attribute("src", str(before))
    expect(heads.nth(2)).to_be_focused()

    page.locator("#attention-tokens button", has_text="word").click()
    expect(shown.locator("img")).to_have_count(2)
    expect(shown.locator("img").first).to_have_attribute("alt", re.compile("“word”"))
    expect(shown.locator(".colour-bar")).to_have_count(2)
    page.locator("#attention-tokens button", has_text="[CLS]").click()
    expect(shown.locator("img")).to_have_count(1)
    choose(page, "attention-beside", "another")
    expect(shown).to_contain_text("Equal colours are equal attention")
    choose(page, "attention-layer", "Rollout through all layers")
    expect(shown.locator("figcaption").nth(1)).to_contain_text("“another”, rollout over all layers")
    expect(page.locator("#attention-maps .caveat")).to_contain_text("not why the mask came out")

    page.click("#attention-make")
    with page.expect_download() as download:
        page.locator("#attention-file a").click()
    assert download.value.suggested_filename == "attention.pdf"
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF")


def test_a_map_says_its_scale_its_shares_and_whether_patches_run_together(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "a square")
    expect_three_answers(page)
    open_tab(page, "Inspect", "Attention")
    shown = page.locator("#attention-maps-picture")
    expect(shown.locator(".colour-bar")).to_contain_text(re.compile(r"0 %.*\d\.\d %", re.DOTALL))
    expect(shown).to_contain_text("for this map alone")
    spent = [float(each) for each in re.findall(r"[\d.]+(?= %)", shown.locator(".spent").inner_text())]
    assert len(spent) == 3
    assert abs(sum(spent) - 100) < 0.2
    before = str(shown.locator("img").get_attribute("src"))
    page.locator("#attention-drawing label", has_text="Smooth").click()
    expect(shown.locator("img")).not_to_have_attribute("src", before)
    page.locator("#attention-scale label", has_text="One for the layer").click()
    expect(shown).to_contain_text("for every map of this layer")


def test_a_run_without_attention_says_who_has_it(page: Page, picture: Path) -> None:
    upload(page, picture)
    page.locator("#strategies label", has_text="EVF-SAM").click()
    ask(page, "the square")
    expect(page.locator("#status")).to_contain_text("All 2 strategies answered")
    open_tab(page, "Inspect", "Attention")
    expect(page.locator("#attention-maps-picture")).to_contain_text("EVF-SAM, which reads image and phrase together")
