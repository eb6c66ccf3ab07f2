"""The tab of attention, in a real browser: heads, words, two phrases side by side, and a figure."""

import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import open_tab
from tests.browser.test_page import ask, expect_three_answers, upload
from tests.browser.test_tabs_agreement import choose
from tests.webui.fakes import GRID, HEADS, LAYERS, drawn_attention, three_colours

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
    expect(heads).to_have_count(LAYERS * (HEADS + 1))
    expect(page.locator("#attention-heads [aria-pressed=true]")).to_have_attribute(
        "aria-label", re.compile("^Layer 3, all heads: ")
    )
    before = shown.locator("img").get_attribute("src")
    expect(page.locator("#attention-heads button[tabindex='0']")).to_have_count(1)
    page.locator("#attention-heads [aria-pressed=true]").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(heads.nth(2)).to_be_focused()
    page.keyboard.press("Enter")
    expect(shown.locator("figcaption")).to_contain_text("layer 1, head 2")
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
    expect(shown).to_contain_text("for both maps")
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
    page.locator("#attention-scale label", has_text="One for all").click()
    expect(shown).to_contain_text("for every layer, head and word")
    expect(page.locator("#attention-heads")).to_contain_text(re.compile(r"one scale, up to \d+\.\d %"))


def test_a_patch_or_a_word_tells_what_attends_to_it_by_pointer_and_keyboard(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "a square")
    expect_three_answers(page)
    open_tab(page, "Inspect", "Attention")
    probe = page.locator("#attention-probe")
    told, patches = probe.locator(".probe-told"), probe.locator(".probe-picture")
    expect(told).to_contain_text(re.compile(r"What attends to the patch in row \d, column \d: other patches"))
    box = patches.bounding_box()
    assert box is not None
    patches.hover(position={"x": box["width"] * 2.5 / GRID, "y": box["height"] * 3.5 / GRID})
    expect(told).to_contain_text("the patch in row 4, column 3:")
    patches.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    expect(told).to_contain_text("the patch in row 3, column 4:")
    record = drawn_attention((480, 640), len("a square"))
    at = 1 + 2 * GRID + 3
    attended = record.probabilities[-1].mean(dim=0)
    expect(told).to_contain_text(f"[CLS] {100 * attended[0, at]:.1f} %.")
    words = probe.locator(".probe-words small")
    expect(words.nth(2)).to_have_text(f"{100 * attended[-2, at]:.1f} %")
    probe.get_by_text("Where it looks").click()
    image = attended[at, 1 : 1 + GRID * GRID].sum()
    expect(told).to_contain_text("Where the patch in row 3, column 4 looks: ")
    expect(told).to_contain_text(f"{100 * image:.1f} % on the image")
    page.locator("#attention-heads button").nth(2).click()
    expect(page.locator("#attention-maps-picture figcaption")).to_contain_text("layer 1, head 2")
    expect(told).to_contain_text(
        f"{100 * record.probabilities[0, 1][at, 1 : 1 + GRID * GRID].sum():.1f} % on the image"
    )
    probe.locator("[data-word]", has_text="word").focus()
    expect(told).to_contain_text("Where “word” looks")


def test_two_pictures_are_looked_at_side_by_side_and_the_figure_shows_what_the_screen_shows(
    page: Page, picture: Path, tmp_path: Path
) -> None:
    upload(page, picture)
    ask(page, "the red one")
    expect_three_answers(page)
    Image.fromarray(three_colours((480, 640), shift=40)).save(tmp_path / "other.png")
    upload(page, tmp_path / "other.png")
    ask(page, "another picture")
    expect_three_answers(page)
    open_tab(page, "Inspect", "Attention")
    choose(page, "attention-beside", "the red one (an earlier run)")
    shown = page.locator("#attention-maps-picture")
    expect(shown.locator("figcaption").nth(1)).to_contain_text("“the red one”")
    expect(shown).to_contain_text("Equal colours are equal attention in both")
    page.locator("#attention-maps label", has_text="svg").click()
    page.click("#attention-make")
    with page.expect_download() as download:
        page.locator("#attention-file a").click()
    drawn = Path(download.value.path()).read_text(encoding="utf-8")
    assert "<!-- another picture -->" in drawn
    assert "<!-- the red one -->" in drawn
    page.locator("#attention-tokens button", has_text="word").click()
    expect(shown.locator("img").first).to_have_attribute("alt", "Attention of “word”")
    expect(page.locator("#attention-file a")).to_have_count(0)
    page.click("#attention-make")
    with page.expect_download() as download:
        page.locator("#attention-file a").click()
    assert "<!-- “word”, layer 3, all heads -->" in Path(download.value.path()).read_text(encoding="utf-8")


def test_a_run_without_attention_says_who_has_it(page: Page, picture: Path) -> None:
    upload(page, picture)
    page.locator("#strategies label", has_text="EVF-SAM").click()
    ask(page, "the square")
    expect(page.locator("#status")).to_contain_text("All 2 strategies answered")
    open_tab(page, "Inspect", "Attention")
    expect(page.locator("#attention-maps-picture")).to_contain_text("EVF-SAM, which reads image and phrase together")
