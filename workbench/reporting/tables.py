"""The tables of a report, as plain text cells, whatever they are written as."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Final

from workbench.evaluation.measured_answers import Answer
from workbench.evaluation.merging import MergedRun
from workbench.evaluation.pairs import COMPARED, Pair
from workbench.evaluation.run_figures import UNBOUNDED, Figure
from workbench.metrics.paired import Difference
from workbench.reporting.scores import percent_cell

DIGITS: Final = 8
"""Shown of a digest of weights."""

INTERVALS_NOTE: Final = (
    "Figures are in percent, with 95 % intervals over images in brackets: Wilson's for rates (Pr@X, box accuracy, "
    "T-acc, N-acc), with as many effective expressions as the variation between images allows, and percentile "
    "bootstrap with 1,000 resamples of images for the others, of which those at exactly 0 or 100 % have Wilson's over "
    "the number of images."
)
ROWS_NOTE: Final = (
    "Rows that share image_id or file_name are one image here; without such a column every row counts as an image, and "
    "intervals are too narrow where rows share pictures."
)
COST_NOTE: Final = (
    "Seconds are of one expression: the median, and what nine in ten stay under. SAM's image encoder runs once an "
    "image, for whichever strategy asks first, and is given apart. Memory is the most in use while the strategy was "
    "asked: of the GPU's by torch, on a CPU of the whole process with the weights of all strategies."
)
_SHOWN_VERSIONS: Final = ("python", "torch", "transformers")
PAIRS_NOTE: Final = (
    "Differences are the first minus the second, in points of percent, on the expressions that both answered, with "
    "95 % bootstrap intervals over images. p says how often exchanging the two answers about an image at random gives "
    "a difference as large; it is corrected for the number of pairs in the table (Holm). A win is an expression on "
    "which the first has the higher IoU."
)
"""What the table of pairs shows."""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: for file names and labels.
        caption: what it shows, a line.
        headings, rows: cells.
        notes: sentences below.
    """

    name: str
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def run_title(run: MergedRun) -> str:
    """Name a run in a line: data, how much of it, weights, number type, device and date."""
    limit = "" if run.run.limit is None else f", first {run.run.limit} expressions"
    unfinished = ", unfinished" if run.notes else ""
    weights = ", ".join(f"{key} {digest[:DIGITS]}" for key, digest in run.run.strategies.items())
    date = f", {run.facts.started[:10]}" if run.facts.started else ""
    return f"{run.run.dataset}{limit}{unfinished}: suite {run.run.suite} ({weights}){run.run.circumstances}{date}"


def run_tables(run: MergedRun) -> list[Table]:
    """Return all tables of one run: what it was, its figures, what answers cost, and groups of expressions."""
    return [facts_table(run), figures_table(run), *cost_tables(run), *group_tables(run)]


def facts_table(run: MergedRun) -> Table:
    """Say what was measured, with what, when and where."""
    facts, images = run.facts, {each.place.sample_id for each in run.answers}
    versions = ", ".join(f"{name} {facts.versions[name]}" for name in _SHOWN_VERSIONS if facts.versions.get(name))
    rows = [
        ["begun", facts.started],
        ["machine", ", ".join(filter(None, (run.run.device, facts.machine)))],
        ["number type", run.run.dtype],
        ["versions", versions],
        ["data", f"{run.run.dataset}, digest {run.run.samples}" if run.run.samples else run.run.dataset],
        ["limit", "none" if run.run.limit is None else f"first {run.run.limit} expressions that name something"],
        ["images", str(len(images))],
        *[
            [f"weights of {key}", ", ".join(filter(None, (facts.weights.get(key), f"digest {digest}")))]
            for key, digest in run.run.strategies.items()
        ],
    ]
    return Table("run", "What was measured", ["", "this run"], [row for row in rows if row[1]])


def figures_table(run: MergedRun) -> Table:
    """Lay out every figure of every strategy, a column a strategy."""
    keys = list(run.run.strategies)
    rows = [[name, *(figure_text(name, run.figures[key][name]) for key in keys)] for name in run.figure_names]
    counts = {
        "expressions": [run.scores[key].total.count for key in keys],
        "absent ones": [run.scores[key].absent.count for key in keys],
        "failed": [run.scores[key].failed_count for key in keys],
        "not asked": [run.scores[key].unread_count for key in keys],
    }
    rows += [[name, *map(str, numbers)] for name, numbers in counts.items()]
    notes = [INTERVALS_NOTE, *([ROWS_NOTE] if run.run.dataset.startswith("hf:") else [])]
    return Table("figures", "Figures, in percent", ["in percent", *keys], rows, notes)


