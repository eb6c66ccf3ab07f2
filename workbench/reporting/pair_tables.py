"""Pairs of answers as tables: how far they are apart, how sure that is, and which questions decide."""

from collections.abc import Sequence
from typing import Final

from workbench.evaluation.pairs import COMPARED, Pair
from workbench.metrics.paired import Difference
from workbench.reporting.scores import percent

PAIRS_NOTE: Final = (
    "Differences are the first minus the second, in points of percent, on the expressions that both answered, with "
    "95 % bootstrap intervals over images. p says how often exchanging the two answers about an image at random gives "
    "a difference as large; it is corrected for the number of pairs in the table (Holm). A win is an expression on "
    "which the first has the higher IoU."
)
"""What the table of pairs shows."""


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
        rows.append([answer.phrase, answer.kind, answer.place.sample_id, *(percent(iou) for iou in decider.ious)])
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
