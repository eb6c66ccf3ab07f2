"""Differences are tested over images: right where that can be worked out by hand, and honest where nothing differs."""

import numpy as np
import pytest

from workbench.metrics.paired import EXACT_IMAGES, paired_difference

Sums = list[tuple[float, float]]


def means(*values: float) -> Sums:
    return [(value, 1.0) for value in values]


def test_few_images_are_exchanged_in_every_way() -> None:
    # Differences 1, 2, 3 (of 10): the 8 sums of signs are -6, -4, -2, 0, 0, 2, 4, 6; two of them are as far out as 6.
    found = paired_difference(means(0.2, 0.4, 0.6), means(0.1, 0.2, 0.3))
    assert (found.value, found.p_value) == (pytest.approx(0.2), 2 / 8)
    # Differences 3, -1, 1: sum 3; of the sums 5, 3, 3, 1, -1, -3, -3, -5, six are at least as far out.
    assert paired_difference(means(0.4, 0.0, 0.1), means(0.1, 0.1, 0.0)).p_value == 6 / 8


def test_a_ratio_of_sums_is_exchanged_image_by_image() -> None:
    one, other = [(8.0, 10.0), (3.0, 30.0)], [(2.0, 10.0), (3.0, 30.0)]
    # As given 11/40 - 5/40; with the first image exchanged the same the other way round; the second changes nothing.
    found = paired_difference(one, other)
    assert (found.value, found.p_value) == (pytest.approx(6 / 40), 1.0)
    # As given 12/32 - 4/40 = 0.275; one image exchanged gives 6/32 - 10/40 = -0.0625 or its opposite.
    uneven = paired_difference([(8.0, 10.0), (4.0, 22.0)], [(2.0, 10.0), (2.0, 30.0)])
    assert uneven.value == pytest.approx(12 / 32 - 4 / 40)
    assert uneven.p_value == 2 / 4


def test_the_interval_is_that_of_the_normal_approximation_where_that_holds() -> None:
    rng = np.random.default_rng(5)
    one, other = rng.random(400), rng.random(400)
    found = paired_difference(means(*one), means(*other))
    half = 1.96 * np.std(one - other) / 20
    assert found.interval == pytest.approx((found.value - half, found.value + half), abs=0.01)


def test_random_exchanges_agree_with_the_exact_ones() -> None:
    rng = np.random.default_rng(6)
    one, other = rng.random(EXACT_IMAGES), rng.random(EXACT_IMAGES)
    exact = paired_difference(means(*one), means(*other))
    # A further image that is equal doubles every exchange, and has random ones used.
    sampled = paired_difference(means(*one, 0.5), means(*other, 0.5))
    assert sampled.p_value == pytest.approx(exact.p_value, abs=0.02)


def test_an_even_contest_is_found_uneven_about_once_in_twenty() -> None:
    rng = np.random.default_rng(7)
    p_values = [paired_difference(means(*rng.random(10)), means(*rng.random(10))).p_value for _ in range(400)]
    assert 0.02 <= np.mean(np.array(p_values) <= 0.05) <= 0.08


def test_equal_answers_do_not_differ() -> None:
    found = paired_difference(means(*[0.3] * 20), means(*[0.3] * 20))
    assert (found.value, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_a_clear_difference_is_never_impossible_by_chance() -> None:
    found = paired_difference(means(*[0.9] * 50), means(*[0.1] * 50))
    assert found.p_value == 1 / 10000


def test_the_same_images_give_the_same_result_and_one_image_no_interval() -> None:
    one, other = means(*np.linspace(0, 1, 30)), means(*np.linspace(0.2, 0.9, 30))
    assert paired_difference(one, other) == paired_difference(one, other)
    assert paired_difference(means(0.5), means(0.25)).interval is None
    assert paired_difference([(0.0, 0.0)], [(0.0, 0.0)]) is None
    assert paired_difference([], []) is None
