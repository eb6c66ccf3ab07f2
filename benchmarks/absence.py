"""How well figures of an answer tell that its phrase is absent: `python -m benchmarks.absence [--split val]`.

Asks expressions of scenes, "absent" ones included, and prints for each strategy how often the empty mask alone and the
rule of `workbench.analysis.absence` are right, then the best single thresholds on these answers, where the rule's come
from. Shares are of absent expressions called absent, of present ones called present, and the mean of both.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from workbench.analysis.absence import judge_presence
from workbench.comparison import Comparison
from workbench.datasets.scenes import Split, scene, split_seeds
from workbench.suites.registry import SUITES, find_suite

FIGURES: Final = ("pred_iou", "stability", "mean_logit")


@dataclass(frozen=True, eq=False)
class AnswerFigures:
    """Figures of N answers.

    Attributes:
        is_absent: (N,) bool, whether the expression names nothing.
        is_empty: (N,) bool, whether the mask is empty.
        is_judged_absent: (N,) bool, what the rule says.
        figures: (N,) float by name; 0 where there is none.
    """

    is_absent: NDArray[np.bool_]
    is_empty: NDArray[np.bool_]
    is_judged_absent: NDArray[np.bool_]
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
            is_empty = judged.mean_logit is None
            rows.append((expression.kind == "absent", is_empty, bool(judged.is_likely_absent), *values))
    columns = list(zip(*rows, strict=True))
    flags = [np.array(column, dtype=bool) for column in columns[:3]]
    figures = {name: np.array(column, dtype=float) for name, column in zip(FIGURES, columns[3:], strict=True)}
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
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description="Measure how answers tell that a phrase is absent.")
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