def cost_tables(run: MergedRun) -> list[Table]:
    """Return seconds, parameters and memory by strategy; nothing where no model ran."""
    if not run.run.device:
        return []
    headings = ["strategy", "parameters", "image encoder, s", "rest, s", "9 in 10 under, s", "peak memory"]
    rows = []
    for key in run.run.strategies:
        answers = [each for each in run.answers if each.place.strategy == key and each.outcome in ("found", "absent")]
        rest = [each.seconds - (each.encode_seconds or 0.0) for each in answers]
        encoder = [each.encode_seconds for each in answers if each.encode_seconds]
        parameters = run.parameters.get(key)
        rows.append(
            [
                key,
                f"{parameters / 1e6:,.1f} M" if parameters else "-",
                f"{median(encoder):.3f}" if encoder else "-",
                f"{median(rest):.3f}" if rest else "-",
                f"{quantiles(rest, n=10)[-1]:.3f}" if len(rest) > 1 else "-",
                _peak_text(answers),
            ]
        )
    return [Table("cost", "What answers cost", headings, rows, [COST_NOTE])]


def group_tables(run: MergedRun) -> list[Table]:
    """Return a table a way of putting expressions into groups, a row a group and strategy."""
    tables = []
    for criterion, groups in run.groups.items():
        rows = []
        for group, by_strategy in groups.items():
            for key, scores in by_strategy.items():
                cells = [figure_text(name, figure) for name, figure in scores.figures.items()]
                rows.append([group, key, *cells, str(scores.expressions), str(scores.images)])
        names = list(next(iter(next(iter(groups.values())).values())).figures)
        headings = [criterion, "strategy", *names, "expressions", "images"]
        name = criterion.replace(" ", "-")
        tables.append(Table(f"by-{name}", f"By {criterion}, in percent", headings, rows))
    return tables


def pairs_table(dataset: str, pairs: Sequence[Pair]) -> Table:
    """Lay out every two contestants of a data set."""
    return Table("pairs", f"Compared in pairs on {dataset}", *pairs_rows(pairs))


def figure_text(name: str, figure: Figure) -> str:
    """Write a figure with its interval."""
    if figure.value is None:
        return "-"
    if name == UNBOUNDED:
        interval = "" if figure.interval is None else " ({:.2f}-{:.2f})".format(*figure.interval)
        return f"{figure.value:.2f}x{interval}"
    interval = (
        "" if figure.interval is None else f" ({percent_cell(figure.interval[0])}-{percent_cell(figure.interval[1])})"
    )
    return f"{percent_cell(figure.value)}{interval}"


def _peak_text(answers: Sequence[Answer]) -> str:
    peaks = [each.peak_bytes for each in answers if each.peak_bytes]
    return f"{max(peaks) / 2**30:.2f} GiB" if peaks else "-"


def pairs_rows(pairs: Sequence[Pair]) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the table of pairs."""
    tested = [heading for name in COMPARED for heading in (f"{name}, difference", f"p ({name})")]
    headings = ["first", "second", *tested, "wins", "losses", "ties", "expressions", "images"]
    rows = []
    for pair in pairs:
        cells = [cell for name in COMPARED for cell in _tested_cells(pair, name)]
        counts = (pair.wins, pair.losses, pair.ties, pair.question_count, pair.image_count)
        rows.append([pair.one.label, pair.other.label, *cells, *map(str, counts)])
    return headings, rows


def pair_notes(pairs: Sequence[Pair]) -> list[str]:
    """Name the pairs of which questions were left out, a sentence each."""
    return [
        f"{pair.one.label} and {pair.other.label}: {pair.left_out_count} expressions are left out, since one of the "
        "two was not asked them, or was asked about another picture or mask."
        for pair in pairs
        if pair.left_out_count
    ]


def deciders_rows(pair: Pair) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of the questions on which a pair is farthest apart; no rows where it never is."""
    headings = ["phrase", "kind", "image", f"IoU of {pair.one.label}", f"IoU of {pair.other.label}"]
    rows = []
    for decider in pair.deciders:
        answer = decider.answers[0]
        rows.append([answer.phrase, answer.kind, answer.place.sample_id, *(percent_cell(iou) for iou in decider.ious)])
    return headings, rows


def _tested_cells(pair: Pair, name: str) -> tuple[str, str]:
    difference = pair.differences.get(name)
    if difference is None:
        return "-", "-"
    return _difference_text(difference), _p_text(pair.p_values[name])


def _difference_text(difference: Difference) -> str:
    text = f"{100 * difference.value:+.1f}"
    if difference.interval is None:
        return text
    low, high = difference.interval
    return f"{text} ({100 * low:+.1f} to {100 * high:+.1f})"


def _p_text(p_value: float) -> str:
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"
