"""The tabs of the verdict and of the steps, in a real browser."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from tests.browser.conftest import open_tab
from tests.browser.test_page import ask, expect_three_answers, upload
from tests.browser.test_tabs_agreement import choose
from tests.webui.fakes import channel_mask, three_colours

pytestmark = pytest.mark.browser


def test_a_hole_is_filled_and_an_island_dropped_with_the_raw_mask_beside(page: Page, tmp_path: Path) -> None:
    image = Image.fromarray(three_colours((480, 640)))
    draw = ImageDraw.Draw(image)
    draw.rectangle((50, 60, 59, 69), fill=(120, 120, 120))
    draw.rectangle((20, 400, 24, 404), fill=(230, 30, 30))
    image.save(tmp_path / "holed.png")
    upload(page, tmp_path / "holed.png")
    ask(page, "the red square")
    expect_three_answers(page)
    open_tab(page, "Inspect", "Verdict")
    expect(page.locator("#verdict-words")).to_contain_text("No rule tells how sure it is")
    plates = page.locator("#verdict-masks figcaption")
    expect(plates).to_have_text([re.compile("Raw: .* 14325 pixels"), re.compile("Finished: .* 14325 pixels")])
    page.locator("#verdict-hole input").fill("200")
    expect(page.locator("#verdict-figures")).to_contain_text("1 (100 pixels)")
    page.locator("#verdict-island input").fill("100")
    expect(page.locator("#verdict-figures")).to_contain_text("1 (25 pixels)")
    expect(plates).to_have_text([re.compile("14325 pixels"), re.compile("Finished: .* 14400 pixels")])
    with page.expect_download() as download:
        page.locator("#verdict-figures a", has_text="finished").click()
    saved = np.asarray(Image.open(BytesIO(Path(download.value.path()).read_bytes())))
    assert np.array_equal(saved > 0, channel_mask(three_colours((480, 640)), 0))
    page.click("#verdict-reset")
    expect(plates).to_have_text([re.compile("14325 pixels"), re.compile("Finished: .* 14325 pixels")])


def test_the_steps_show_every_probability_and_the_candidates(page: Page, picture: Path) -> None:
    upload(page, picture)
    ask(page, "the <b>blue</b> square")
    expect_three_answers(page)
    open_tab(page, "Inspect", "Steps")
    told = page.locator("#steps-told")
    choose(page, "inspect-strategy", "Point query")
    expect(told.get_by_role("heading")).to_have_text("How Point query answered “the <b>blue</b> square”")
    expect(told.locator("pre").first).to_be_hidden()
    told.get_by_text("Word for word").first.click()
    expect(told.locator("pre").first).to_be_visible()
    expect(told.locator("pre").first).to_have_text("the <b>blue</b> square")
    expect(told).to_contain_text("P(yes) at 25 points; SAM got 10")
    told.get_by_text("The same as a table").click()
    expect(told.locator("tbody tr")).to_have_count(5)
    expect(told.locator("tbody tr").first).to_contain_text("60 % dropped")
    candidates = told.locator("li", has_text="SAM's 3 candidates").locator("figcaption")
    expect(candidates).to_have_text(
        ["Candidate 1: pred_iou 0.70, chosen.", "Candidate 2: pred_iou 0.20.", "Candidate 3: pred_iou 0.40."]
    )
    choose(page, "inspect-strategy", "CLIP text")
    expect(told).not_to_contain_text("P(yes)")
