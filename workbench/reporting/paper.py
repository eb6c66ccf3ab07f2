"""The papers' own figures on the RES benchmarks, to stand beside measured ones. Source: `paper_tables.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

_TABLES: Final = Path(__file__).with_name("paper_tables.json")
_RESULT_TABLES: Final = ("table2_main", "sam4mllm_table2")
_PARTS: Final = ("encoder", "prompt_encoder", "mask_decoder")

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


@dataclass(frozen=True)
class PaperAblation:
    """A line of a paper's ablation, and the row that is its miniature here.

    Attributes:
        row: key of the row in `training.ablations`.
        title: what differs, for people.
        ciou: percent; on RefCOCO testA in EVF-SAM's tables, on RefCOCOg val in SAM4MLLM's.
    """

    row: str
    title: str
    ciou: float


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


def ablation_groups() -> Mapping[str, tuple[PaperAblation, ...]]:
    """Return the papers' ablations by title of the table, rows in the order of reading."""
    tables = _tables()
    fusion = {
        (row["encoder"].split("-")[0], row["fusion"]): row["cIoU"] for row in tables["table3_fusion_refcoco_testA"]
    }
    parts = {tuple(row[part] for part in _PARTS): row["cIoU"] for row in tables["table4_trainable_refcoco_testA"]}
    feature, asked = tables["table5_feature_refcoco_testA"], tables["sam4mllm_table6"]
    threshold, points = asked["confidence_threshold_refcocog_val"], asked["point_sampling_refcocog_val"]
    return {
        "EVF-SAM, tables 1 and 3: encoder and fusion": (
            PaperAblation("clip-text", "CLIP, text alone", fusion["CLIP", "text only"]),
            PaperAblation("clip-late", "CLIP, late concat", fusion["CLIP", "late concat"]),
            PaperAblation("beit3-text", "BEiT-3, text alone", fusion["BEIT", "text only"]),
            PaperAblation("beit3-late", "BEiT-3, late concat", fusion["BEIT", "late concat"]),
            PaperAblation("beit3-early-half", "BEiT-3, early in the first half", fusion["BEIT", "early L1-L12"]),
            PaperAblation("beit3-early", "BEiT-3, early in all layers", fusion["BEIT", "early L1-L24"]),
        ),
        "EVF-SAM, table 4: what learns beside the projector": (
            PaperAblation("decoder-alone", "mask decoder", parts[False, False, True]),
            PaperAblation("encoder-alone", "encoder", parts[True, False, False]),
            PaperAblation("encoder-and-decoder", "encoder, mask decoder", parts[True, False, True]),
            PaperAblation("beit3-early", "encoder, prompt encoder, mask decoder", parts[True, True, True]),
        ),
        "EVF-SAM, table 5: the feature that prompts SAM": (
            PaperAblation("text-cls", "text [CLS]", feature["text [CLS]"]),
            PaperAblation("beit3-early", "image [CLS]", feature["image [CLS]"]),
            PaperAblation("patch-mean", "mean of the patches", feature["image average pool"]),
            PaperAblation("both-cls", "both [CLS]", feature["text [CLS] + image [CLS] concat"]),
        ),
        "SAM4MLLM, table 6: confidence asked of a point": tuple(
            PaperAblation(f"threshold-{share}", f"at least {share}", figure) for share, figure in threshold.items()
        ),
        "SAM4MLLM, table 6: points asked": (
            PaperAblation("threshold-0.9", "grid of 5 x 5", points["5x5 grid"]),
            PaperAblation("grid-6", "grid of 6 x 6", points["6x6 grid"]),
            PaperAblation("random-25", "25 random", points["25 random"]),
            PaperAblation("random-36", "36 random", points["36 random"]),
        ),
    }


@cache
def _tables() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(_TABLES.read_text(encoding="utf-8"))
    return content
