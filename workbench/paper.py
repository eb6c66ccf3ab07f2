"""The papers' own figures on the RES benchmarks, to stand beside measured ones. Source: `paper_tables.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

_TABLES: Final = Path(__file__).with_name("paper_tables.json")
_RESULT_TABLES: Final = ("table2_main", "sam4mllm_table2")

COLUMNS: Final[Mapping[str, str]] = {
    "refcoco:val": "refcoco_val",
    "refcoco:testA": "refcoco_testA",
    "refcoco:testB": "refcoco_testB",
    "refcoco+:val": "refcoco+_val",
    "refcoco+:testA": "refcoco+_testA",
    "refcoco+:testB": "refcoco+_testB",
    "refcocog:val": "refcocog_val",
    "refcocog:test": "refcocog_test",
}
"""Column of the papers' tables by data set; their splits are those of UNC, and of UMD for RefCOCOg."""


@dataclass(frozen=True)
class PaperRow:
    """A line of a paper's table of results.

    Attributes:
        method: as the paper calls it.
        cious: percent by data set out of `COLUMNS`; None where the paper has none.
    """

    method: str
    cious: Mapping[str, float | None]


def paper_rows() -> tuple[PaperRow, ...]:
    """Return the methods of EVF-SAM's table 2 and SAM4MLLM's table 2."""
    tables = _tables()
    return tuple(
        PaperRow(str(row["method"]), {name: row["cIoU"].get(column) for name, column in COLUMNS.items()})
        for table in _RESULT_TABLES
        for row in tables[table]
    )


def paper_source() -> str:
    """Return where the figures come from, a sentence or two."""
    return str(_tables()["source"])


def column_name(dataset: str) -> str | None:
    """Return the data set out of `COLUMNS` that a name on the command line means; None for one the papers lack."""
    plain = dataset.replace("/unc", "")
    plain = plain.replace("/umd", "") if plain.startswith("refcocog") else plain
    return plain if plain in COLUMNS else None


@cache
def _tables() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_TABLES.read_text(encoding="utf-8"))
    return content
