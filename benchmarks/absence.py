"""How well figures of an answer tell that its phrase is absent, or its mask right: `python -m benchmarks.absence`.

Asks expressions of scenes, "absent" ones included, and prints for each strategy how often the empty mask alone and the
rule of `workbench.analysis.absence` are right, then the best thresholds on these answers, where the rules' come from.
Shares are of absent expressions called absent, of present ones called present, and the mean of both; then of masks
that match what was meant called sure, of others not called so, and the mean of both.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from workbench.analysis.absence import MATCH_IOU, judge_presence
from workbench.comparison import Comparison
from workbench.datasets.cutouts import Split
from workbench.datasets.scenes import scene, split_seeds
from workbench.metrics.masks import mask_iou
from workbench.suites.registry import SUITES, find_suite

FIGURES: Final = ("pred_iou", "stability", "mean_logit")


@dataclass(frozen=True, eq=False)
class AnswerFigures:
    """Figures of N answers.

    Attributes:
        is_absent: (N,) bool, whether the expression names nothing.
        is_empty: (N,) bool, whether the mask is empty.
        is_judged_absent: (N,) bool, what the rule says.
        is_judged_sure: (N,) bool, likewise.
        is_match: (N,) bool, whether the mask overlaps what was meant as a match does.
        figures: (N,) float by name; 0 where there is none.
    """

    is_absent: NDArray[np.bool_]
    is_empty: NDArray[np.bool_]
    is_judged_absent: NDArray[np.bool_]
    is_judged_sure: NDArray[np.bool_]
    is_match: NDArray[np.bool_]
    figures: dict[str, NDArray[np.float64]]


def collect(comparison: Comparison, key: str, split: Split, scene_count: int) -> AnswerFigures:
    """Ask one strategy every expression of the first scenes of a split."""
    comparison.strategy(key)  # one that cannot be loaded raises here, instead of failing a thousand times
    rows = []
    for seed in islice(split_seeds(split), scene_count):
        drawn = scene(seed)
        view = comparison.view(drawn.image)
        for expression in drawn.expressions:
            (result,) = comparison.run(view, [expression.text], [key])
            judged = judge_presence(result.segmentation, comparison.suite.key, key)
            values = [getattr(judged, name) or 0.0 for name in FIGURES]
            is_absent, is_empty = expression.kind == "absent", judged.mean_logit is None
            match = not is_absent and mask_iou(result.segmentation.mask, drawn.mask(expression)) >= MATCH_IOU
            said = bool(judged.is_likely_absent), judged.certainty == "sure"
            rows.append((is_absent, is_empty, *said, match, *values))
    columns = list(zip(*rows, strict=True))
    flags = [np.array(column, dtype=bool) for column in columns[:5]]
    figures = {name: np.array(column, dtype=float) for name, column in zip(FIGURES, columns[5:], strict=True)}
    return AnswerFigures(*flags, figures)


def shares_right(called_absent: NDArray[np.bool_], is_absent: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the share of absent called absent, of present called present, and the mean of both, in [0, 1]."""
    absent, present = float(called_absent[is_absent].mean()), float(1 - called_absent[~is_absent].mean())
    return absent, present, (absent + present) / 2


def best_threshold(answers: AnswerFigures, name: str) -> float:
    """Return the threshold on one figure that, beside the empty mask, makes the mean share right the largest."""
    values = answers.figures[name]
    candidates = np.quantile(values, np.linspace(0, 0.5, 101))
    return float(
        max(
            candidates,
            key=lambda least: shares_right(answers.is_empty | (values < least), answers.is_absent)[2],
        )
    )


