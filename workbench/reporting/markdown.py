"""Runs as tables in Markdown."""

from collections.abc import Sequence

from workbench.evaluation.merging import MergedRun
from workbench.evaluation.pairs import all_pairs
from workbench.reporting.paper import COLUMNS, column_name, paper_rows, paper_source
from workbench.reporting.scores import fault_lines, percent_cell
from workbench.reporting.tables import (
    DIGITS,
    PAIRS_NOTE,
    Table,
    deciders_rows,
    pair_notes,
    pairs_table,
    run_tables,
    run_title,
)


def report_markdown(runs: Sequence[MergedRun]) -> str:
    """Write everything that needs no picture: figures, groups, what went wrong, pairs, and the papers' figures."""
    parts = ["# Measured"]
    for run in runs:
        parts.append(f"## {run_title(run)}")
        for each in run_tables(run):
            parts += _captioned(each)
        faults = fault_notes(run)
        if faults:
            parts += ["What went wrong:", "\n".join(f"- {_defused(each)}" for each in faults)]
    for dataset, pairs in all_pairs(runs).items():
        pairs_of = pairs_table(dataset, pairs)
        parts += [
            f"## {pairs_of.caption}",
            markdown_table(pairs_of.headings, pairs_of.rows),
            *pair_notes(pairs),
            PAIRS_NOTE,
        ]
        for pair in pairs:
            decides = markdown_table(*deciders_rows(pair))
            parts += [f"What decides between {pair.one.label} and {pair.other.label}:", decides] if decides else []
    parts += ["## The papers' figures", markdown_table(*papers_rows(runs)), *papers_notes(runs), paper_source()]
    return "\n\n".join(part for part in parts if part) + "\n"


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
            made_with = f"{run.run.suite} {digest[:DIGITS]}{run.run.circumstances}"
            label = f"measured: `{key}` ({made_with})"
            cells = next((cells for name, cells in measured if name == label and column not in cells), None)
            if cells is None:
                cells = {}
                measured.append((label, cells))
            cells[column] = run.scores[key].total.ciou
    rows += [[label, *(percent_cell(cells.get(name)) for name in COLUMNS)] for label, cells in measured]
    return ["method", *COLUMNS], rows


def papers_notes(runs: Sequence[MergedRun]) -> list[str]:
    """Name the runs on the papers' splits that have no place beside them, since they measured a part."""
    parts = [run for run in runs if column_name(run.run.dataset) and not run.is_whole]
    return [
        f"Not in this table, since not every expression of the split was measured: {run_title(run)}." for run in parts
    ]


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown; bars and line ends in cells are defused. "" without rows."""
    if not rows:
        return ""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(_cell(each) for each in line)} |" for line in lines)


def _captioned(each: Table) -> list[str]:
    return [f"**{each.caption}**", markdown_table(each.headings, each.rows), *each.notes]


def _cell(text: str) -> str:
    return " ".join(_defused(text).replace("|", "\\|").split())


def _defused(text: str) -> str:
    """Keep a phrase from being read as HTML."""
    return text.replace("<", "&lt;")


def _plain(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.1f}"
