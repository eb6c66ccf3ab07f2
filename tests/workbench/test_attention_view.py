"""Small maps of every layer and head, the same as the library's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evfsam.attention import cls_to_image, mass_inside, rollout
from evfsam.errors import ConfigurationError
from evfsam.types import AttentionRecord, Segmentation, StrategyCard, Verdict
from tests.workbench.doubles import half_lit, suite_of
from workbench.attention_view import ALL_HEADS, ROLLOUT, AttentionView, attention_view
from workbench.comparison import Comparison, StrategyResult

IMAGE = half_lit()
PROBABILITIES = torch.softmax(torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0)), dim=-1)
RECORD = AttentionRecord(PROBABILITIES, (2, 3), (40, 60), ("<s>", "light"))


@pytest.fixture
def view() -> AttentionView:
    logits = torch.from_numpy(IMAGE[..., 0].astype(np.float32)) - 128
    card = StrategyCard("light", "Light", "", "", "", "", "")
    segmentation = Segmentation(Verdict("found"), logits, attention=RECORD)
    found = attention_view(StrategyResult("light", card, segmentation, 0.0), IMAGE)
    assert found is not None
    return found


def test_layers_and_heads_count_from_one(view: AttentionView) -> None:
    assert (view.layer_count, view.head_count) == (2, 3)
    for layer in (1, 2):
        np.testing.assert_array_equal(view.map_of(layer, ALL_HEADS), cls_to_image(RECORD, layer - 1))
        for head in (1, 2, 3):
            np.testing.assert_array_equal(view.map_of(layer, head), cls_to_image(RECORD, layer - 1, head - 1))


def test_layer_0_is_the_rollout_whatever_the_head(view: AttentionView) -> None:
    for head in (ALL_HEADS, 2):
        np.testing.assert_array_equal(view.map_of(ROLLOUT, head), rollout(RECORD))


def test_the_share_inside_the_mask_is_the_librarys(view: AttentionView) -> None:
    expected = mass_inside(cls_to_image(RECORD, 1, 2), IMAGE[..., 0] > 128)
    assert view.mass_inside(2, 3) == pytest.approx(expected, abs=1e-5)  # sums in float32, at another size


def test_a_thumbnail_is_small_and_a_heat_map_has_the_pictures_size(view: AttentionView) -> None:
    large = AttentionView(view.title, view.maps, view.rollout, half_lit(300, 600), np.ones((300, 600), dtype=bool))
    assert large.heat_map(1, 1).shape == (300, 600, 3)
    assert max(large.thumbnail(1, 1).shape) <= 224


@pytest.mark.parametrize(("layer", "head"), [(3, 1), (-1, 1), (1, 4), (1, -1)])
def test_a_layer_or_head_that_is_not_there_is_refused(view: AttentionView, layer: int, head: int) -> None:
    with pytest.raises(ConfigurationError, match=f"got layer {layer} and head {head}"):
        view.map_of(layer, head)


def test_a_strategy_without_attention_has_no_view(tmp_path: Path) -> None:
    (result,) = Comparison(suite_of(tmp_path, only="load_refused")).run(IMAGE, "the light")
    assert attention_view(result, IMAGE) is None