def best_rule(answers: AnswerFigures) -> tuple[float, float, float]:
    """Return the sure pred_iou, least stability and least mean logit of the rule that makes the mean share largest.

    Steps of 0.05 and 0.1; of equal ones the mildest, which calls the fewest absent.
    """
    pred_iou, stability, mean_logit = (answers.figures[name] for name in FIGURES)

    def worth(sure: float, least: float, logit: float) -> tuple[float, float]:
        doubted = (pred_iou < sure) & ((stability < least) | (mean_logit < logit))
        called = answers.is_empty | doubted
        return round(shares_right(called, answers.is_absent)[2], 4), -float(called.mean())

    grid = product(_steps(1), _steps(0.9), _steps(5, 0.1))
    sure, least, logit = max(grid, key=lambda rule: worth(*rule))
    return sure, least, logit


def _steps(most: float, step: float = 0.05) -> list[float]:
    return [round(number * step, 2) for number in range(round(most / step) + 1)]


def best_sureness(answers: AnswerFigures) -> tuple[float, float]:
    """Return the least pred_iou and stability that tell matching masks from others best, in steps of 0.05.

    Masks that are called absent are left out: nothing more is said of them.
    """
    stands = ~(answers.is_empty | answers.is_judged_absent)
    pred_iou, stability = (answers.figures[name][stands] for name in FIGURES[:2])
    is_match = answers.is_match[stands]

    def worth(guess: float, least: float) -> float:
        return shares_right((pred_iou >= guess) & (stability >= least), is_match)[2]

    guess, least = max(product(_steps(1), _steps(1)), key=lambda rule: worth(*rule))
    return guess, least


def report(key: str, answers: AnswerFigures) -> str:
    """Lay out one strategy's shares, in percent."""
    absent_count = int(answers.is_absent.sum())
    lines = [f"{key}: {absent_count} absent and {len(answers.is_absent) - absent_count} present expressions"]
    calls = {"the empty mask alone": answers.is_empty, "the rule": answers.is_judged_absent}
    for name in FIGURES:
        least = best_threshold(answers, name)
        calls[f"{name} below {least:.3g}"] = answers.is_empty | (answers.figures[name] < least)
    for what, called in calls.items():
        absent, present, mean = (100 * share for share in shares_right(called, answers.is_absent))
        lines.append(f"  {what:<28} absent {absent:5.1f}  present {present:5.1f}  mean {mean:5.1f}")
    sure, least, logit = best_rule(answers)
    lines.append(f"  best rule: pred_iou {sure:.2f} is sure, stability {least:.2f} and mean logit {logit:.1f} at least")
    return "\n".join([*lines, *_sureness_lines(answers)])


def _sureness_lines(answers: AnswerFigures) -> list[str]:
    """Say how many matching and other masks are called sure, and by which thresholds that would be best."""
    stands = ~(answers.is_empty | answers.is_judged_absent)
    match, sure = answers.is_match[stands], answers.is_judged_sure[stands]
    lines = [
        f"  of {match.sum()} masks that match, {sure[match].sum()} are called sure; of {(~match).sum()} others, "
        f"{sure[~match].sum()}"
    ]
    if match.any() and not match.all():
        guess, least = best_sureness(answers)
        figures = answers.figures["pred_iou"][stands], answers.figures["stability"][stands]
        called = (figures[0] >= guess) & (figures[1] >= least)
        lines.append(
            f"  best: pred_iou {guess:.2f} and stability {least:.2f} at least: of those, {called[match].sum()} and "
            f"{called[~match].sum()}"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description="Measure how answers tell that a phrase is absent, or a mask right.")
    parser.add_argument("--suite", default="mini", choices=tuple(SUITES))
    parser.add_argument("--split", default="val", choices=get_args(Split))
    parser.add_argument("--scenes", type=int, default=150, help="about seven expressions each; default: 150")
    parser.add_argument("--strategies", help="keys with commas between; default: all")
    arguments = parser.parse_args(argv)
    comparison = Comparison(find_suite(arguments.suite))
    chosen = comparison.choose(arguments.strategies.split(",") if arguments.strategies else None)
    for key in chosen:
        print(report(key, collect(comparison, key, arguments.split, arguments.scenes)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
