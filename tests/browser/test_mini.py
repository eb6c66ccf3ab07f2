"""One whole visit over the trained weights in the repository."""

import json
import zipfile
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import open_tab, opened, serve
from webui.blocks import build_demo
from workbench.comparison import Comparison
from workbench.suites.registry import MINI

pytestmark = [pytest.mark.browser, pytest.mark.weights, pytest.mark.slow]

WAIT_MS = 120_000
"""The first answers also wait for the weights to be read; a busy machine may be slow."""


@pytest.fixture
def mini_page() -> Iterator[str]:
    demo = build_demo(Comparison(MINI))
    yield serve(demo)
    demo.close()


def test_a_visit_on_the_mini_suite_from_an_example_to_the_download(browser: Browser, mini_page: str) -> None:
    with opened(browser, mini_page) as page:
        expect(page.locator(".banner")).to_contain_text("generated scenes")
        page.locator("#examples button").nth(2).click()
        expect(page.locator("#status")).to_contain_text("All 3 strategies answered", timeout=WAIT_MS)
        for key in MINI.strategies:
            card = page.locator(f"#card-{key} .card")
            expect(card).to_contain_text("Measured IoU")
            expect(card).not_to_have_attribute("data-state", "failed")
            expect(page.locator(f"#overlay-{key} img")).to_be_visible()
        open_tab(page, "Inspect")
        page.locator("#attention-heads button").nth(1).click()
        expect(page.locator("#attention-maps-picture figcaption")).to_contain_text("layer 1, head 1:")
        open_tab(page, "Compare")
        with page.expect_download() as download:
            page.click("#download")
        with zipfile.ZipFile(download.value.path()) as archive:
            result = json.loads(archive.read("result.json"))
        assert result["suite"] == "mini"
        assert result["strategies"]["evf-sam"]["iou_with_reference"] > 0
        assert [result["strategies"][key]["embedding_was_cached"] for key in MINI.strategies] == [False, True, True]

        page.locator("#chips button").nth(1).click()
        expect(page.locator("#status")).to_contain_text("reused: nothing was encoded again", timeout=WAIT_MS)
