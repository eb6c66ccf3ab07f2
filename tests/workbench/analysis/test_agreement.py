from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evfsam.errors import ConfigurationError, GeometryError
from evfsam.types import Segmentation, StrategyCard, Verdict
from tests.workbench.doubles import half_lit, suite_of
from workbench.analysis.agreement import (
    answered_masks,
    disagreement_map,
    pairwise_iou,
    regions_against_reference,
    regions_of_pair,
    vote_map,
)
from workbench.comparison import Comparison, StrategyResult

MASK = arrays(np.bool_, (4, 5))
CARD = StrategyCard("", "", "", "", "", "", "")


def result(key: str, mask: np.ndarray) -> StrategyResult:
    logits = torch.where(torch.from_numpy(mask), 1.0, -1.0)
    return StrategyResult(key, CARD, Segmentation(Verdict("found"), logits), 0.0)


def test_agreement_is_the_iou_of_every_two_masks() -> None:
    masks = [np.array([[1, 1, 0, 0]], dtype=bool), np.array([[0, 1, 1, 0]], dtype=bool)]
    assert pairwise_iou(result(key, mask) for key, mask in zip("ab", masks, strict=True)) == {
        "a": {"a": 1.0, "b": 1 / 3},
        "b": {"a": 1 / 3, "b": 1.0},
    }


def test_strategies_that_both_found_nothing_agree() -> None:
    empty = np.zeros((2, 2), dtype=bool)
    assert pairwise_iou([result("a", empty), result("b", empty)])["a"]["b"] == 1.0


def test_a_failed_strategy_has_no_opinion(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, one="load_bright", broken="load_buggy", two="load_bright")
    table = pairwise_iou(Comparison(suite).run(half_lit(), "the light"))
    assert list(table) == list(table["one"]) == ["one", "two"]


@given(st.lists(MASK, min_size=1, max_size=5))
def test_votes_count_the_masks_that_hold_a_pixel(masks: list[np.ndarray]) -> None:
    votes = vote_map({str(index): mask for index, mask in enumerate(masks)})
    np.testing.assert_array_equal(votes, np.sum(masks, axis=0))


@given(st.lists(MASK, min_size=2, max_size=5))
def test_disagreement_is_the_share_of_pairs_that_differ_of_the_most_possible(masks: list[np.ndarray]) -> None:
    differing = np.sum([one != other for one, other in combinations(masks, 2)], axis=0)
    most = len(masks) ** 2 // 4
    divided = disagreement_map({str(index): mask for index, mask in enumerate(masks)})
    np.testing.assert_allclose(divided, differing / most, rtol=1e-6)


def test_one_answer_cannot_disagree() -> None:
    assert disagreement_map({"a": np.eye(3, dtype=bool)}).max() == 0


def test_no_answers_and_answers_of_two_sizes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="1 to 255 masks to count, got 0"):
        vote_map({})
    with pytest.raises(GeometryError, match=r"one size, got \[\(2, 2\), \(3, 3\)\]"):
        vote_map({"a": np.eye(2, dtype=bool), "b": np.eye(3, dtype=bool)})


@given(MASK, MASK)
def test_the_regions_of_a_pair_part_its_union(one: np.ndarray, other: np.ndarray) -> None:
    regions = regions_of_pair(one, other)
    together = regions.only_a.astype(int) + regions.only_b + regions.both
    np.testing.assert_array_equal(together, one | other)
    np.testing.assert_array_equal(regions.only_a | regions.both, one)
    np.testing.assert_array_equal(regions.only_b | regions.both, other)
    table = pairwise_iou([result("a", one), result("b", other)])
    assert regions.iou == table["a"]["b"]


def test_pixels_that_a_reference_leaves_out_belong_to_no_region() -> None:
    mask = np.array([[1, 1, 1, 0, 0]], dtype=bool)
    reference = np.array([[1, 0, 255, 1, 255]], dtype=np.uint8)
    regions = regions_against_reference(mask, reference)
    assert [part.tolist()[0] for part in (regions.both, regions.only_a, regions.only_b, regions.ignored)] == [
        [True, False, False, False, False],
        [False, True, False, False, False],
        [False, False, False, True, False],
        [False, False, True, False, True],
    ]
    assert regions.iou == pytest.approx(1 / 3)


def test_a_known_mask_of_another_size_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"one size, got \(2, 2\) and \(3, 3\)"):
        regions_against_reference(np.eye(2, dtype=bool), np.eye(3, dtype=bool))


def test_masks_of_failed_strategies_are_no_answers(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, one="load_bright", broken="load_buggy")
    assert list(answered_masks(Comparison(suite).run(half_lit(), "the light"))) == ["one"]
