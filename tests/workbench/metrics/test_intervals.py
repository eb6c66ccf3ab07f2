"""Intervals hold the figure, narrow with more images, and are the same in every run."""

import numpy as np
import pytest

from workbench.metrics.intervals import bootstrap_interval


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
