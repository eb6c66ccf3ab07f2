"""The tab of differences, in a real browser: votes, a pair, and a reference mask."""

import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from tests.browser.test_page import ask, expect_three_answers, upload
from tests.webui.fakes import channel_mask, three_colours

pytestmark = pytest.mark.browser


def open_differences(page: Page) -> None:
    page.get_by_role("tab", name="Differences").click()


def choose(page: Page, field: str, name: str) -> None:
    """Choose in a list; an update that arrives just then closes it, and it is opened once more, as a person would."""
    option = page.get_by_role("option", name=name, exact=True)
    for _ in range(4):
        page.locator(f"#{field} input").click()
        with suppress(PlaywrightTimeoutError):
            return option.click(timeout=8000)
        page.keyboard.press("Escape")
    return option.click()


def test_the_differences_are_shown_as_votes_as_a_pair_and_against_an_uploaded_mask(
    page: Page, picture: Path, tmp_path: Path
) -> None:
    open_differences(page)
    expect(page.locator("#differences")).to_contain_text("There are no answers yet")
    page.get_by_role("tab", name="Compare").click()
    upload(page, picture)
    ask(page, "the square")
    expect_three_answers(page)
    open_differences(page)
    shown = page.locator("#differences-picture img")
    expect(shown).to_have_attribute("alt", re.compile("3 of 3: 0 %"))
    expect(page.locator("#differences-table tbody tr")).to_have_count(3)
    expect(page.locator("#differences-reference")).to_contain_text("No reference mask is known")

    page.get_by_label("A against B").check()
    expect(page.locator("#differences-picture figcaption")).to_contain_text("Only EVF-SAM: 14400 pixels")
    choose(page, "differences-other", "Point query")
    expect(shown).to_have_attribute("alt", re.compile("only Point query: 5 % of the image"))

    mask = channel_mask(three_colours((480, 640)), 2)
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    page.set_input_files("#reference-file input[type=file]", tmp_path / "mask.png")
    row = page.locator("#differences-reference tr", has_text="Point query")
    expect(row).to_contain_text("1.000")
    choose(page, "differences-other", "Reference mask")
    expect(page.locator("#differences-picture figcaption")).to_contain_text("only the reference: 14400")


def test_a_mask_of_another_size_is_refused_in_words_and_the_pictures_stay(
    page: Page, picture: Path, tmp_path: Path
) -> None:
    upload(page, picture)
    ask(page, "the square")
    expect_three_answers(page)
    open_differences(page)
    Image.fromarray(np.zeros((240, 320), np.uint8)).save(tmp_path / "half.png")
    page.set_input_files("#reference-file input[type=file]", tmp_path / "half.png")
    expect(page.locator("#differences-reference [role=alert]")).to_contain_text("0.5 times the size")
    expect(page.locator("#differences-picture img")).to_be_visible()
