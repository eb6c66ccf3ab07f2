"""The rows of a CSV with the columns `image` and `phrase`, each with its place; no part of a row is lost in silence."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from evfsam.errors import EvfSamError, Sentence
from workbench.batch.batch_files import BatchTable
from workbench.text_fitting import TextEncodingError, decoded_text

_COLUMNS: Final = ("image", "phrase")
_DELIMITERS: Final = (",", ";", "\t")
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([,;\t|])"?[,;\t]*\r?\n?', re.IGNORECASE)
"""The line that Excel writes and reads in front, which is none of the table's."""


class TableError(EvfSamError):
    """A CSV lacks what it needs."""


@dataclass(frozen=True)
class CsvRow:
    """A line of a table.

    Attributes:
        place: table and line.
        image, phrase: its cells, without surrounding space.
        problem: why it cannot be asked; "" where it can.
    """

    place: str
    image: str = ""
    phrase: str = ""
    problem: str = ""


def table_rows(table: BatchTable) -> Iterator[CsvRow]:
    """Read the rows of a table; the separator is a comma, a semicolon or a tab.

    Raises:
        TableError: while iterating: it is no UTF-8, or has not the columns needed.
    """
    try:
        text = decoded_text(table.content)
    except TextEncodingError as error:
        raise TableError(error.message) from error
    told = _SEPARATOR_LINE.match(text)
    body, skipped = (text[told.end() :], 1) if told else (text, 0)
    head = body.lstrip().partition("\n")[0]
    delimiter = told[1] if told else max(_DELIMITERS, key=head.count)
    names: list[str] | None = None
    for place, cells, problem in _lines(table.name, body, delimiter, skipped):
        if names is None and not problem:
            names = _checked_head(cells)
        elif names is None:
            raise TableError(problem)
        else:
            yield CsvRow(place, problem=problem) if problem else _row(place, names, cells)
    if names is None:
        raise TableError("expected the columns image and phrase, got an empty file")


def _lines(name: str, text: str, delimiter: str, skipped: int) -> Iterator[tuple[str, list[str], str]]:
    """Yield place, cells and problem of each line that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        first = reader.line_num + 1
        cells: list[str] = []
        problem = ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = Sentence(
                "cannot be read as a line of a CSV ({reason}); write quotation marks inside a cell twice", reason=error
            )
        last = max(first, reader.line_num)
        place = f"line {first + skipped}" if first == last else f"lines {first + skipped} to {last + skipped}"
        if any(set(cell.strip()) & {"\n", "\r"} for cell in cells) or (problem and first != last):
            problem = Sentence("a cell goes over several lines; close the quotation mark that is open there")
        if problem or any(cell.strip() for cell in cells):
            yield f"{name}, {place}", cells, problem


def _checked_head(cells: Sequence[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    if not set(_COLUMNS) <= set(names):
        raise TableError("expected the columns image and phrase, got {names}", names=", ".join(names)[:200])
    twice = [name for name in _COLUMNS if names.count(name) > 1]
    if twice:
        count = names.count(twice[0])
        raise TableError("expected the column {name} once, got it {times} times", name=twice[0], times=count)
    return names


def _row(place: str, names: Sequence[str], cells: Sequence[str]) -> CsvRow:
    headed = max(place + 1 for place, name in enumerate(names) if name)
    if any(cell.strip() for cell in cells[headed:]):
        return CsvRow(
            place,
            problem=Sentence(
                "has {cells} cells where the head has {head}; put a phrase that holds the separator in quotation marks",
                cells=len(cells),
                head=headed,
            ),
        )
    row = dict(zip(names, cells, strict=False))
    return CsvRow(place, *(row.get(name, "").strip() for name in _COLUMNS))
