import dataclasses

import numpy as np
import pytest
import torch

from evfsam.attention import cls_text_rollout, cls_to_image, mass_inside, rollout, text_rollouts
from evfsam.errors import ConfigurationError
from evfsam.types import AttentionRecord, Segmentation, StrategyCard, Verdict
from workbench.analysis.attention_view import (
    ALL_HEADS,
    ROLLOUT,
    AttentionView,
    attention_view,
    attention_views,
    shares_between,
)
from workbench.comparison import PhraseResult, StrategyResult, joined
from workbench.pictures.colours import HEAT_STOPS

LAYERS, HEADS, GRID, TEXT = 3, 2, (4, 6), 5
SIZE = (400, 600)
IMAGE = np.full((*SIZE, 3), 90, np.uint8)


def answer(seed: int = 0) -> StrategyResult:
    tokens = 1 + GRID[0] * GRID[1] + TEXT
    scores = torch.randn(LAYERS, HEADS, tokens, tokens, generator=torch.Generator().manual_seed(seed))
    record = AttentionRecord(scores.softmax(-1), GRID, SIZE, ("<s>", "\u2581", "blue", "\u2581bus", "</s>"))
    logits = torch.full(SIZE, -1.0)
    logits[100:250, 50:400] = 1
    segmentation = Segmentation(Verdict("found"), logits, attention=record)
    return StrategyResult("a", StrategyCard("a", "A title", "", "", "", "", ""), segmentation, 0.1)


@pytest.fixture
def view() -> AttentionView:
    made = attention_view(answer(), IMAGE)
    assert made is not None
    return made


@pytest.mark.parametrize("layer", range(1, LAYERS + 1))
def test_layers_and_heads_count_from_one_and_head_zero_is_their_sum(view: AttentionView, layer: int) -> None:
    record = answer().segmentation.attention
    assert record is not None
    assert np.array_equal(view.map_of(layer, ALL_HEADS), cls_to_image(record, layer - 1))
    for head in range(1, HEADS + 1):
        assert np.array_equal(view.map_of(layer, head), cls_to_image(record, layer - 1, head - 1))


def test_layer_zero_is_the_rollout(view: AttentionView) -> None:
    record = answer().segmentation.attention
    assert record is not None
    assert np.array_equal(view.map_of(ROLLOUT, 1), rollout(record))


@pytest.mark.parametrize(("layer", "head"), [(-1, 0), (LAYERS + 1, 0), (1, -1), (1, HEADS + 1)])
def test_what_is_not_there_is_refused_with_what_is(view: AttentionView, layer: int, head: int) -> None:
    with pytest.raises(ConfigurationError, match=f"layer 1 to {LAYERS} .* head 1 to {HEADS}"):
        view.map_of(layer, head)


def test_the_share_inside_is_that_of_the_original_mask(view: AttentionView) -> None:
    share = mass_inside(view.map_of(2, 1), answer().segmentation.mask)
    assert view.mass_inside(2, 1) == pytest.approx(share, abs=1e-6)


def test_pictures_show_the_map_asked_for(view: AttentionView) -> None:
    assert view.heat_map(1, 1).shape == (*SIZE, 3)
    assert not np.array_equal(view.heat_map(1, 1), view.heat_map(1, 2))


def test_a_large_image_is_not_kept_at_its_size() -> None:
    big = answer()
    logits = torch.ones(2000, 3000)
    big = dataclasses.replace(big, segmentation=dataclasses.replace(big.segmentation, mask_logits=logits))
    made = attention_view(big, np.zeros((2000, 3000, 3), np.uint8))
    assert made is not None
    assert max(made.picture.shape) <= 768
    assert made.mask.shape == made.picture.shape[:2]


def test_a_strategy_without_attention_has_no_view() -> None:
    plain = answer()
    plain = dataclasses.replace(plain, segmentation=dataclasses.replace(plain.segmentation, attention=None))
    assert attention_view(plain, IMAGE) is None


