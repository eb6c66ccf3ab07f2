"""A picture by its address: fetched within bounds, and refused in words."""

import dataclasses
import re

import gradio as gr
import numpy as np
import pytest

from tests.webui.fakes import fake_comparison, three_colours
from webui.fetching import Fetcher
from webui.i18n.translate import in_language
from webui.tabs.compare.tab import ComparePage, build_compare
from workbench.export.results import png_bytes


@dataclasses.dataclass(frozen=True)
class OnePicture(Fetcher):
    """Answers every address with the same bytes."""

    content: bytes = b""

    def fetch(self, address: str) -> bytes:
        assert address.startswith("https://")
        return self.content


def page_with(content: bytes) -> ComparePage:
    with gr.Blocks():
        page = build_compare(fake_comparison()[0], ())
    return dataclasses.replace(page, fetcher=OnePicture(content=content))


def test_a_picture_at_an_address_takes_the_place_of_the_one_before() -> None:
    image = three_colours((120, 160))
    page = page_with(png_bytes(image))
    taken = page.take_address(" https://example.org/a.png ")
    assert np.array_equal(taken[page.controls.image], image)
    assert taken[page.known] is None
    assert taken[page.last_run] is None
    assert "160 × 120 pixels" in str(taken[page.status])


def test_what_is_no_picture_or_no_address_leaves_the_page_as_it_is() -> None:
    page = page_with(b"<html>")
    for address, words in (
        ("https://example.org", "expected an image"),
        ("a.png", "begins with http"),
        (None, "begins"),
    ):
        refused = page.take_address(address)
        assert list(refused) == [page.status]
        assert words in str(refused[page.status])


@pytest.mark.parametrize("address", ["http://127.0.0.1/a.png", "http://example.org:22/a.png", "http://" + "x" * 3000])
def test_why_nothing_came_from_an_address_is_said_in_chinese_too(address: str) -> None:
    with gr.Blocks():
        page = build_compare(fake_comparison()[0], ())
    with in_language("zh"):
        told = str(page.take_address(address)[page.status])
    assert "这个网址没有给出图像" in told
    assert not re.search(r"expected|check it|send the file|shorten", told)
