import numpy as np
import pytest
import torch
from torch.nn import functional as F

from evfsam.geometry import Frame, longest_side_frame, stretched_frame, upsample_logits
from evfsam.types import MaskPrediction, PromptPoint, SamPrompt
from workbench.pictures.colours import probability_colour
from workbench.pictures.step_pictures import asked_points, candidates_of, probability_picture, rows_of

SIZE = (60, 120)


def grid(side: int, *, is_kept: bool = True) -> SamPrompt:
    points = tuple(
        PromptPoint(20 + 10 * column, 30 + 10 * row, 1, 0.9, is_kept, (row * side + column) / (side * side))
        for row in range(side)
        for column in range(side)
    )
    return SamPrompt(box=(15.0, 25.0, 15.0 + 10 * side, 25.0 + 10 * side), points=points[::-1])


def test_points_come_row_by_row_and_a_persons_clicks_are_left_out() -> None:
    prompt = grid(3)
    clicked = SamPrompt(box=prompt.box, points=(PromptPoint(1, 1, 1), *prompt.points))
    rows = rows_of(asked_points(clicked))
    assert [[round(9 * (point.p_yes or 0)) for point in row] for row in rows] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_points_that_make_no_square_stand_in_one_row() -> None:
    assert [len(row) for row in rows_of(asked_points(grid(3))[:7])] == [7]


def test_the_picture_shows_each_points_probability_as_its_colour() -> None:
    picture = probability_picture(np.full((200, 200, 3), 128, np.uint8), grid(2))
    assert max(picture.shape[:2]) == 720
    colours = {tuple(int(part) for part in colour) for colour in picture.reshape(-1, 3)}
    assert {probability_colour(p) for p in (0, 0.25, 0.5, 0.75)} <= colours


def test_a_dropped_point_is_not_filled() -> None:
    kept, dropped = (
        probability_picture(np.full((200, 200, 3), 128, np.uint8), grid(2, is_kept=is_kept))
        for is_kept in (True, False)
    )
    colour = np.array(probability_colour(0.75))
    filled = [int((picture == colour).all(axis=2).sum()) for picture in (kept, dropped)]
    assert filled[1] * 2 < filled[0]


def test_a_box_at_the_images_edge_is_drawn() -> None:
    prompt = SamPrompt(box=(0.0, 0.0, 1.0, 1.0), points=(PromptPoint(0.5, 0.5, 1, 0.9, True, 0.9),))
    assert probability_picture(np.zeros((1, 1, 3), np.uint8), prompt).shape == (720, 720, 3)


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
