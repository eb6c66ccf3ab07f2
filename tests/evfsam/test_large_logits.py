import numpy as np
import pytest
import torch
from torch.nn import functional as F

from evfsam.geometry import Frame, longest_side_frame, stretched_frame, upsample_logits
from evfsam.large_logits import LargeLogits, can_work_in_bands, row_bands
from evfsam.types import MaskPrediction, Segmentation, Verdict

FRAMES = {
    "wide": longest_side_frame((1300, 2100), 256),
    "tall": longest_side_frame((2311, 1009), 256),
    "published size": longest_side_frame((2100, 1500), 1024),
    "stretched": stretched_frame((1501, 1600), 256),
}


def blobs(seed: int, side: int = 64) -> torch.Tensor:
    """(side, side) float32: smooth logits of both signs."""
    coarse = torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (side, side), mode="bicubic")[0, 0]


def in_halves(logits: torch.Tensor) -> torch.Tensor:
    """Round logits, so that many sums are exactly 0 or nearly so."""
    return torch.round(logits * 2) / 2


def whole(logits: torch.Tensor, frame: Frame) -> np.ndarray:
    return upsample_logits(logits[None, None], frame)[0, 0].numpy()


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("seed", range(3))
def test_the_mask_is_that_of_all_logits_to_the_last_bit(frame: Frame, seed: int) -> None:
    for logits in (blobs(seed), in_halves(blobs(seed)), in_halves(torch.randn(64, 64)), -blobs(seed).abs() - 1):
        assert can_work_in_bands(logits, frame)
        np.testing.assert_array_equal(LargeLogits(logits, frame).mask(), whole(logits, frame) > 0)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_bands_and_single_places_are_parts_of_all_logits(frame: Frame) -> None:
    logits, expected = LargeLogits(blobs(7), frame), whole(blobs(7), frame)
    bands = list(logits.bands())
    assert len(bands) == len(row_bands(frame.original_size)) > 10
    np.testing.assert_allclose(np.concatenate(bands), expected, rtol=0, atol=2e-6)
    rows, columns = np.array([0, 17, 1000]), np.array([3, 500])
    np.testing.assert_allclose(logits.at(rows, columns), expected[rows][:, columns], rtol=0, atol=2e-6)


def test_small_images_and_logits_that_are_no_numbers_are_left_alone() -> None:
    assert not can_work_in_bands(blobs(0), longest_side_frame((480, 640), 256))
    assert not can_work_in_bands(torch.full((64, 64), torch.nan), FRAMES["wide"])
    assert row_bands((480, 640)) == [slice(0, 480)]


def test_an_answer_on_a_large_image_never_makes_all_its_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = FRAMES["wide"]
    low = torch.stack([blobs(1), blobs(2)])
    predictions = tuple(MaskPrediction(low, torch.tensor([0.4, 0.8]), chosen, frame) for chosen in (0, 1))
    logits = np.maximum(whole(low[0], frame), whole(low[1], frame))
    monkeypatch.setattr("evfsam.types.upsample_logits", lambda *_: 1 / 0)
    answer = Segmentation(Verdict("found"), predictions=predictions)
    np.testing.assert_array_equal(answer.mask, logits > 0)
    np.testing.assert_allclose(np.concatenate(list(answer.logit_bands())), logits, rtol=0, atol=2e-6)
    rows, columns = np.array([0, 900, 1299]), np.array([2, 2099])
    np.testing.assert_allclose(answer.logits_at(rows, columns), logits[rows][:, columns], rtol=0, atol=2e-6)
    assert answer.area_share == np.count_nonzero(logits > 0) / logits.size
    both = Segmentation(
        Verdict("found"), sources=(answer, Segmentation(Verdict("absent"), predictions=predictions[:1]))
    )
    np.testing.assert_array_equal(both.mask, logits > 0)


def test_given_logits_come_in_bands_too() -> None:
    given = torch.randn(1500, 1500)
    answer = Segmentation(Verdict("found"), given)
    np.testing.assert_array_equal(np.concatenate(list(answer.logit_bands())), given.numpy())
    assert (
        Segmentation(
            Verdict("absent"), predictions=(MaskPrediction(given[None, :64, :64], given[0, :1], 0, FRAMES["wide"]),)
        ).area_share
        == 0
    )
