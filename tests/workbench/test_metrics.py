"""Figures agree with the reference's, and merge in any order."""

import json
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file

from evfsam.errors import GeometryError
from tests.parity.golden_outputs import golden_part
from workbench.metrics import AbsentTally, Mask, Tally, mask_iou

MASKS = arrays(np.bool_, (5, 7))
PAIRS = st.tuples(MASKS, MASKS)
REFERENCE_NOISE = 2e-5
"""The reference divides by the count + 1e-5 and sums in float32."""


def stored_tally(name: str) -> Tally:
    stored = load_file(golden_part("metrics") / "masks.safetensors")
    pairs = zip(stored[f"{name}/logits"] > 0, stored[f"{name}/gt"], strict=True)
    return sum((Tally.of(mask, reference) for mask, reference in pairs), Tally())


def test_figures_agree_with_those_of_the_reference_implementation() -> None:
    expected = json.loads((golden_part("metrics") / "expected.json").read_text())
    tallies = {name: stored_tally(name) for name in expected if name != "all"}
    tallies["all"] = sum(tallies.values(), Tally())
    ours = {name: {"gIoU": tally.giou, "cIoU": tally.ciou} for name, tally in tallies.items()}
    for name, figures in expected.items():
        assert ours[name] == pytest.approx(figures, abs=REFERENCE_NOISE), name


@given(PAIRS)
def test_iou_is_symmetric_and_between_0_and_1(pair: tuple[Mask, Mask]) -> None:
    one, other = pair
    assert mask_iou(one, other) == mask_iou(other, one)
    assert 0 <= mask_iou(one, other) <= 1


@given(PAIRS)
def test_iou_is_1_only_of_equal_masks(pair: tuple[Mask, Mask]) -> None:
    one, other = pair
    assert (mask_iou(one, other) == 1) == np.array_equal(one, other)


@given(PAIRS)
def test_iou_is_that_of_the_sets_of_pixels(pair: tuple[Mask, Mask]) -> None:
    one, other = ({tuple(place) for place in np.argwhere(mask)} for mask in pair)
    expected = len(one & other) / len(one | other) if one | other else 1
    assert mask_iou(*pair) == expected


def test_two_empty_masks_agree_wholly() -> None:
    empty = np.zeros((3, 3), dtype=bool)
    tally = Tally.of(empty, empty)
    assert (tally.ciou, tally.giou, tally.precision) == (1.0, 1.0, 1.0)


def test_anything_predicted_where_nothing_is_counts_0() -> None:
    assert Tally.of(np.ones((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool)).giou == 0


@given(st.lists(PAIRS, min_size=1, max_size=8), st.randoms())
def test_tallies_merge_in_any_order(pairs: list[tuple[Mask, Mask]], random: np.random.RandomState) -> None:
    tallies = [Tally.of(*pair) for pair in pairs]
    shuffled = list(tallies)
    random.shuffle(shuffled)
    forward, other = reduce(add, tallies), reduce(add, shuffled, Tally())
    assert (forward.intersection, forward.union, forward.hit_count, forward.count) == (
        (other.intersection, other.union, other.hit_count, other.count)
    )
    assert forward.giou == pytest.approx(other.giou, abs=1e-12)


def test_ciou_weighs_pixels_and_giou_expressions() -> None:
    reference = np.zeros((10, 10), dtype=bool)
    reference[:5] = True
    small = np.zeros((10, 10), dtype=bool)
    small[0, 0] = True
    tally = Tally.of(reference, reference) + Tally.of(small, ~small & (np.indices((10, 10)).sum(axis=0) == 1))
    assert tally.ciou == pytest.approx(50 / 53)
    assert tally.giou == pytest.approx(0.5)


def test_an_iou_of_exactly_one_half_is_no_hit() -> None:
    reference = np.array([[True, True]])
    assert Tally.of(np.array([[True, False]]), reference).precision == 0


def test_ignored_pixels_are_left_out_of_both_counts() -> None:
    reference = np.array([[1, 255, 255, 0]], dtype=np.uint8)
    assert mask_iou(np.array([[True, True, False, False]]), reference) == 1


def test_labels_other_than_1_are_background() -> None:
    reference = np.array([[1, 2, 2, 0]], dtype=np.uint8)
    assert mask_iou(np.array([[True, True, False, False]]), reference) == 0.5


def test_nothing_counted_gives_no_figure() -> None:
    assert (Tally().ciou, Tally().giou, Tally().precision, AbsentTally().n_acc) == (None, None, None, None)


def test_n_acc_is_the_share_answered_with_nothing() -> None:
    assert (AbsentTally(1, 1) + AbsentTally(0, 2) + AbsentTally(1, 1)).n_acc == 0.5


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(GeometryError, match=r"one size, got \(2, 3\) and \(3, 2\)"):
        mask_iou(np.zeros((2, 3), dtype=bool), np.zeros((3, 2), dtype=bool))
