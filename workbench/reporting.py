"""Scores as a table for people and as JSON values for programs."""

from collections.abc import Mapping

from workbench.evaluation import ABSENT, Scores
from workbench.metrics import Tally

_HEADINGS = ("cIoU", "gIoU", "Pr@0.5", "count")


def scores_dict(dataset: str, suite_key: str, scores: Mapping[str, Scores]) -> dict[str, object]:
    """Return the content of the file that `evaluate --out` writes; figures are fractions, null where nothing counts."""
    return {
        "dataset": dataset,
        "suite": suite_key,
        "strategies": {key: _strategy_dict(score) for key, score in scores.items()},
    }


def scores_table(scores: Mapping[str, Scores]) -> str:
    """Lay out the scores: a block a strategy, a line a kind of expression, figures in percent."""
    return "\n\n".join(_block(key, score) for key, score in scores.items())


def _strategy_dict(score: Scores) -> dict[str, object]:
    return {
        **_figures(score.total),
        "kinds": {kind: _figures(tally) for kind, tally in sorted(score.kinds.items())},
        ABSENT: {"N-acc": score.absent.n_acc, "count": score.absent.count},
        "failed_count": score.failed_count,
    }


def _figures(tally: Tally) -> dict[str, object]:
    return {"cIoU": tally.ciou, "gIoU": tally.giou, "Pr@0.5": tally.precision, "count": tally.count}


def _block(key: str, score: Scores) -> str:
    lines = [f"{key:<16}" + "".join(f"{heading:>9}" for heading in _HEADINGS)]
    lines += [_line("all but absent", score.total)]
    lines += [_line(f"  {kind}", tally) for kind, tally in sorted(score.kinds.items())]
    lines += [f"{ABSENT:<16}{_percent(score.absent.n_acc):>9}{'N-acc':>9}{score.absent.count:>18}"]
    if score.failed_count:
        lines += [f"failed on {score.failed_count} expressions, counted as empty masks"]
    return "\n".join(lines)


def _line(name: str, tally: Tally) -> str:
    figures = (tally.ciou, tally.giou, tally.precision)
    return f"{name:<16}" + "".join(f"{_percent(figure):>9}" for figure in figures) + f"{tally.count:>9}"


def _percent(figure: float | None) -> str:
    return "-" if figure is None else f"{100 * figure:.1f}"
