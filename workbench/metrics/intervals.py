"""How far a figure would move on other images: intervals that are the same in every run, and corrections for many."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import Final

import numpy as np

LEVEL: Final = 0.95
RESAMPLE_COUNT: Final = 1000
_AT_ONCE: Final = 64


def wilson_interval(rate: float, count: float, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's score interval of a rate; of 0 and 1 too it has a width.

    Args:
        rate: in [0, 1].
        count: independent trials, above 0; may be an effective number.
        level: how often such intervals hold the true rate, in (0, 1).

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927).
    """
    squared = NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = (rate + squared / (2 * count)) / (1 + squared / count)
    half = sqrt(squared * (rate * (1 - rate) / count + squared / (4 * count**2))) / (1 + squared / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def rate_interval(hits: Sequence[float], counts: Sequence[float]) -> tuple[float, float] | None:
    """Return Wilson's interval of a rate, where expressions of one image stand and fall together.

    The expressions count as many independent ones as would make the rate vary as it does between images: at most as
    many as there are. Where every expression is a hit or none is, that cannot be seen, and each image counts once.

    Args:
        hits: one number an image.
        counts: expressions, one number an image.

    Returns:
        (low, high); None where nothing is counted.

    Source: Kish, Survey Sampling (1965), section 5.4, for the effective number.
    """
    scored, asked = (np.asarray(values, dtype=np.float64) for values in (hits, counts))
    total, image_count = float(asked.sum()), int(np.count_nonzero(asked))
    if not total:
        return None
    rate = float(scored.sum()) / total
    if rate in (0.0, 1.0) or image_count == 1:
        return wilson_interval(rate, image_count)
    variance = float(((scored - rate * asked) ** 2).sum()) / total**2
    effective = min(total, rate * (1 - rate) / variance) if variance else total
    return wilson_interval(rate, effective)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being many, so that one false finding among all of them is as rare as in a single test.

    Returns:
        Corrected values in [0, 1], in the order given.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979).
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def bootstrap_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[float, float] | None:
    """Return the percentile interval of a ratio of two sums over images.

    Every figure here is such a ratio: cIoU of intersection and union, gIoU of IoUs and expressions, and so on.
    Expressions of one image stand and fall together, so images are drawn anew, not expressions.

    Args:
        numerators: one number an image; the same order gives the same interval.
        denominators: one number an image.
        seed: of the draws.
        level: share of the draws inside the interval, in (0, 1).

    Returns:
        (low, high); None where there is nothing to divide by.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    sums = np.stack([np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)], axis=1)
    sums = sums[sums.any(axis=1)]
    if not sums[:, 1].any():
        return None
    rng = np.random.default_rng(seed)
    count = len(sums)
    shares = np.full(count, 1 / count)
    parts = []
    for start in range(0, RESAMPLE_COUNT, _AT_ONCE):
        times_drawn = rng.multinomial(count, shares, size=min(_AT_ONCE, RESAMPLE_COUNT - start))
        parts.append(times_drawn @ sums)
    drawn = np.concatenate(parts)
    drawn = drawn[drawn[:, 1] > 0]
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
