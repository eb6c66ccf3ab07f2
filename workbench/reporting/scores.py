"""Scores as a table for people and as JSON values for programs."""

from collections.abc import Mapping

from workbench.datasets.contract import ABSENT
from workbench.datasets.known_datasets import counts_absent
from workbench.evaluation.measured_answers import Scores
from workbench.evaluation.run_figures import main_region
from workbench.metrics.masks import Tally
from workbench.names import MarkKind

_HEADINGS = ("cIoU", "gIoU", "Pr@0.5", "count")


def scores_dict(
    dataset: str, suite_key: str, scores: Mapping[str, Scores], marks: MarkKind | None = None
) -> dict[str, object]:
    """Return the content of the file that `evaluate --out` writes; figures are fractions, null where nothing counts."""
    return {
        "dataset": dataset,
        "suite": suite_key,
        **({} if marks is None else {"marks": marks}),
        "strategies": {key: _strategy_dict(score, main_region(dataset, score)) for key, score in scores.items()},
    }


def scores_table(dataset: str, scores: Mapping[str, Scores]) -> str:
    """Lay out the scores: a block a strategy, a line a kind of expression, figures in percent.

    The first line of a block follows the data set's benchmark, see `workbench.evaluation.run_figures`.
    """
    return "\n\n".join(_block(key, score, counts_absent(dataset)) for key, score in scores.items())


def percent_cell(figure: float | None) -> str:
    """Write a share in percent with one decimal; "-" for None."""
    return "-" if figure is None else f"{100 * figure:.1f}"


def _strategy_dict(score: Scores, main: Tally) -> dict[str, object]:
    details = score.details
    return {
        **_figures(score.total),
        "cIoU": main.ciou,
        "gIoU": main.giou,
        **{f"Pr@{least}": share for least, share in score.total.precisions.items()},
        "boundary F": details.boundary_f.mean,
        "box accuracy": details.box_hit.mean,
        "T-acc": details.answered.mean,
        "attention mass": details.attention_mass.mean,
        "attention gain": details.attention_gain.mean,
        "cIoU of targets": score.total.ciou,
        "gIoU of targets": score.total.giou,
        "cIoU with absent": score.with_absent.ciou,
        "gIoU with absent": score.with_absent.giou,
        "kinds": {kind: _figures(tally) for kind, tally in sorted(score.kinds.items())},
        "wordings": {wording: _figures(tally) for wording, tally in sorted(score.wordings.items())},
        ABSENT: {"N-acc": score.absent.n_acc, "count": score.absent.count},
        "failed_count": score.failed_count,
        "unread_count": score.unread_count,
        "untargeted_count": score.untargeted_count,
    }


def _figures(tally: Tally) -> dict[str, object]:
    return {"cIoU": tally.ciou, "gIoU": tally.giou, "Pr@0.5": tally.precision, "count": tally.count}


def _block(key: str, score: Scores, is_absent_counted: bool) -> str:
    lines = [f"{key:<16}" + "".join(f"{heading:>9}" for heading in _HEADINGS)]
    # Pr@X is of expressions that name something, also where cIoU and gIoU are of all.
    with_absent = [_line("with absent", score.with_absent, score.total.precision)] if score.absent.count else []
    totals = [_line("all but absent", score.total), *with_absent]
    lines += totals[::-1] if is_absent_counted else totals
    lines += [_line(f"  {kind}", tally) for kind, tally in sorted(score.kinds.items())]
    lines += [_line(f"{wording} wordings", tally) for wording, tally in sorted(score.wordings.items())]
    lines += [f"{ABSENT:<16}{percent_cell(score.absent.n_acc):>9}{'N-acc':>9}{score.absent.count:>18}"]
    lines += fault_lines(score)
    return "\n".join(lines)


def fault_lines(score: Scores) -> list[str]:
    """Name what went wrong, a sentence each; nothing where all went well."""
    counted = (
        (score.failed_count, "failed on {} expressions, counted as empty masks"),
        (score.unread_count, "{} expressions could not be asked and are in no figure: image, mask or phrase unusable"),
        (score.untargeted_count, "{} expressions have an empty known mask and are counted as absent"),
    )
    return [sentence.format(count) for count, sentence in counted if count]


def _line(name: str, tally: Tally, precision: float | None = None) -> str:
    figures = (tally.ciou, tally.giou, tally.precision if precision is None else precision)
    return f"{name:<16}" + "".join(f"{percent_cell(figure):>9}" for figure in figures) + f"{tally.count:>9}"
