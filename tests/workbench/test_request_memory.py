"""A question is weighed before it is asked."""

import pytest

from evfsam.errors import MemoryBudgetError
from workbench.request_memory import check_memory, question_bytes

MIB = 2**20


class Attentive:
    """A strategy that keeps attention."""

    attention_bytes = 100 * MIB


def test_the_estimate_is_near_what_was_measured_on_12_megapixels() -> None:
    assert question_bytes((3000, 4000), 16, [None] * 3) / MIB == pytest.approx(260, rel=0.25)


def test_more_pixels_phrases_strategies_and_attention_weigh_more() -> None:
    least = question_bytes((100, 100), 1, [None])
    assert question_bytes((100, 101), 1, [None]) > least
    assert question_bytes((100, 100), 2, [None]) > least
    assert question_bytes((100, 100), 1, [None, None]) > least
    assert question_bytes((100, 100), 1, [Attentive()]) == least + Attentive.attention_bytes


def test_a_refusal_says_how_many_phrases_fit() -> None:
    bound = question_bytes((3000, 4000), 5, [None])
    check_memory((3000, 4000), 5, [None], bound)
    with pytest.raises(
        MemoryBudgetError, match=r"megapixels: 12.0, phrases: 6, strategies: 1\); ask at most 5 phrases at once"
    ):
        check_memory((3000, 4000), 6, [None], bound)


def test_a_picture_that_is_too_large_for_a_single_phrase_is_to_be_made_smaller() -> None:
    with pytest.raises(MemoryBudgetError, match="take a smaller picture or fewer strategies"):
        check_memory((3000, 4000), 1, [None], 10 * MIB)
