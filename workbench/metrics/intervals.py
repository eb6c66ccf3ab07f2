"""How far a figure would move on other images: bootstrap intervals, the same in every run."""

from collections.abc import Sequence
from typing import Final

import numpy as np

LEVEL: Final = 0.95
RESAMPLE_COUNT: Final = 1000
_AT_ONCE: Final = 64


def bootstrap_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    seed: int = 0,
    level: float = LEVEL,
    resample_count: int = RESAMPLE_COUNT,
) -> tuple[float, float] | None:
    """Return the percentile interval of a ratio of two sums over images.

    Every figure here is such a ratio: cIoU of intersection and union, gIoU of IoUs and expressions, and so on.
    Expressions of one image stand and fall together, so images are drawn anew, not expressions.

    Args:
        numerators: one number an image; the same order gives the same interval.
        denominators: one number an image.
        seed: of the draws.
        level: share of the draws inside the interval, in (0, 1).
        resample_count: draws.

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
    for start in range(0, resample_count, _AT_ONCE):
        times_drawn = rng.multinomial(count, shares, size=min(_AT_ONCE, resample_count - start))
        parts.append(times_drawn @ sums)
    drawn = np.concatenate(parts)
    drawn = drawn[drawn[:, 1] > 0]
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
