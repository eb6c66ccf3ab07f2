"""Figures agree with the reference's, and merge in any order."""

import json
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from safetensors.numpy import load_file

from evfsam.errors import GeometryError
from tests.parity.golden_outputs import golden_part
from workbench.export.results import mask_box
from workbench.metrics.masks import HIT_IOUS, AbsentTally, Mask, MeanTally, Tally, box_iou, mask_iou

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
    assert (mask_iou(empty, empty), tally.giou, tally.precision) == (1.0, 1.0, 1.0)
    assert tally.ciou is None, "a report has none either: there is no pixel to divide by"


def test_anything_predicted_where_nothing_is_counts_0() -> None:
    assert Tally.of(np.ones((3, 3), dtype=bool), np.zeros((3, 3), dtype=bool)).giou == 0


@given(st.lists(PAIRS, min_size=1, max_size=8), st.randoms())
def test_tallies_merge_in_any_order(pairs: list[tuple[Mask, Mask]], random: np.random.RandomState) -> None:
    tallies = [Tally.of(*pair) for pair in pairs]
    shuffled = list(tallies)
    random.shuffle(shuffled)
    assert reduce(add, tallies) == reduce(add, shuffled, Tally()), "to the last bit"


def test_ciou_weighs_pixels_and_giou_expressions() -> None:
    reference = np.zeros((10, 10), dtype=bool)
    reference[:5] = True
    small = np.zeros((10, 10), dtype=bool)
    small[0, 0] = True
    tally = Tally.of(reference, reference) + Tally.of(small, ~small & (np.indices((10, 10)).sum(axis=0) == 1))
    assert tally.ciou == pytest.approx(50 / 53)
    assert tally.giou == pytest.approx(0.5)


def test_an_iou_of_exactly_one_half_is_a_hit_as_the_benchmarks_count_it() -> None:
    reference = np.array([[True, True]])
    assert Tally.of(np.array([[True, False]]), reference).precision == 1
    assert Tally.of_counts(49, 100).precision == 0


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


@given(PAIRS)
def test_mask_iou_is_that_of_pycocotools(pair: tuple[Mask, Mask]) -> None:
    if not (pair[0] | pair[1]).any():
        return  # of two empty masks pycocotools says 0, the papers say 1
    one, other = (coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in pair)
    assert mask_iou(*pair) == pytest.approx(float(coco_mask.iou([one], [other], [False])[0, 0]), abs=1e-12)


@given(PAIRS)
def test_box_iou_is_that_of_pycocotools(pair: tuple[Mask, Mask]) -> None:
    boxes = [mask_box(mask) for mask in pair]
    if None in boxes:
        assert box_iou(*boxes) == float(boxes[0] is boxes[1])
        return
    xywh = [np.array([[x1, y1, x2 - x1, y2 - y1]]) for x1, y1, x2, y2 in boxes]
    assert box_iou(*boxes) == pytest.approx(float(coco_mask.iou(*xywh, [False])[0, 0]), abs=1e-12)


def test_boxes_apart_have_no_overlap() -> None:
    assert box_iou((0.0, 0.0, 1.0, 1.0), (2.0, 2.0, 3.0, 3.0)) == 0


@pytest.mark.parametrize(("intersection", "hits"), [(4, 0), (5, 1), (6, 2), (75, 3), (89, 4), (90, 5), (100, 5)])
def test_precision_counts_what_reaches_each_threshold(intersection: int, hits: int) -> None:
    union = 10 if intersection < 10 else 100
    precisions = Tally.of_counts(intersection, union).precisions
    assert list(precisions) == list(HIT_IOUS) == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert list(precisions.values()) == [1.0] * hits + [0.0] * (5 - hits)


def test_absent_expressions_join_the_region_as_grefcoco_counts_them() -> None:
    joined = Tally.of_counts(6, 8) + AbsentTally(1, 2, marked=4).as_region()
    assert joined.ciou == 6 / 12
    assert joined.giou == pytest.approx((0.75 + 1 + 0) / 3)


def test_a_mean_leaves_out_what_was_not_measured() -> None:
    assert (MeanTally.of(0.25) + MeanTally.of(None) + MeanTally.of(0.75)).mean == 0.5
    assert MeanTally.of(None).mean is None
