"""The figures of a run: which sums over images each is made of, and how sure it is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from workbench.datasets.known_datasets import counts_absent
from workbench.evaluation.measured_answers import Scores
from workbench.metrics.intervals import bootstrap_interval, rate_interval, wilson_interval
from workbench.metrics.masks import HIT_IOUS, MeanTally, Tally

Interval = tuple[float, float]
Ratio = Callable[[Scores], tuple[float, float]]
"""Returns the numerator and the denominator of a figure; both add up over images."""

UNBOUNDED: Final = "attention gain"
"""The one figure that is no share in [0, 1]: how many times its area the object's share of the attention is."""


@dataclass(frozen=True)
class Figure:
    """A figure and how sure it is.

    Attributes:
        value: None where nothing counts for it.
        interval: 95 % interval over images: Wilson's for rates, bootstrap for the others; None under two images.
    """

    value: float | None
    interval: Interval | None


def ratios(dataset: str) -> Mapping[str, Ratio]:
    """Return what each figure of a data set is made of, by name, in the order of reading.

    "cIoU" and "gIoU" follow the convention of the data set's benchmark. gRefCOCO counts expressions that name nothing
    among the others (GRES, arXiv:2306.00968, section 4.1); the same figures without them are "of targets". Elsewhere
    such expressions count for N-acc alone, and the figures that include them are "with absent".
    """
    targets, everything = _region("total"), _region("with_absent")
    main, other, suffix = (targets, everything, "with absent")
    if counts_absent(dataset):
        main, other, suffix = (everything, targets, "of targets")
    return {**main, **{f"{name} {suffix}": ratio for name, ratio in other.items()}, **_OTHERS}


def main_region(dataset: str, scores: Scores) -> Tally:
    """Return the tally of cIoU and gIoU by the convention of the data set's benchmark."""
    return scores.with_absent if counts_absent(dataset) else scores.total


def figure_of(name: str, ratio: Ratio, whole: Scores, images: Sequence[Scores]) -> Figure:
    """Return a figure of all images together, and its interval over them."""
    numerator, denominator = ratio(whole)
    found = figure_of_parts(name, [ratio(image) for image in images])
    return replace(found, value=numerator / denominator) if denominator else found


def figure_of_parts(name: str, images: Iterable[tuple[float, float]]) -> Figure:
    """Return a figure, and its interval, from its numerator and denominator of each image."""
    parts = [part for part in images if any(part)]
    denominator = sum(bottom for _, bottom in parts)
    if not denominator:
        return Figure(None, None)
    value = sum(top for top, _ in parts) / denominator
    if len(parts) < 2:
        return Figure(value, None)
    numerators, denominators = zip(*parts, strict=True)
    if name in RATES:
        return Figure(value, rate_interval(numerators, denominators))
    if name != UNBOUNDED and value in (0.0, 1.0):
        return Figure(value, wilson_interval(value, len(parts)))
    return Figure(value, bootstrap_interval(numerators, denominators))


def _region(tally: str) -> dict[str, Ratio]:
    def pixels(scores: Scores) -> tuple[float, float]:
        region: Tally = getattr(scores, tally)
        return region.intersection, region.union

    def ious(scores: Scores) -> tuple[float, float]:
        region: Tally = getattr(scores, tally)
        return float(region.iou_sum), region.count

    return {"cIoU": pixels, "gIoU": ious}


def _hits(place: int, scores: Scores) -> tuple[float, float]:
    return scores.total.hit_counts[place], scores.total.count


def _parts(mean: MeanTally) -> tuple[float, float]:
    return float(mean.total), mean.count


_HITS: Final[Mapping[str, Ratio]] = {f"Pr@{least}": partial(_hits, place) for place, least in enumerate(HIT_IOUS)}
_OTHERS: Final[Mapping[str, Ratio]] = {
    **_HITS,
    "boundary F": lambda scores: _parts(scores.details.boundary_f),
    "box accuracy": lambda scores: _parts(scores.details.box_hit),
    "T-acc": lambda scores: _parts(scores.details.answered),
    "N-acc": lambda scores: (scores.absent.right_count, scores.absent.count),
    "attention mass": lambda scores: _parts(scores.details.attention_mass),
    UNBOUNDED: lambda scores: _parts(scores.details.attention_gain),
}

RATES: Final = frozenset({*_HITS, "box accuracy", "T-acc", "N-acc"})
"""Figures that count expressions of one kind among all."""