def test_each_piece_of_the_phrase_has_a_map_by_layer_and_head(view: AttentionView) -> None:
    record = answer().segmentation.attention
    assert record is not None
    patches = GRID[0] * GRID[1]
    row = record.probabilities[1, :, 1 + patches + 3, 1 : 1 + patches].reshape(HEADS, *GRID).numpy()
    np.testing.assert_array_equal(view.token_map_of(2, 1, 3), row[0])
    np.testing.assert_allclose(view.token_map_of(2, ALL_HEADS, 3), row.sum(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(view.token_map_of(ROLLOUT, ALL_HEADS, 3), text_rollouts(record)[3])


@pytest.mark.parametrize("token", [-1, TEXT])
def test_a_token_that_is_not_there_is_refused(view: AttentionView, token: int) -> None:
    with pytest.raises(ConfigurationError, match=f"token from 0 to {TEXT - 1}, got {token}"):
        view.token_map_of(1, 1, token)


def test_tokens_are_readable_and_markers_are_told_apart(view: AttentionView) -> None:
    tokens = view.shares_of_tokens(1, 1)
    assert [token.text for token in tokens] == ["<s>", "\u2423", "blue", "bus", "</s>"]
    assert [token.is_special for token in tokens] == [True, False, False, False, True]
    assert [token.index for token in tokens] == list(range(TEXT))


def test_shares_of_all_heads_are_their_mean_and_stay_shares(view: AttentionView) -> None:
    heads = [[token.share for token in view.shares_of_tokens(3, head)] for head in range(1, HEADS + 1)]
    averaged = [token.share for token in view.shares_of_tokens(3, ALL_HEADS)]
    np.testing.assert_allclose(averaged, np.mean(heads, axis=0), rtol=1e-6)
    assert 0 < sum(averaged) < 1
    record = answer().segmentation.attention
    assert record is not None
    rolled = [token.share for token in view.shares_of_tokens(ROLLOUT, ALL_HEADS)]
    np.testing.assert_allclose(rolled, cls_text_rollout(record), rtol=1e-6)


def test_the_gain_is_the_share_inside_over_the_masks_area(view: AttentionView) -> None:
    assert view.mass_gain(1, 1) == pytest.approx(view.mass_inside(1, 1) / answer().segmentation.area_share, rel=1e-3)


def test_a_tokens_picture_is_that_of_its_map(view: AttentionView) -> None:
    assert not np.array_equal(view.heat_map(1, 1, 2), view.heat_map(1, 1, 3))


def test_maps_side_by_side_share_one_scale(view: AttentionView) -> None:
    stronger = dataclasses.replace(view, maps=view.maps * 2)
    peak = stronger.peak(1, 1)
    weak, strong = (each.heat_map(1, 1, peak=peak) for each in (view, stronger))
    np.testing.assert_array_equal(strong, stronger.heat_map(1, 1))
    assert not np.array_equal(weak, view.heat_map(1, 1)), "the weaker map must not be stretched to full brightness"


@pytest.mark.parametrize(("layer", "head"), [(1, ALL_HEADS), (2, 1), (ROLLOUT, ALL_HEADS)])
def test_what_cls_spent_on_image_phrase_and_itself_adds_up(view: AttentionView, layer: int, head: int) -> None:
    image, phrase, own = view.shares(layer, head)
    record = answer().segmentation.attention
    assert record is not None
    if layer != ROLLOUT:
        rows = record.probabilities[layer - 1, :, 0]
        row = rows.mean(dim=0) if head == ALL_HEADS else rows[head - 1]
        assert own == pytest.approx(float(row[0]), abs=1e-5)
    assert image + phrase + own == pytest.approx(1, abs=1e-5)
    assert min(image, phrase, own) > 0


def test_one_scale_holds_every_map_of_an_answer(view: AttentionView) -> None:
    peak = view.highest_share()
    layers, heads = range(1, LAYERS + 1), range(1, HEADS + 1)
    words = range(len(view.tokens))
    single = [view.peak(layer, head, word) for layer in layers for head in heads for word in (None, *words)]
    assert peak == max(*single, view.peak(ROLLOUT, ALL_HEADS))
    assert all(view.peak(layer, ALL_HEADS) <= peak * view.heads_in(layer, ALL_HEADS) for layer in layers)


def test_the_grid_of_heads_has_a_pixel_a_patch_and_says_its_scale(view: AttentionView) -> None:
    own, one = view.head_grid(), view.head_grid(is_one_scale=True)
    assert own.shape == one.shape == (LAYERS * GRID[0], (1 + HEADS) * GRID[1], 3)
    brightest = tuple(HEAT_STOPS[-1])
    for layer in range(1, LAYERS + 1):
        for head in range(HEADS + 1):
            cut = (layer - 1) * GRID[0], head * GRID[1]
            small = own[cut[0] : cut[0] + GRID[0], cut[1] : cut[1] + GRID[1]]
            strongest = np.unravel_index(view.map_of(layer, head).argmax(), GRID)
            assert tuple(small[strongest]) == brightest
    assert (one == brightest).all(axis=2).sum() <= 1


def test_shares_between_tokens_count_layers_and_heads_as_the_maps_do(view: AttentionView) -> None:
    record = answer().segmentation.attention
    assert record is not None
    for layer, head in ((1, 2), (2, ALL_HEADS), (ROLLOUT, ALL_HEADS)):
        row = shares_between(record, layer, head)[0, 1 : 1 + GRID[0] * GRID[1]].reshape(GRID)
        np.testing.assert_allclose(row * view.heads_in(layer, head), view.map_of(layer, head), atol=1e-6)


def test_each_of_several_phrases_has_a_view() -> None:
    one, other = answer(0), answer(1)
    segmentations = (one.segmentation, dataclasses.replace(other.segmentation, attention=None), other.segmentation)
    answers = tuple(PhraseResult(phrase, each) for phrase, each in zip("abc", segmentations, strict=True))
    several = dataclasses.replace(one, segmentation=joined(segmentations), answers=answers)
    views = attention_views(several, IMAGE)
    assert [each.phrase for each in views] == ["a", "c"]
    assert other.segmentation.attention is not None
    assert np.array_equal(views[1].map_of(ROLLOUT, ALL_HEADS), rollout(other.segmentation.attention))
    assert [each.phrase for each in attention_views(one, IMAGE, "single")] == ["single"]
