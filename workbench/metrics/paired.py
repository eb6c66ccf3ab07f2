"""Whether two answers to the same questions differ by more than chance: bootstrap and permutation over images.

Expressions of one image stand and fall together, so images are drawn and exchanged, not expressions. The same images
give the same results in every run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workbench.metrics.intervals import LEVEL

RESAMPLE_COUNT: Final = 2000
PERMUTATION_COUNT: Final = 9999
EXACT_IMAGES: Final = 13
"""Up to so many images all exchanges are gone through, instead of random ones."""
_AT_ONCE: Final = 256
_ROUNDING: Final = 1e-12

Sums = NDArray[np.float64]
"""(N, 2): numerator and denominator of a figure, a row an image."""


@dataclass(frozen=True)
class Difference:
    """How far two figures are apart on the same images.

    Attributes:
        value: the first minus the second.
        interval: 95 % percentile bootstrap interval; None under two images.
        p_value: how often a difference at least as large comes about where each image's two answers are exchanged at
            random, two-sided.
    """

    value: float
    interval: tuple[float, float] | None
    p_value: float


def paired_difference(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> Difference | None:
    """Compare a figure, a ratio of two sums over images, of two sets of answers about the same images.

    Args:
        one: numerator and denominator of each image.
        other: the same of the other answers, in the same order.

    Returns:
        The difference; None where one of the figures has nothing to divide by.

    Sources: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 15; Phipson and Smyth,
    Permutation P-values Should Never Be Zero (2010).
    """
    first, second = (np.asarray(sums, dtype=np.float64).reshape(-1, 2) for sums in (one, other))
    in_use = (first.any(axis=1)) | (second.any(axis=1))
    first, second = first[in_use], second[in_use]
    if not first[:, 1].sum() or not second[:, 1].sum():
        return None
    value = float(_ratio(first.sum(axis=0)) - _ratio(second.sum(axis=0)))
    rng = np.random.default_rng(0)
    return Difference(value, _interval(first, second, rng), _p_value(first, second, abs(value), rng))


def _interval(first: Sums, second: Sums, rng: np.random.Generator) -> tuple[float, float] | None:
    count = len(first)
    if count < 2:
        return None
    shares = np.full(count, 1 / count)
    drawn = []
    for start in range(0, RESAMPLE_COUNT, _AT_ONCE):
        times = rng.multinomial(count, shares, size=min(_AT_ONCE, RESAMPLE_COUNT - start))
        ones, others = times @ first, times @ second
        is_whole = (ones[:, 1] > 0) & (others[:, 1] > 0)
        drawn.append(_ratio(ones[is_whole]) - _ratio(others[is_whole]))
    low, high = np.quantile(np.concatenate(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _p_value(first: Sums, second: Sums, observed: float, rng: np.random.Generator) -> float:
    as_large = total = 0
    for signs in _exchanges(len(first), rng):
        # Where a sign is -1, the two answers of its image are exchanged.
        middle, half = (first + second).sum(axis=0) / 2, signs @ ((first - second) / 2)
        ones, others = middle + half, middle - half
        is_whole = (ones[:, 1] > 0) & (others[:, 1] > 0)
        distances = np.abs(_ratio(ones[is_whole]) - _ratio(others[is_whole]))
        as_large += int(np.count_nonzero(distances >= observed - _ROUNDING))
        total += int(np.count_nonzero(is_whole))
    if len(first) <= EXACT_IMAGES:
        return as_large / total
    return (as_large + 1) / (total + 1)  # the answers as they were given are one of the exchanges


def _exchanges(count: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Yield (K, N) signs, all there are for few images, else random ones."""
    if count <= EXACT_IMAGES:
        numbers = np.arange(2**count)[:, None]
        yield (1 - 2 * ((numbers >> np.arange(count)) & 1)).astype(np.float64)
        return
    for start in range(0, PERMUTATION_COUNT, _AT_ONCE):
        drawn = rng.integers(0, 2, size=(min(_AT_ONCE, PERMUTATION_COUNT - start), count))
        yield (1 - 2 * drawn).astype(np.float64)


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = sums[..., 0] / sums[..., 1]
    return ratio
