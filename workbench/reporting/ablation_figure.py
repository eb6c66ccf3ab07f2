"""The ablations as a picture: each row's cIoU with its interval, and the paper's own beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from workbench.reporting.ablation_tables import AblationRun, ciou_by_row, half_interval
from workbench.reporting.paper import PaperAblation, ablation_groups

_OURS: Final = "#0072b2"
_PAPERS: Final = "#d55e00"
_INCHES_A_ROW: Final = 0.3
_WIDTH: Final = 9.0


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
