import numpy as np
import pytest
import torch
from torch.nn import functional as F

from evfsam.geometry import Frame, longest_side_frame, stretched_frame, upsample_logits
from evfsam.types import MaskPrediction
from workbench.analysis.candidates import candidates_of

SIZE = (60, 120)


def predicted(frame: Frame) -> MaskPrediction:
    """Three squares at different places of the low-resolution grid; the second is chosen."""
    low = torch.full((3, 64, 64), -4.0)
    for number, corner in enumerate(((2, 2), (12, 20), (20, 40))):
        low[number, corner[0] : corner[0] + 8, corner[1] : corner[1] + 8] = 4.0
    return MaskPrediction(low, torch.tensor([0.3, 0.9, 0.5]), 1, frame)


@pytest.mark.parametrize("frame", [longest_side_frame(SIZE, 256), stretched_frame(SIZE, 256)])
def test_every_candidate_lies_where_its_frame_puts_it(frame: Frame) -> None:
    prediction = predicted(frame)
    expected = (upsample_logits(prediction.low_res_logits[None], frame)[0] > 0).numpy()
    found = candidates_of(prediction, SIZE)
    assert [each.is_chosen for each in found] == [False, True, False]
    assert [round(each.pred_iou, 2) for each in found] == [0.3, 0.9, 0.5]
    assert all(np.array_equal(each.mask, mask) for each, mask in zip(found, expected, strict=True))


def test_candidates_come_at_the_size_asked_for() -> None:
    found = candidates_of(predicted(longest_side_frame(SIZE, 256)), (30, 60))
    small = F.interpolate(torch.from_numpy(found[1].mask.astype(np.float32))[None, None], SIZE)[0, 0] > 0
    known = predicted(longest_side_frame(SIZE, 256)).mask_logits > 0
    assert [each.mask.shape for each in found] == [(30, 60)] * 3
    assert (small ^ known).float().mean() < 0.02
