"""Layers laid over a picture give the pictures that are drawn whole elsewhere."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from evfsam.types import PromptPoint, SamPrompt, Segmentation, Verdict
from tests.webui.fakes import drawn_attention
from workbench.pictures.answer_figures import attention_overlay, certainty_figure
from workbench.pictures.colours import WHITE, strategy_colour
from workbench.pictures.layers import (
    attention_layer,
    certainty_layer,
    heat_layer,
    mask_layer,
    outline_layer,
    prompt_layer,
)
from workbench.pictures.rendering import evidence, overlay

KEY = "evf-sam"
SIZE = (520, 640)
GREY = np.full((*SIZE, 3), 120, dtype=np.uint8)
MASK = np.zeros(SIZE, dtype=bool)
MASK[100:300, 200:500] = True
POINTS = SamPrompt(box=(200.0, 100.0, 500.0, 300.0), points=(PromptPoint(350.5, 200.5, 1), PromptPoint(50.5, 60.5, 0)))


def laid_over(picture: NDArray[np.uint8], *layers: NDArray[np.uint8]) -> NDArray[np.int16]:
    below = Image.fromarray(picture).convert("RGBA")
    for layer in layers:
        above = Image.fromarray(layer).resize(below.size, Image.Resampling.BILINEAR)
        below = Image.alpha_composite(below, above)
    return np.asarray(below.convert("RGB")).astype(np.int16)


def answer(prompts: tuple[SamPrompt, ...] = ()) -> Segmentation:
    logits = torch.from_numpy(np.where(MASK, 3.0, -3.0).astype(np.float32))
    return Segmentation(Verdict("found"), logits, prompts=prompts, attention=drawn_attention(SIZE, 3))


def test_mask_and_outline_give_the_picture_of_the_columns() -> None:
    whole = overlay(GREY, MASK, KEY, is_labelled=False, is_rest_dimmed=True)
    layered = laid_over(GREY, mask_layer(MASK, KEY), outline_layer(MASK, WHITE, strategy_colour(KEY)))
    assert np.abs(layered - whole).max() <= 2
    assert not mask_layer(np.zeros(SIZE, dtype=bool), KEY).any()


def test_prompts_give_the_picture_of_the_evidence() -> None:
    found = answer((POINTS,))
    outlined = evidence(GREY, answer(), KEY)
    layered = laid_over(outlined, prompt_layer(SIZE, [POINTS], KEY, (1.0, 1.0)))
    whole = evidence(GREY, found, KEY)
    beside = np.s_[40:]  # below the strategy's name, which is written last
    assert np.array_equal(layered[beside], whole[beside])


def test_attention_and_probability_give_their_maps_but_for_the_mask_s_outline() -> None:
    for layer, whole in (
        (attention_layer(answer()), attention_overlay(GREY, answer())),
        (certainty_layer(answer()), certainty_figure(GREY, answer())),
    ):
        assert layer is not None
        away = ~outline_layer(MASK, WHITE, WHITE)[..., 3].astype(bool)
        away[95:305, 195:505] &= np.abs(np.gradient(MASK.astype(float))).sum(axis=0)[95:305, 195:505] == 0
        difference = np.abs(laid_over(GREY, layer) - whole).max(axis=2)[away]
        assert np.percentile(difference, 95) <= 8
    assert attention_layer(Segmentation(Verdict("found"), torch.zeros(SIZE))) is None


def test_heat_is_more_opaque_the_higher_and_bounded() -> None:
    low, high, beyond, nothing = heat_layer(np.array([[0.0, 1.0, 7.0, np.nan]]))[0]
    assert low[3] < high[3]
    assert (high == beyond).all()
    assert (low == nothing).all()
