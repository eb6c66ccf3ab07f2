"""Every figure of a report as a line of a CSV file, with what it was measured with, for other programs."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Final

from workbench.evaluation.measured_answers import Scores
from workbench.evaluation.merging import MergedRun
from workbench.evaluation.pairs import Pair
from workbench.evaluation.run_figures import Figure, ratios
from workbench.text_fitting import spreadsheet_cell

_RUN_COLUMNS: Final = (
    "dataset",
    "limit",
    "whole",
    "suite",
    "strategy",
    "weights",
    "digest",
    "dtype",
    "device",
    "begun",
)
_PAIR_COLUMNS: Final = ("figure", "difference", "low", "high", "p", "p_corrected")


def figures_csv(runs: Sequence[MergedRun]) -> str:
    """Write a line a figure, of all expressions and of each group; figures are fractions, empty where there is none."""
    head = [*_RUN_COLUMNS, "group_by", "group", "figure", "value", "low", "high", "expressions", "images"]
    return _csv(head, (line for run in runs for line in _figure_lines(run)))


def pairs_csv(by_dataset: dict[str, list[Pair]]) -> str:
    """Write a line a pair and figure; differences are fractions, the first minus the second."""
    head = ["dataset", "first", "second", *_PAIR_COLUMNS, "wins", "losses", "ties", "expressions", "images"]
    lines = []
    for dataset, pairs in by_dataset.items():
        for pair in pairs:
            counts = [pair.wins, pair.losses, pair.ties, pair.question_count, pair.image_count]
            for name, found in pair.differences.items():
                tested = [name, found.value, *(found.interval or ("", "")), found.p_value, pair.p_values[name]]
                lines.append([dataset, pair.one.label, pair.other.label, *tested, *counts])
    return _csv(head, lines)


def _figure_lines(run: MergedRun) -> Iterable[list[object]]:
    for key, digest in run.run.strategies.items():
        limit = "" if run.run.limit is None else run.run.limit
        weights = run.facts.weights.get(key, "")
        made_with = [run.run.dataset, limit, run.is_whole, run.run.suite, key, weights, digest, run.run.dtype]
        made_with += [run.run.device, run.facts.started]
        images = list(run.images_of(key).values())
        for name, figure in run.figures[key].items():
            yield [*made_with, "", "", name, *_figure_cells(figure), *_counts(run, name, images)]
        for criterion, groups in run.groups.items():
            for group, by_strategy in groups.items():
                if key in by_strategy:
                    of_group = by_strategy[key]
                    for name, figure in of_group.figures.items():
                        cells = _figure_cells(figure)
                        yield [*made_with, criterion, group, name, *cells, of_group.expressions, of_group.images]


def _counts(run: MergedRun, name: str, images: Sequence[Scores]) -> tuple[int, int]:
    """Return how many expressions a figure is of, and about how many images: all but cIoU divide by that number."""
    ratio = ratios(run.run.dataset)[name.replace("cIoU", "gIoU")]
    counts = [int(ratio(image)[1]) for image in images]
    return sum(counts), sum(count > 0 for count in counts)


def _figure_cells(figure: Figure) -> list[object]:
    low, high = figure.interval or ("", "")
    return ["" if figure.value is None else figure.value, low, high]


def _csv(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in line] for line in lines)
    return text.getvalue()
