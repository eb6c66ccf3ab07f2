"""The papers' ablations beside ours in miniature: figures from a file as tables and a picture, orders compared.

A run is a row trained or asked with one seed. A table shows each row's mean over seeds with the 95 % interval of
Student's t, the paper's own figure beside it, and below in words which orders of the paper hold: a pair of rows is
compared seed by seed, and told apart where a paired t-test does, corrected for the number of pairs in the table.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

from scipy.stats import t as student

from evfsam.errors import ConfigurationError
from workbench.bundled import CHECKPOINTS
from workbench.metrics.intervals import LEVEL, holm
from workbench.reporting.markdown import markdown_table
from workbench.reporting.paper import PaperAblation, ablation_groups

FIGURES: Final = CHECKPOINTS / "mini" / "ablations.jsonl"
_OURS: Final = "#0072b2"
_PAPERS: Final = "#d55e00"
_INCHES_A_ROW: Final = 0.3
_WIDTH: Final = 9.0


@dataclass(frozen=True)
class AblationRun:
    """What one row came to with one seed.

    Attributes:
        row: its key.
        seed: of training, or of the test scenes where nothing is trained.
        ciou, giou: shares over all kinds but "absent".
        kinds: cIoU by kind of expression.
        hardware: where it was trained; empty where nothing was.
        steps, seconds: of training.
    """

    row: str
    seed: int
    ciou: float
    giou: float
    kinds: Mapping[str, float]
    hardware: str = ""
    steps: int = 0
    seconds: float = 0.0


def read_figures(path: Path) -> list[AblationRun]:
    """Read the runs of a file, none where there is no file.

    Raises:
        ConfigurationError: a line is damaged; names it.
    """
    if not path.exists():
        return []
    runs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            values = json.loads(line)
            made = {key: values[key] for key in ("hardware", "steps", "seconds") if key in values}
            runs.append(
                AblationRun(values["row"], values["seed"], values["cIoU"], values["gIoU"], values["kinds"], **made)
            )
        except (ValueError, KeyError, TypeError) as err:
            raise ConfigurationError(
                f"expected a JSON object with row, seed, cIoU, gIoU and kinds in line {number} of {path}, got "
                f"{line[:60]!r}; remove the line, and the run is made again"
            ) from err
    return runs


def ablations_markdown(runs: Sequence[AblationRun]) -> str:
    """Write every table of the papers that has runs, what agrees with the paper under each, and what it took.

    Raises:
        ConfigurationError: there are no runs.
    """
    if not runs:
        raise ConfigurationError("expected runs to lay out, got none; make them with `python -m training ablations`")
    cious = ciou_by_row(runs)
    parts = []
    for title, rows in ablation_groups().items():
        made = [row for row in rows if row.row in cious]
        if made:
            lines = [[row.title, _mean_text(list(cious[row.row].values())), f"{row.ciou:.1f}"] for row in made]
            parts += [markdown_table([title, "cIoU here", "cIoU in the paper"], lines), agreement(made, cious)]
    return "\n\n".join([*parts, _effort(runs)]) + "\n"


def agreement(rows: Sequence[PaperAblation], cious: Mapping[str, Mapping[int, float]]) -> str:
    """Say how many pairs of rows stand in the paper's order, and name those that certainly do not.

    Args:
        rows: of one table; pairs that are even in the paper are left out.
        cious: by row, then by seed.
    """
    counts, against = {"sure": 0, "likely": 0, "unlikely": 0}, []
    compared = []
    pairs = [pair if pair[0].ciou < pair[1].ciou else pair[::-1] for pair in combinations(rows, 2)]
    pairs = [(low, high) for low, high in pairs if low.ciou != high.ciou]
    for low, high in pairs:
        seeds = sorted(cious[low.row].keys() & cious[high.row].keys())
        gains = [cious[high.row][seed] - cious[low.row][seed] for seed in seeds]
        compared.append((fmean(gains) if gains else 0.0, _p_value(gains)))
    corrected = holm([p_value for _, p_value in compared])
    for (low, high), (gain, _), p_value in zip(pairs, compared, corrected, strict=True):
        is_sure = p_value <= 1 - LEVEL
        if is_sure and gain < 0:
            against.append(f"{high.title} fell short of {low.title} by {-gain:.1f}")
        else:
            counts["sure" if is_sure and gain > 0 else "likely" if gain > 0 else "unlikely"] += 1
    said = (
        f"Of {len(pairs)} pairs of rows, in the paper's order beyond the noise of the seeds: {counts['sure']}, within "
        f"it: {counts['likely']}. The other way round within the noise: {counts['unlikely']}, beyond it: {len(against)}"
    )
    return f"{said} ({'; '.join(against)})." if against else f"{said}."


def _p_value(gains: Sequence[float]) -> float:
    """Return how often chance alone gives such a mean, by Student's t, two-sided; 1 under two values."""
    if len(gains) < 2:
        return 1.0
    deviation = stdev(gains)
    if not deviation:
        return float(not fmean(gains))
    return float(2 * student.sf(abs(fmean(gains)) * sqrt(len(gains)) / deviation, len(gains) - 1))


