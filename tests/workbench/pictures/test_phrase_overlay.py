"""Several masks in one picture stay apart by colour and number."""

import numpy as np
import pytest

from evfsam.errors import GeometryError
from workbench.pictures.answer_figures import phrase_overlay
from workbench.pictures.colours import PHRASE_COLOURS, phrase_colour

GREY = np.full((80, 120, 3), 100, dtype=np.uint8)


def square(left: int) -> np.ndarray:
    mask = np.zeros(GREY.shape[:2], dtype=bool)
    mask[20:60, left : left + 40] = True
    return mask


def test_each_mask_is_outlined_in_the_colour_of_its_phrase() -> None:
    before = GREY.copy()
    picture = phrase_overlay(GREY, [square(5), square(65)])
    assert tuple(picture[20, 7]) == phrase_colour(0)
    assert tuple(picture[20, 67]) == phrase_colour(1)
    np.testing.assert_array_equal(GREY, before)
    outside = ~(square(5) | square(65))
    np.testing.assert_array_equal(picture[outside], GREY[outside])


def test_each_mask_carries_the_number_of_its_phrase() -> None:
    """A number differs from what the same mask shows as another phrase of the same colour."""
    first = phrase_overlay(GREY, [square(5)])
    seventh = phrase_overlay(GREY, [np.zeros_like(square(5))] * len(PHRASE_COLOURS) + [square(5)])
    assert phrase_colour(0) == phrase_colour(len(PHRASE_COLOURS))
    assert (first != seventh).any()
    assert not (first != seventh)[:20].any()


def test_an_empty_mask_leaves_no_trace() -> None:
    np.testing.assert_array_equal(phrase_overlay(GREY, [np.zeros((80, 120), dtype=bool)]), GREY)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"size \(80, 120\), got \(80, 119\)"):
        phrase_overlay(GREY, [square(5)[:, 1:]])
