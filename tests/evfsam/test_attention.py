from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evfsam.attention import (
    between_tokens,
    cls_text_rollout,
    cls_to_image,
    cls_to_image_heads,
    cls_to_text_heads,
    mass_gain,
    mass_inside,
    rollout,
    text_rollouts,
    text_to_image_heads,
    to_image,
)
from evfsam.errors import ConfigurationError, GeometryError
from evfsam.types import AttentionRecord


def record(probabilities: torch.Tensor, grid: tuple[int, int] = (2, 3)) -> AttentionRecord:
    return AttentionRecord(probabilities, grid, (40, 60), ("<s>", "cup", "</s>"))


def random_record(seed: int = 0) -> AttentionRecord:
    scores = torch.randn(3, 2, 10, 10, generator=torch.Generator().manual_seed(seed))
    return record(scores.softmax(-1))


def test_a_head_reads_the_cls_row_over_the_patches() -> None:
    probabilities = torch.arange(2 * 2 * 10 * 10, dtype=torch.float32).view(2, 2, 10, 10)
    expected = np.arange(6).reshape(2, 3) + 1 + 300  # layer 1, head 1 starts at 300; key 0 is [CLS]
    np.testing.assert_array_equal(cls_to_image(record(probabilities), layer=1, head=1), expected)


def test_heads_are_summed_and_the_last_layer_is_the_default() -> None:
    given_record = random_record()
    heads = [cls_to_image(given_record, layer=2, head=head) for head in range(2)]
    np.testing.assert_allclose(cls_to_image(given_record), heads[0] + heads[1], rtol=1e-6)
    assert cls_to_image_heads(given_record).shape == (3, 2, 2, 3)
    np.testing.assert_array_equal(cls_to_image_heads(given_record)[0, 1], cls_to_image(given_record, 0, 1))


@pytest.mark.parametrize(("layer", "head"), [(3, None), (-4, None), (0, 2), (0, -1)])
def test_layers_and_heads_that_are_not_there_are_refused(layer: int, head: int | None) -> None:
    with pytest.raises(
        ConfigurationError, match=f"layer below 3 and a head below 2, got layer {layer} and head {head}"
    ):
        cls_to_image(random_record(), layer, head)


def test_rollout_of_tokens_that_read_themselves_leaves_nothing_on_the_image() -> None:
    assert rollout(record(torch.eye(10).expand(3, 2, 10, 10))).sum() == 0


def test_rollout_halves_what_one_layer_moves() -> None:
    probabilities = torch.eye(10).repeat(1, 2, 1, 1)
    probabilities[:, :, 0] = torch.nn.functional.one_hot(torch.tensor(4), 10)  # [CLS] reads patch (1, 0)
    np.testing.assert_allclose(rollout(record(probabilities)), [[0, 0, 0], [0.5, 0, 0]])


def test_rollout_follows_a_path_over_two_layers() -> None:
    """[CLS] reads text token 8 in the last layer; that token has read patch (0, 1) in the first."""
    first, last = torch.eye(10), torch.eye(10)
    first[8] = torch.nn.functional.one_hot(torch.tensor(2), 10)
    last[0] = torch.nn.functional.one_hot(torch.tensor(8), 10)
    probabilities = torch.stack([first, last])[:, None].repeat(1, 2, 1, 1)
    np.testing.assert_allclose(rollout(record(probabilities)), [[0, 0.25, 0], [0, 0, 0]])


def test_rollout_agrees_with_the_product_of_all_layers() -> None:
    given_record = random_record()
    product = torch.eye(10)
    for layer in given_record.probabilities.mean(1):
        product = (0.5 * layer + 0.5 * torch.eye(10)) @ product
    np.testing.assert_allclose(rollout(given_record), product[0, 1:7].view(2, 3).numpy(), rtol=1e-5)


def test_a_grid_that_does_not_fit_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"4 x 4 patches, got \(3, 2, 10, 10\)"):
        cls_to_image(AttentionRecord(random_record().probabilities, (4, 4), (40, 60), ()))


def test_maps_are_stretched_over_the_whole_image() -> None:
    stretched = to_image(np.array([[0, 1], [0, 1]], dtype=np.float32), (10, 100))
    assert stretched.shape == (10, 100)
    assert stretched[:, :25].max() == 0
    np.testing.assert_allclose(stretched[:, 75:], 1, atol=1e-6)
    np.testing.assert_allclose(np.diff(stretched[0, 25:75]), 0.02, atol=1e-5)


