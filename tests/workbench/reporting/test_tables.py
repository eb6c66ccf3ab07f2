"""Tables say what was measured with what, and read alike in Markdown, LaTeX and CSV."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.workbench.evaluation.test_merging import RUN, answer, written
from workbench.evaluation.evaluation import Shard
from workbench.evaluation.merging import MergedRun, merged_runs
from workbench.evaluation.pairs import all_pairs
from workbench.evaluation.result_lines import ResultsFile
from workbench.evaluation.run_identity import Facts, Header
from workbench.reporting.csv_tables import figures_csv, pairs_csv
from workbench.reporting.latex import escaped, latex_tables
from workbench.reporting.markdown import report_markdown
from workbench.reporting.tables import run_tables

FACTS = Facts(
    "2026-03-01T12:00:00+00:00",
    "A Processor, 8 cores",
    {"light": "models/light", "dark": "org/dark@abc"},
    {"python": "3.11.7", "torch": "2.14.1", "transformers": None},
)


@pytest.fixture
def run(tmp_path: Path) -> MergedRun:
    """Six images, each with a short and a long phrase, answered by two strategies."""
    costs = {"light": {"seconds": 0.5, "encode_seconds": 0.3}, "dark": {"seconds": 0.1}}
    path = tmp_path / "run.jsonl"
    with ResultsFile(path, Header(replace(RUN, samples="5a"), Shard(), "", FACTS)) as file:
        for sample in range(6):
            file.append(
                answer(sample, question, key, phrase=phrase, peak_bytes=(sample + 1) * 2**28, **costs[key])
                for question, phrase in enumerate(("dog", "the dog on the left"))
                for key in costs
            )
        file.finish({"light": 12_345_678})
    (run,) = merged_runs([path])
    return run


def rows_of(run: MergedRun, name: str) -> list[list[str]]:
    (table,) = [each for each in run_tables(run) if each.name == name]
    return [list(table.headings), *(list(row) for row in table.rows)]


def test_the_first_table_says_what_was_measured_with_what_when_and_where(run: MergedRun) -> None:
    assert dict(rows_of(run, "run")[1:]) == {
        "begun": "2026-03-01T12:00:00+00:00",
        "machine": "cpu, A Processor, 8 cores",
        "number type": "float32",
        "versions": "python 3.11.7, torch 2.14.1",
        "data": "refcoco:val, digest 5a",
        "limit": "none",
        "images": "6",
        "weights of light": "models/light, digest a1",
        "weights of dark": "org/dark@abc, digest b2",
    }


def test_costs_are_told_without_the_encoder_that_another_paid_for(run: MergedRun) -> None:
    assert rows_of(run, "cost") == [
        ["strategy", "parameters", "image encoder, s", "rest, s", "9 in 10 under, s", "peak memory"],
        ["light", "12.3 M", "0.300", "0.200", "0.200", "1.50 GiB"],
        ["dark", "-", "-", "0.100", "0.100", "1.50 GiB"],
    ]
    saved = replace(run, run=replace(run.run, device="", dtype=""))
    assert [each.name for each in run_tables(saved) if each.name == "cost"] == [], "no model ran"


def test_counts_stand_below_the_figures_and_what_an_interval_is_below_them(run: MergedRun) -> None:
    assert rows_of(run, "figures")[-4:] == [
        ["expressions", "12", "12"],
        ["absent ones", "0", "0"],
        ["failed", "0", "0"],
        ["not asked", "0", "0"],
    ]
    assert "95 % intervals over images in brackets: Wilson's for rates" in report_markdown([run])


def test_expressions_are_grouped_by_length(run: MergedRun) -> None:
    rows = rows_of(run, "by-words-in-the-phrase")
    assert [row[:2] for row in rows] == [
        ["words in the phrase", "strategy"],
        ["1 to 2", "light"],
        ["1 to 2", "dark"],
        ["3 to 5", "light"],
        ["3 to 5", "dark"],
    ]
    # 30, 31, ... 35 of 50 pixels: 195 of 300.
    assert rows[1][2].startswith("65.0 (")


def test_every_figure_is_a_line_of_csv_with_full_precision(run: MergedRun) -> None:
    lines = list(csv.DictReader(io.StringIO(figures_csv([run]))))
    whole = {(line["strategy"], line["figure"]): line for line in lines if not line["group_by"]}
    ciou = whole["light", "cIoU"]
    assert float(ciou["value"]) == 195 / 300
    assert float(ciou["low"]) < 0.65 < float(ciou["high"])
    assert (ciou["dataset"], ciou["limit"], ciou["whole"], ciou["weights"]) == (
        "refcoco:val",
        "",
        "True",
        "models/light",
    )
    assert (ciou["expressions"], ciou["images"], ciou["begun"]) == ("12", "6", "2026-03-01T12:00:00+00:00")
    assert whole["dark", "N-acc"]["value"] == ""
    assert {line["group"] for line in lines if line["group_by"] == "words in the phrase"} == {"1 to 2", "3 to 5"}
    (pair, _) = csv.DictReader(io.StringIO(pairs_csv(all_pairs([run]))))
    assert (pair["first"], pair["second"], pair["figure"], pair["difference"], pair["ties"]) == (
        "light",
        "dark",
        "cIoU",
        "0.0",
        "12",
    )


def test_the_counts_of_a_line_are_those_that_its_figure_is_of(tmp_path: Path) -> None:
    nothing = {"kind": "absent", "wanted": 0, "intersection": 0, "marked": 0, "boundary_f": None, "box_iou": None}
    answers = [answer(0, 0), answer(0, 1), answer(1, 0), answer(1, 1, **nothing), answer(2, 0, **nothing)]
    answers[1] = replace(answers[1], attention_mass=None)
    one = replace(RUN, strategies={"light": "a1"})
    counts = {}
    for dataset in ("refcoco:val", "grefcoco:val"):
        path = written(tmp_path / f"{dataset[:-4]}.jsonl", answers, run=replace(one, dataset=dataset))
        lines = csv.DictReader(io.StringIO(figures_csv(merged_runs([path]))))
        counts[dataset] = {
            each["figure"]: (each["expressions"], each["images"]) for each in lines if not each["group_by"]
        }
    found = counts["refcoco:val"]
    assert [found[name] for name in ("cIoU", "gIoU", "Pr@0.5", "T-acc")] == [("3", "2")] * 4
    assert [found[name] for name in ("cIoU with absent", "gIoU with absent")] == [("5", "3")] * 2
    assert (found["N-acc"], found["attention mass"]) == (("2", "2"), ("2", "2"))
    of_gref = counts["grefcoco:val"]
    assert (of_gref["cIoU"], of_gref["cIoU of targets"], of_gref["Pr@0.5"]) == (("5", "3"), ("3", "2"), ("3", "2"))


def test_tables_for_spreadsheets_hold_no_formulas_of_others(run: MergedRun) -> None:
    odd = replace(run.run, dataset='coco:=HYPERLINK("x").json', strategies={"=cmd|calc!A1": "d1", "dark": "d2"})
    answers = [replace(each, kind="@SUM(A1)") for each in run.answers]
    of_odd = [
        replace(each, place=replace(each.place, strategy="=cmd|calc!A1")) if each.place.strategy == "light" else each
        for each in answers
    ]
    written = figures_csv([replace(run, run=odd, answers=tuple(of_odd))])
    cells = [cell for row in csv.reader(io.StringIO(written)) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "@", "+"))] == []
    assert "'=cmd|calc!A1" in cells


def test_latex_tables_have_as_many_cells_as_columns_and_escape_what_latex_reads(run: MergedRun) -> None:
    text = latex_tables([("50 % of_this & that", run_tables(run))])
    for columns, body in re.findall(r"\\begin{tabular}{(\w+)}\n(.*?)\\end{tabular}", text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) > 1
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(columns)}
    assert r"50 \% of\_this \& that" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == len(run_tables(run))
    assert escaped(r"a\b {c} ~^ #1 $x") == r"a\textbackslash{}b \{c\} \textasciitilde{}\textasciicircum{} \#1 \$x"


def test_a_run_without_facts_still_has_its_tables(tmp_path: Path) -> None:
    (bare,) = merged_runs([written(tmp_path / "a.jsonl", [answer(0, 0)])])
    assert ["begun", ""] not in rows_of(bare, "run")
    assert rows_of(bare, "cost")[1][-1] == "-"
