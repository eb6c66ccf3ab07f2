import numpy as np

from evfsam.types import PromptPoint, SamPrompt
from workbench.pictures.colours import probability_colour
from workbench.pictures.probability_grid import asked_points, probability_picture, rows_of


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