def half_interval(values: Sequence[float]) -> float:
    """Return half the width of the 95 % interval of a mean, by Student's t; infinite under two values."""
    if len(values) < 2:
        return float("inf")
    quantile: float = student.ppf((1 + LEVEL) / 2, len(values) - 1)
    return quantile * stdev(values) / sqrt(len(values))


def ciou_by_row(runs: Sequence[AblationRun]) -> dict[str, dict[int, float]]:
    """Return cIoU in percent by row, then by seed."""
    cious: dict[str, dict[int, float]] = {}
    for run in runs:
        cious.setdefault(run.row, {})[run.seed] = 100 * run.ciou
    return cious


def _mean_text(values: Sequence[float]) -> str:
    margin = half_interval(values)
    return f"{fmean(values):.1f}" + (f" ± {margin:.1f}" if margin != float("inf") else "")


def _effort(runs: Sequence[AblationRun]) -> str:
    seeds = len({run.seed for run in runs})
    trained = [run for run in runs if run.steps]
    said = (
        f"{seeds} seeds a row: mean, and the 95 % interval of Student's t. Pairs are told apart by a paired t-test at "
        "5 %, corrected for the number of pairs in the table (Holm)."
    )
    if not trained:
        return said
    hardware = " and ".join(sorted({run.hardware for run in trained}))
    steps = " or ".join(str(count) for count in sorted({run.steps for run in trained}))
    minutes = sum(run.seconds for run in trained) / 60
    return f"{said} {len(trained)} trainings of {steps} steps took {minutes:.0f} minutes in all on {hardware}."


def draw_ablations(runs: Sequence[AblationRun], path: Path) -> None:
    """Draw the tables of `ablations_markdown` one below the other, from 0 to 100 percent.

    Args:
        runs: at least one of a paper's rows.
        path: SVG, PDF or PNG, by its ending; the same runs give the same bytes of an SVG.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    cious = ciou_by_row(runs)
    groups = {title: [row for row in rows if row.row in cious] for title, rows in ablation_groups().items()}
    groups = {title: rows for title, rows in groups.items() if rows}
    heights = [len(rows) + 1.2 for rows in groups.values()]
    with rc_context({"svg.hashsalt": "ablations", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(_WIDTH, _INCHES_A_ROW * sum(heights) + 0.6), layout="constrained")
        panels = figure.subplots(len(groups), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for panel, (title, rows) in zip(panels, groups.items(), strict=True):
            _draw(panel, title, rows, cious)
        panels[-1].set_xlabel("cIoU, percent")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw(panel: Any, title: str, rows: Sequence[PaperAblation], cious: Mapping[str, Mapping[int, float]]) -> None:
    places = range(len(rows))
    values = [list(cious[row.row].values()) for row in rows]
    means = [sum(each) / len(each) for each in values]
    margins = [half_interval(each) if len(each) > 1 else 0.0 for each in values]
    panel.errorbar(means, places, xerr=margins, fmt="o", color=_OURS, capsize=3, label="here, on test scenes")
    panel.scatter([row.ciou for row in rows], places, marker="D", facecolors="none", edgecolors=_PAPERS, label="paper")
    panel.set_yticks(places, [row.title for row in rows])
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_xlim(0, 100)
    panel.grid(axis="x", color="#dddddd")
    panel.set_axisbelow(True)
    panel.set_title(title, loc="left", fontsize=9, fontweight="bold")
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.tick_params(axis="y", length=0)
