"""Intervals hold the figure, narrow with more images, and are the same in every run."""

import numpy as np
import pytest

from workbench.metrics.intervals import bootstrap_interval, holm, rate_interval, wilson_interval


def shares(count: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(3).random(count)]


def test_the_interval_is_that_of_the_normal_approximation_where_that_holds() -> None:
    values = shares(400)
    low, high = bootstrap_interval(values, [1.0] * 400)
    half = 1.96 * np.std(values) / 20
    assert low == pytest.approx(np.mean(values) - half, abs=0.006)
    assert high == pytest.approx(np.mean(values) + half, abs=0.006)


def test_the_same_images_give_the_same_interval_and_another_seed_another() -> None:
    values = shares(30)
    first, again, other = (bootstrap_interval(values, [1.0] * 30, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_images_that_have_no_part_in_a_figure_do_not_widen_its_interval() -> None:
    values = shares(30)
    assert bootstrap_interval(values + [0.0] * 70, [1.0] * 30 + [0.0] * 70) == bootstrap_interval(values, [1.0] * 30)


def test_a_higher_level_widens_the_interval() -> None:
    narrow, wide = (bootstrap_interval(shares(40), [1.0] * 40, level=level) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_the_ratio_of_sums_weighs_images_by_their_denominators() -> None:
    low, high = bootstrap_interval([900.0, 0.0], [1000.0, 1.0])
    assert (low, high) == (pytest.approx(0.0), pytest.approx(0.9))


def test_one_image_leaves_no_doubt_and_none_gives_no_interval() -> None:
    assert bootstrap_interval([3.0], [4.0]) == (0.75, 0.75)
    assert bootstrap_interval([], []) is None
    assert bootstrap_interval([0.0], [0.0]) is None


def test_wilsons_interval_is_that_of_the_formula() -> None:
    # z = 1.95996, z² = 3.84146. Of 0 in 10: (0, z² / (10 + z²)). Of 10 in 20: the middle stays 0.5, and half the width
    # is z sqrt(0.25 / 20 + z² / 1600) / (1 + z² / 20) = 0.23924 / 1.19207.
    assert wilson_interval(0.0, 10) == (0.0, pytest.approx(0.27753, abs=1e-5))
    assert wilson_interval(1.0, 10) == (pytest.approx(0.72247, abs=1e-5), 1.0)
    assert wilson_interval(0.5, 20) == (pytest.approx(0.29930, abs=1e-5), pytest.approx(0.70070, abs=1e-5))


def test_a_rate_of_expressions_each_in_an_image_of_its_own_has_wilsons_interval() -> None:
    assert rate_interval([1.0] * 7 + [0.0] * 13, [1.0] * 20) == pytest.approx(wilson_interval(0.35, 20))
    assert rate_interval([0.0] * 20, [1.0] * 20) == wilson_interval(0.0, 20)


def test_expressions_that_stand_and_fall_with_their_image_count_once() -> None:
    # Variance between images: ((10 - 5)² + (0 - 5)²) / 20² = 0.125, as of 0.25 / 0.125 = 2 independent expressions.
    assert rate_interval([10.0, 0.0], [10.0, 10.0]) == pytest.approx(wilson_interval(0.5, 2))
    assert rate_interval([50.0, 50.0, 50.0], [50.0, 50.0, 50.0]) == wilson_interval(1.0, 3)
    assert rate_interval([5.0, 5.0], [10.0, 10.0]) == pytest.approx(wilson_interval(0.5, 20)), "never more than asked"
    assert rate_interval([5.0, 0.0], [10.0, 0.0]) == pytest.approx(wilson_interval(0.5, 1))
    assert rate_interval([0.0], [0.0]) is None


def test_many_tests_are_corrected_by_holms_rule() -> None:
    # The least is multiplied by 3, the next by 2, the last by 1, and none falls below the one before it.
    assert holm([0.01, 0.04, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
