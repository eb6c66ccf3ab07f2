"""A report as files: Markdown, charts, and one HTML page that needs nothing beside itself."""

import io
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final

from PIL import Image

from evfsam.types import RgbImage
from workbench.evaluation.merging import MergedRun
from workbench.evaluation.pairs import Pair, all_pairs
from workbench.export.file_writing import write_whole
from workbench.reporting.charts import Group, bar_chart
from workbench.reporting.csv_tables import figures_csv, pairs_csv
from workbench.reporting.latex import latex_tables
from workbench.reporting.markdown import fault_notes, papers_notes, papers_rows, report_markdown
from workbench.reporting.paper import paper_source
from workbench.reporting.showcase import Exhibit, decider_exhibits, exhibits
from workbench.reporting.tables import PAIRS_NOTE, pair_notes, pairs_table, run_tables, run_title

PER_TITLE: Final = 4
"""Samples shown of each strategy's best and worst, and of the most disputed."""

_CHARTED: Final = ("cIoU", "gIoU", "Pr@0.5", "Pr@0.7", "Pr@0.9", "boundary F", "box accuracy", "N-acc")
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
th, td { border: 1px solid #ccc; padding: 3px 8px; text-align: left; }
figure { display: inline-block; margin: 0 10px 10px 0; vertical-align: top; }
figure img { display: block; }
figcaption { font-size: 12px; }
.wide { overflow-x: auto; }
"""


def write_report(folder: Path, runs: Sequence[MergedRun]) -> list[Path]:
    """Write report.md, report.html, figures.csv, pairs.csv, tables.tex and the charts into a folder.

    Raises:
        ConfigurationError: it cannot be written.
    """
    charts = {
        f"figures-{number}-{name}.svg": chart for number, run in enumerate(runs, 1) for name, chart in _charts(run)
    }
    pairs = all_pairs(runs)
    of_pairs = [(dataset, [pairs_table(dataset, found)]) for dataset, found in pairs.items()]
    files = {
        "report.md": report_markdown(runs),
        "report.html": report_html(runs),
        "figures.csv": figures_csv(runs),
        "pairs.csv": pairs_csv(pairs),
        "tables.tex": latex_tables([*((run_title(run), run_tables(run)) for run in runs), *of_pairs]),
        **charts,
    }
    return [write_whole(folder / name, content.encode("utf-8", "backslashreplace")) for name, content in files.items()]


def report_html(runs: Sequence[MergedRun]) -> str:
    """Return the whole page: figures, charts, samples with their masks, faults, and the papers' figures."""
    parts = ["<h1>Measured</h1>"]
    for run in runs:
        parts += _run_parts(run)
    for dataset, pairs in all_pairs(runs).items():
        parts += _pairs_parts(dataset, pairs)
    parts += ["<h2>The papers' figures</h2>", _html_table(*papers_rows(runs))]
    parts += [f"<p>{escape(note)}</p>" for note in (*papers_notes(runs), paper_source())]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Measured</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _run_parts(run: MergedRun) -> list[str]:
    parts = [f"<h2>{escape(run_title(run))}</h2>"]
    for each in run_tables(run):
        parts += [f"<h3>{escape(each.caption)}</h3>", _html_table(each.headings, each.rows)]
        parts += [f"<p>{escape(note)}</p>" for note in each.notes]
    parts += [f'<div class="wide">{chart}</div>' for _, chart in _charts(run)]
    faults = fault_notes(run)
    if faults:
        parts.append("<h3>What went wrong</h3><ul>" + "".join(f"<li>{escape(each)}</li>" for each in faults) + "</ul>")
    shown = exhibits(run, PER_TITLE)
    if shown and not any(each.pictures for each in shown):
        parts.append("<p>The data set's images are not where they were, so that masks cannot be shown.</p>")
    for title, group in groupby(shown, key=lambda each: each.title):
        parts.append(f"<h3>{escape(title)}</h3>" + "".join(_exhibit_html(each) for each in group))
    return parts


def _pairs_parts(dataset: str, pairs: Sequence[Pair]) -> list[str]:
    of_pairs = pairs_table(dataset, pairs)
    parts = [f"<h2>{escape(of_pairs.caption)}</h2>", _html_table(of_pairs.headings, of_pairs.rows)]
    parts += [f"<p>{escape(note)}</p>" for note in (*pair_notes(pairs), PAIRS_NOTE)]
    for pair in pairs:
        shown = decider_exhibits(pair)
        if shown:
            parts.append(f"<h3>{escape(shown[0].title)}</h3>" + "".join(_exhibit_html(each) for each in shown))
    return parts


def _charts(run: MergedRun) -> list[tuple[str, str]]:
    overall = [Group(name, {key: figures[name] for key, figures in run.figures.items()}) for name in _CHARTED]
    title = run_title(run)
    charts = [("overall", bar_chart("Percent, with 95 % intervals", overall, title))]
    for criterion, by_group in run.groups.items():
        groups = [
            Group(group, {key: scores.figures["cIoU"] for key, scores in by_strategy.items()})
            for group, by_strategy in by_group.items()
        ]
        chart = bar_chart(f"cIoU by {criterion}, percent, with 95 % intervals", groups, title)
        charts.append((f"by-{criterion.replace(' ', '-')}", chart))
    return charts


def _exhibit_html(exhibit: Exhibit) -> str:
    ious = ", ".join(f"{key} {iou:.2f}" for key, iou in exhibit.ious.items())
    pictures = "".join(
        f'<figure><img src="{_data_uri(picture)}" alt="{escape(f"{label}: {exhibit.phrase}")}">'
        f"<figcaption>{escape(label)}</figcaption></figure>"
        for label, picture in exhibit.pictures.items()
    )
    said = f"({escape(exhibit.kind)}, {escape(exhibit.sample_id)}); IoU: {escape(ious)}"
    return f"<section><p><b>{escape(exhibit.phrase)}</b> {said}</p><div>{pictures}</div></section>"


def _html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _data_uri(picture: RgbImage) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode("ascii")
