"""A figure for a paper: the right kind of file, the right size, and what it says is in it as text or pixels."""

import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

from evfsam.errors import ConfigurationError
from workbench.analysis.attention_figure import FigureMap, attention_figure, map_title
from workbench.analysis.attention_view import ROLLOUT, AttentionView


def view(phrase: str = "the blue bus", seed: int = 0) -> AttentionView:
    rng = np.random.default_rng(seed)
    mask = np.zeros((40, 60), dtype=bool)
    mask[:20, :30] = True
    return AttentionView(
        title="EVF-SAM",
        maps=rng.random((2, 2, 2, 3), dtype=np.float32),
        rollout=rng.random((2, 3), dtype=np.float32),
        picture=np.full((40, 60, 3), 120, dtype=np.uint8),
        mask=mask,
        phrase=phrase,
        tokens=("<s>", "bus"),
        token_maps=rng.random((2, 2, 2, 2, 3), dtype=np.float32),
        token_rollouts=rng.random((2, 2, 3), dtype=np.float32),
        token_shares=rng.random((2, 2, 2), dtype=np.float32) / 4,
        token_rollout_shares=np.array([0.1, 0.2], dtype=np.float32),
    )


def row(phrase: str = "the blue bus", seed: int = 0, **given: object) -> FigureMap:
    return FigureMap(view(phrase, seed), **given)  # type: ignore[arg-type]


def test_a_png_has_the_resolution_asked_for() -> None:
    with Image.open(io.BytesIO(attention_figure([row()], 1, 1, "png", dpi=60))) as picture:
        assert picture.format == "PNG"
        assert picture.size == (7 * 60, round(2.7 * 60))
    with Image.open(io.BytesIO(attention_figure([row(), row()], 1, 1, "png", dpi=60))) as picture:
        assert picture.size[1] == round(4.9 * 60), "each phrase has a row"


def test_a_pdf_embeds_its_letters_as_truetype() -> None:
    content = attention_figure([row()], 1, 0, "pdf", dpi=60)
    assert content.startswith(b"%PDF-")
    assert b"/Subtype /Type3" not in content
    assert b"/FontFile2" in content


def test_an_svg_holds_the_outline_as_a_path_and_the_phrase_as_it_is() -> None:
    text = attention_figure([row("costs $5 and $6")], 1, 1, "svg", dpi=60).decode()
    assert "<svg" in text
    assert "<!-- costs $5 and $6 -->" in text, "dollar signs are no formula"
    assert len(re.findall('id="QuadContourSet_', text)) == 4, "two lines around the mask, over the image and the map"


@pytest.mark.parametrize("file_format", ["pdf", "svg", "png"])
def test_equal_figures_are_equal_bytes(file_format: str) -> None:
    first, second = (attention_figure([row()], ROLLOUT, 0, file_format, dpi=50) for _ in range(2))
    assert first == second


def test_another_map_makes_another_figure() -> None:
    assert attention_figure([row()], 1, 1, "png", dpi=50) != attention_figure([row()], 1, 2, "png", dpi=50)


def test_a_word_has_a_row_of_its_own_and_a_bar_where_its_scale_is_another() -> None:
    word, cls = row(token=1, peak=0.5), row(peak=0.25)
    text = attention_figure([word, cls], 1, 1, "svg", dpi=60).decode()
    assert "<!-- “bus”, layer 1, head 1 -->" in text
    assert text.count("<!-- % of the attention on one patch -->") == 2
    one = attention_figure([row(token=1, peak=0.5), row(peak=0.5)], 1, 1, "svg", dpi=60).decode()
    assert one.count("<!-- % of the attention on one patch -->") == 1
    assert attention_figure([row(token=0)], 1, 1, "png", dpi=60) != attention_figure(
        [row(token=1)], 1, 1, "png", dpi=60
    )


def test_an_answer_without_a_mask_is_drawn_too() -> None:
    nothing = dataclasses.replace(view(), mask=np.zeros((40, 60), dtype=bool))
    assert map_title(nothing, 1, 1) == "layer 1, head 1: no mask"
    assert attention_figure([FigureMap(nothing)], 1, 1, "png", dpi=50)


def test_the_title_relates_the_mass_inside_to_the_masks_area() -> None:
    flat = dataclasses.replace(view(), maps=np.ones((2, 2, 2, 3), dtype=np.float32))
    assert map_title(flat, 2, 0) == "layer 2, all heads: 25% inside the mask, 1.0\u00d7 its area"
    assert map_title(view(), ROLLOUT, 0).startswith("rollout over all layers: ")


@pytest.mark.parametrize(
    ("count", "file_format", "dpi", "words"),
    [
        (0, "pdf", 300, "1 to 6 answers with attention, got 0"),
        (7, "pdf", 300, "got 7"),
        (1, "gif", 300, "pdf, svg, png, got 'gif'"),
        (1, "png", 10_000, "50 to 600 dpi, got 10000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(count: int, file_format: str, dpi: int, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        attention_figure([row()] * count, 1, 1, file_format, dpi=dpi)