def test_mass_of_single_patches_is_found_exactly() -> None:
    attention_map = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
    mask = np.zeros((5, 7), dtype=bool)  # no multiple of the grid in either direction
    mask[:, :1] = True  # one of 7 columns: 3/7 of the left third
    assert mass_inside(attention_map, mask) == pytest.approx(5 / 21 * 3 / 7, rel=1e-5)
    assert mass_inside(attention_map, ~mask) == pytest.approx(1 - 5 / 21 * 3 / 7, rel=1e-5)


def test_mass_of_nothing_is_0() -> None:
    assert mass_inside(np.zeros((2, 3), dtype=np.float32), np.ones((5, 7), dtype=bool)) == 0


@settings(deadline=None)
@given(
    grid=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_mass_inside_and_outside_are_the_whole(grid: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    attention_map = rng.random(grid).astype(np.float32) + 0.01
    mask = rng.random(size) > 0.5
    inside, outside = mass_inside(attention_map, mask), mass_inside(attention_map, ~mask)
    assert inside + outside == pytest.approx(1, abs=1e-5)
    assert 0 <= inside <= 1


def test_a_text_tokens_map_is_its_own_row_over_the_patches() -> None:
    probabilities = torch.arange(2 * 2 * 10 * 10, dtype=torch.float32).view(2, 2, 10, 10)
    maps = text_to_image_heads(record(probabilities))
    assert maps.shape == (2, 2, 3, 2, 3)
    # Layer 1, head 0 starts at 200; text token 2 is row 9 of it.
    np.testing.assert_array_equal(maps[1, 0, 2], np.arange(6).reshape(2, 3) + 1 + 200 + 90)


def test_cls_spends_its_attention_on_itself_the_patches_and_the_text() -> None:
    given_record = random_record()
    on_text = cls_to_text_heads(given_record)
    on_image = cls_to_image_heads(given_record).sum(axis=(2, 3))
    on_itself = given_record.probabilities[:, :, 0, 0].numpy()
    assert on_text.shape == (3, 2, 3)
    np.testing.assert_allclose(on_text.sum(axis=2) + on_image + on_itself, 1, rtol=1e-5)


def test_rollouts_of_all_tokens_are_rows_of_one_product() -> None:
    given_record = random_record(1)
    product = torch.eye(10)
    for layer in given_record.probabilities.mean(1):
        product = (0.5 * layer + 0.5 * torch.eye(10)) @ product
    np.testing.assert_allclose(text_rollouts(given_record), product[7:, 1:7].view(3, 2, 3).numpy(), rtol=1e-5)
    np.testing.assert_allclose(cls_text_rollout(given_record), product[0, 7:].numpy(), rtol=1e-5)


@pytest.mark.parametrize("read", [text_to_image_heads, cls_to_text_heads, text_rollouts, cls_text_rollout])
def test_text_axes_that_do_not_fit_are_refused(read: Callable[[AttentionRecord], object]) -> None:
    with pytest.raises(GeometryError, match=r"4 x 4 patches, got \(3, 2, 10, 10\)"):
        read(AttentionRecord(random_record().probabilities, (4, 4), (40, 60), ()))


def test_the_gain_is_one_for_even_attention_and_more_where_it_gathers() -> None:
    mask = np.zeros((4, 6), dtype=bool)
    mask[:2, :2] = True  # one of 2 x 3 patches
    assert mass_gain(np.ones((2, 3), dtype=np.float32), mask) == pytest.approx(1)
    gathered = np.array([[1, 0, 0], [0, 0, 1]], dtype=np.float32)
    assert mass_gain(gathered, mask) == pytest.approx(3)
    assert mass_gain(gathered, np.zeros_like(mask)) is None


def test_a_row_between_tokens_is_what_one_read_and_a_column_what_attends_to_it() -> None:
    scores = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0)).softmax(-1)
    told = record(scores)
    assert np.array_equal(between_tokens(told, 1, 2), scores[1, 2].numpy())
    np.testing.assert_allclose(between_tokens(told, 0), scores[0].mean(dim=0).numpy(), atol=1e-6)
    flow = between_tokens(told, None)
    np.testing.assert_allclose(flow[0, 1:7].reshape(2, 3), rollout(told), atol=1e-6)
    np.testing.assert_allclose(flow.sum(axis=1), 1, atol=1e-5)
    with pytest.raises(ConfigurationError, match="a layer below 2 and a head below 3"):
        between_tokens(told, 2)
