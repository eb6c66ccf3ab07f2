"""A finished mask is changed as asked and no further, and the raw one stays."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from segment_anything.utils.amg import calculate_stability_score
from skimage.morphology import remove_small_holes, remove_small_objects

from evfsam.errors import ConfigurationError
from evfsam.geometry import stretched_frame
from evfsam.types import MaskPrediction, SamPrompt, Segmentation, Verdict
from workbench.analysis.finishing import (
    FinishingOptions,
    decision_logits,
    finish,
    smoothed,
    stability_score,
    without_holes,
    without_islands,
)

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12))
LOGITS = arrays(np.float32, (6, 7), elements=st.floats(-8, 8, width=32))


@settings(deadline=None, max_examples=50)
@given(LOGITS)
def test_without_options_the_mask_is_the_raw_one(logits: np.ndarray) -> None:
    finished = finish(logits, FinishingOptions())
    np.testing.assert_array_equal(finished.mask, logits > 0)
    assert (finished.changed_pixels, finished.filled_count, finished.dropped_count) == (0, 0, 0)


def test_the_threshold_moves_the_mask_and_the_raw_one_stays() -> None:
    logits = np.array([[-2, -0.5, 0.5, 2]], dtype=np.float32)
    finished = finish(logits, FinishingOptions(threshold=1))
    assert finished.mask.tolist() == [[False, False, False, True]]
    assert finished.raw.tolist() == [[False, False, True, True]]
    assert finished.changed_pixels == 1


@settings(deadline=None, max_examples=50)
@given(LOGITS, st.floats(-2, 2), st.floats(0.1, 3))
def test_stability_is_sams(logits: np.ndarray, threshold: float, offset: float) -> None:
    ours = stability_score(logits, threshold, offset)
    if not (logits > threshold - offset).any():
        assert ours == 1
        return
    theirs = calculate_stability_score(torch.from_numpy(logits)[None], threshold, offset)
    assert ours == pytest.approx(float(theirs[0]), rel=1e-5)


@settings(deadline=None, max_examples=50)
@given(MASKS, st.integers(2, 20))
def test_islands_are_dropped_as_by_scikit_image_save_for_the_largest(mask: np.ndarray, least: int) -> None:
    kept, _ = without_islands(mask, least)
    expected = remove_small_objects(mask, max_size=least - 1, connectivity=2)
    if expected.any() or not mask.any():
        np.testing.assert_array_equal(kept, expected)
    else:
        assert kept.any(), "the largest part stays whatever its size"
        assert not (kept & ~mask).any()


@settings(deadline=None, max_examples=50)
@given(MASKS, st.integers(1, 20))
def test_holes_are_filled_as_by_scikit_image_save_at_the_images_edge(mask: np.ndarray, largest: int) -> None:
    framed = np.pad(mask, 1)  # all that reaches the edge is one background, larger than any hole here
    framed = np.pad(framed, 8)
    filled, _ = without_holes(framed, largest)
    np.testing.assert_array_equal(filled, remove_small_holes(framed, max_size=largest, connectivity=1))


def test_background_at_the_images_edge_is_no_hole() -> None:
    mask = np.ones((5, 5), dtype=bool)
    mask[0, 2] = mask[2, 2] = False
    filled, count = without_holes(mask, 100)
    assert count == 1
    assert (filled[2, 2], filled[0, 2]) == (True, False)


def test_holes_above_the_area_stay_and_what_was_done_is_counted() -> None:
    logits = np.full((20, 30), -4, dtype=np.float32)
    logits[2:12, 2:12] = 4
    logits[4:6, 4:6] = -4  # a hole of 4
    logits[7:10, 7:10] = -4  # a hole of 9
    logits[15:17, 20:23] = 4  # an island of 6
    finished = finish(logits, FinishingOptions(largest_hole=4, least_island=7))
    assert finished.mask[4:6, 4:6].all()
    assert not finished.mask[7:10, 7:10].any()
    assert not finished.mask[15:17].any()
    assert (finished.filled_pixels, finished.filled_count) == (4, 1)
    assert (finished.dropped_pixels, finished.dropped_count) == (6, 1)
    assert finished.raw.sum() == 100 - 4 - 9 + 6


def test_smoothing_takes_spikes_off_and_keeps_straight_borders() -> None:
    mask = np.zeros((60, 60), dtype=bool)
    mask[:, :30] = True
    spiky = mask.copy()
    spiky[30, 30:36] = True
    assert not smoothed(spiky, 2)[:, 32:].any()
    np.testing.assert_array_equal(smoothed(mask, 2), mask)
    np.testing.assert_array_equal(smoothed(spiky, 0), spiky)


def test_an_empty_mask_stays_empty() -> None:
    nothing = np.full((5, 5), -np.inf, dtype=np.float32)
    finished = finish(nothing, FinishingOptions(smoothing=2, largest_hole=9, least_island=9))
    assert not finished.mask.any()
    assert finished.stability == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 40.0}, "threshold from -32 to 32, got 40.0"),
        ({"threshold": float("nan")}, "threshold from -32 to 32, got nan"),
        ({"smoothing": -1.0}, "smoothing of 0 to 50 pixels, got -1.0"),
        ({"largest_hole": -1}, "at least 0 pixels as largest hole, got -1"),
        ({"least_island": -2}, "at least 0 pixels as least island, got -2"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        FinishingOptions(**options)


def test_what_sam_said_can_be_thresholded_where_nothing_was_found() -> None:
    layers = [torch.tensor([[-1.0, -5.0], [-5.0, -5.0]]), torch.tensor([[-4.0, -4.0], [-4.0, -2.0]])]
    frame = stretched_frame((2, 2), 8)
    predictions = tuple(MaskPrediction(layer[None], torch.ones(1), 0, frame) for layer in layers)
    found_nothing = Segmentation.drawn((SamPrompt(), SamPrompt()), predictions, Verdict("absent", "empty"))
    assert found_nothing.verdict.kind == "absent"
    assert decision_logits(found_nothing).tolist() == [[-1, -4], [-4, -2]]
    said_so = Segmentation.undrawn(Verdict("absent", "said so"), (2, 2))
    assert decision_logits(said_so).tolist() == [[-np.inf] * 2] * 2
    own = torch.tensor([[3.0, -3.0]])
    assert decision_logits(Segmentation(Verdict("found"), own, predictions=predictions)).tolist() == [[3, -3]]
