"""Runs as tables in Markdown."""

from collections.abc import Sequence
from typing import Final

from workbench.evaluation.figures import UNBOUNDED, Figure
from workbench.evaluation.merging import MergedRun
from workbench.evaluation.pairs import all_pairs
from workbench.reporting.pairs import PAIRS_NOTE, deciders_rows, pair_notes, pairs_rows
from workbench.reporting.paper import COLUMNS, column_name, paper_rows, paper_source
from workbench.reporting.scores import fault_lines, percent

_DIGITS: Final = 8
"""Shown of a digest of weights."""


def report_markdown(runs: Sequence[MergedRun]) -> str:
    """Write everything that needs no picture: figures, kinds, what went wrong, and the papers' figures."""
    parts = ["# Measured"]
    for run in runs:
        parts += [f"## {run_title(run)}", figures_table(run), kinds_table(run), table(*wordings_rows(run))]
        faults = fault_notes(run)
        if faults:
            parts += ["What went wrong:", "\n".join(f"- {_defused(each)}" for each in faults)]
    for dataset, pairs in all_pairs(runs).items():
        parts += [f"## Compared in pairs: {dataset}", table(*pairs_rows(pairs)), *pair_notes(pairs), PAIRS_NOTE]
        for pair in pairs:
            parts += [f"What decides between {pair.one.label} and {pair.other.label}:", table(*deciders_rows(pair))]
    parts += ["## The papers' figures", table(*papers_rows(runs)), *papers_notes(runs), paper_source()]
    return "\n\n".join(part for part in parts if part) + "\n"


def run_title(run: MergedRun) -> str:
    """Name a run in a line: data, how much of it, weights, number type, device and date."""
    limit = "" if run.run.limit is None else f", first {run.run.limit} expressions"
    unfinished = ", unfinished" if run.notes else ""
    weights = ", ".join(f"{key} {digest[:_DIGITS]}" for key, digest in run.run.strategies.items())
    date = f", {run.facts.started[:10]}" if run.facts.started else ""
    return f"{run.run.dataset}{limit}{unfinished}: suite {run.run.suite} ({weights}){run.run.placement}{date}"


def figures_table(run: MergedRun) -> str:
    """Lay out every figure of every strategy, in percent with its 95 % interval."""
    headings, rows = figures_rows(run)
    return table([headings[0], *(f"`{key}`" for key in headings[1:])], rows)


def figures_rows(run: MergedRun) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the table of figures, a column a strategy."""
    keys = list(run.run.strategies)
    rows = [[name, *(figure_text(name, run.figures[key][name]) for key in keys)] for name in run.figure_names]
    rows.append(["expressions", *(str(run.scores[key].total.count) for key in keys)])
    rows.append(["absent ones", *(str(run.scores[key].absent.count) for key in keys)])
    return ["in percent", *keys], rows


def kinds_table(run: MergedRun) -> str:
    """Lay out cIoU by kind of expression; "" where there is one kind only."""
    kinds = sorted({kind for scores in run.scores.values() for kind in scores.kinds})
    if len(kinds) < 2:
        return ""
    rows = []
    for key, scores in run.scores.items():
        tallies = [scores.kinds.get(kind) for kind in kinds]
        rows.append([f"`{key}`", *(percent(tally.ciou if tally else None) for tally in tallies)])
    return table(["cIoU by kind", *kinds], rows)


def wordings_rows(run: MergedRun) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows by strategy and wording, seen in training or not; no rows where nobody knows."""
    rows = [
        [key, wording, percent(tally.precision), percent(tally.ciou), str(tally.count)]
        for key, scores in run.scores.items()
        for wording, tally in sorted(scores.wordings.items())
    ]
    return ["strategy", "wordings", "Pr@0.5", "cIoU", "expressions"], rows


def fault_notes(run: MergedRun) -> list[str]:
    """Name everything that went wrong in a run: what is missing, and each kind of fault with its first reason."""
    notes = list(run.notes)
    for key, scores in run.scores.items():
        notes += [f"{key} {line}" for line in fault_lines(scores)]
    reasons: dict[tuple[str, str], list[str]] = {}
    for answer in run.answers:
        if answer.outcome in ("failed", "unread"):
            place = f"{answer.place.sample_id} {answer.phrase!r}"
            reasons.setdefault((answer.place.strategy, answer.reason), []).append(place)
    for (key, reason), places in reasons.items():
        others = f" and {len(places) - 1} more" if len(places) > 1 else ""
        notes.append(f"{key}, {places[0]}{others}: {reason}")
    return [" ".join(note.split()) for note in notes]


def papers_rows(runs: Sequence[MergedRun]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows: the papers' cIoU on the RES benchmarks, and below what whole runs measured there.

    Figures of equal weights, number type and device share a row; what was measured twice gets a row of its own.
    """
    rows = [[row.method, *(_plain(row.cious[name]) for name in COLUMNS)] for row in paper_rows()]
    measured: list[tuple[str, dict[str, float | None]]] = []
    for run in runs:
        column = column_name(run.run.dataset)
        if column is None or not run.is_whole:
            continue
        for key, digest in run.run.strategies.items():
            made_with = f"{run.run.suite} {digest[:_DIGITS]}{run.run.placement}"
            label = f"measured: `{key}` ({made_with})"
            cells = next((cells for name, cells in measured if name == label and column not in cells), None)
            if cells is None:
                cells = {}
                measured.append((label, cells))
            cells[column] = run.scores[key].total.ciou
    rows += [[label, *(percent(cells.get(name)) for name in COLUMNS)] for label, cells in measured]
    return ["method", *COLUMNS], rows


def papers_notes(runs: Sequence[MergedRun]) -> list[str]:
    """Name the runs on the papers' splits that have no place beside them, since they measured a part."""
    parts = [run for run in runs if column_name(run.run.dataset) and not run.is_whole]
    return [
        f"Not in this table, since not every expression of the split was measured: {run_title(run)}." for run in parts
    ]


def figure_text(name: str, figure: Figure) -> str:
    """Write a figure with its interval."""
    if figure.value is None:
        return "-"
    if name == UNBOUNDED:
        interval = "" if figure.interval is None else " ({:.2f}-{:.2f})".format(*figure.interval)
        return f"{figure.value:.2f}x{interval}"
    interval = "" if figure.interval is None else f" ({percent(figure.interval[0])}-{percent(figure.interval[1])})"
    return f"{percent(figure.value)}{interval}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown; bars and line ends in cells are defused. "" without rows."""
    if not rows:
        return ""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(_cell(each) for each in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(_defused(text).replace("|", "\\|").split())


def _defused(text: str) -> str:
    """Keep a phrase from being read as HTML."""
    return text.replace("<", "&lt;")


def _plain(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1f}"
