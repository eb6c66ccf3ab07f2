"""Files, code and links of a run, in a real browser, over fake strategies."""

import json
import re
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import opened
from tests.browser.test_page import PHRASE, ask, expect_three_answers, upload
from tests.webui.fakes import channel_mask, three_colours

pytestmark = pytest.mark.browser


def save(page: Page, title: str) -> Path:
    with page.expect_download() as download:
        page.locator("#formats button", has_text=title).click()
    return download.value.path()


def test_a_run_is_taken_away_as_files_and_as_code_but_an_upload_has_no_link(page: Page, picture: Path) -> None:
    page.get_by_role("tab", name="Take away").click()
    expect(page.get_by_text("its files, its code and a link to it are here")).to_be_visible()
    page.get_by_role("tab", name="Compare").click()
    upload(page, picture)
    ask(page, "a square")
    expect_three_answers(page)
    page.get_by_role("tab", name="Take away").click()
    with zipfile.ZipFile(save(page, "PNG masks")) as archive, archive.open("masks/evf-sam-1.png") as mask:
        assert np.array_equal(np.asarray(Image.open(mask)) > 0, channel_mask(three_colours((480, 640)), 0))
    assert json.loads(save(page, "result.json").read_text())["phrase"] == "a square"
    page.get_by_role("button", name="All figures").click()
    expect(page.locator("#result")).to_contain_text("mask_rle")
    with zipfile.ZipFile(save(page, "Everything in one zip")) as archive:
        listed = {file["name"] for file in json.loads(archive.read("manifest.json"))["files"]}
        assert listed == set(archive.namelist()) - {"manifest.json"}
    expect(page.locator("#link-note")).to_contain_text("no link can bring it back")
    expect(page.locator("#link textarea")).to_have_count(0)
    code = page.locator("#code .cm-content")
    expect(code).to_contain_text('comparison.run(image, "a square"')
    page.locator("#language label", has_text="gradio_client").click()
    expect(code).to_contain_text(f'Client("{page.url.split("?")[0]}')
    page.locator("#language label", has_text="curl").click()
    expect(code).to_contain_text("/programs/compare_strategies")


def test_a_link_brings_example_phrase_strategies_and_options_to_a_new_visitor(page: Page, browser: Browser) -> None:
    page.locator("#examples button").first.click()
    expect_three_answers(page)
    page.locator("#strategies label", has_text="CLIP text").click()
    page.locator("#options button").first.click()
    page.fill("#options input[type=number] >> nth=0", "4")
    page.press("#options input[type=number] >> nth=0", "Tab")
    expect(page.locator("#options input[type=range]").first).to_have_value("4")
    ask(page, "the first; and the second")
    expect(page.locator("#status")).to_contain_text("All 2 strategies answered")
    page.get_by_role("tab", name="Take away").click()
    expect(page.locator("#link textarea")).to_have_value(re.compile("option="))
    link = page.locator("#link textarea").input_value()
    named = parse_qs(urlsplit(link).query)
    assert named["phrase"] == ["the first", "and the second"]
    assert named["strategy"] == ["evf-sam", "point-query"]
    assert named["option"] == ["point-query.grid_size=4"]
    with opened(browser, link) as visitor:
        expect(visitor.locator("#status")).to_contain_text("All 2 strategies answered")
        expect(visitor.locator(PHRASE)).to_have_value("the first; and the second")
        expect(visitor.locator("#image img").first).to_be_visible()
        expect(visitor.locator("#strategies input:checked")).to_have_count(2)
        visitor.get_by_role("tab", name="Take away").click()
        expect(visitor.locator("#link textarea")).to_have_value(link)


def test_a_broken_link_says_so_and_leaves_the_page_ready(browser: Browser, fake_page: str) -> None:
    with opened(browser, f"{fake_page}?v=1&scene=5&size=256&suite=fake&strategy=nobody&phrase=a+dog") as visitor:
        expect(visitor.locator("#status [role=alert]")).to_contain_text("This link cannot be restored")
        expect(visitor.locator("#status")).to_contain_text("nobody")
        visitor.click("#new-scene")
        expect(visitor.locator("#chips button").first).to_be_visible()
