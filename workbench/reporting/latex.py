"""Tables for a paper, in LaTeX with booktabs."""

from collections.abc import Sequence
from typing import Final

from workbench.reporting.tables import Table

_ESCAPED: Final = {
    "\\": r"\textbackslash{}",
    **{each: rf"\{each}" for each in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def latex_tables(titled: Sequence[tuple[str, Sequence[Table]]]) -> str:
    """Write tables with captions and labels, to be put into a paper whose preamble loads the package booktabs.

    Args:
        titled: titles, each with its tables.
    """
    parts = ["% Needs \\usepackage{booktabs} in the preamble.\n"]
    for number, (title, tables) in enumerate(titled, 1):
        parts += [_table(title, table, f"tab:{table.name}-{number}") for table in tables]
    return "\n".join(parts)


def _table(title: str, table: Table, label: str) -> str:
    notes = "".join(f" {escaped(note)}" for note in table.notes)
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escaped(table.caption)}. {escaped(title)}.{notes}}}",
        rf"  \label{{{label}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.headings) - 1)}}}",
        r"    \toprule",
        f"    {_row(table.headings)}",
        r"    \midrule",
        *(f"    {_row(row)}" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"


def escaped(text: str) -> str:
    """Write text so that LaTeX prints it as it stands, on one line."""
    return "".join(_ESCAPED.get(character, character) for character in " ".join(text.split()))
