import json
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import all as benchmark
from benchmarks.gpu import Bench, Part
from benchmarks.measurements import Goal, MeasuredRow, Report, as_markdown

QUICK = ("phrases", "files", "shelf", "fuse", "points", "bfloat16", "visitors")


@pytest.fixture
def bench() -> Bench:
    return Bench(torch.device("cpu"), True, Report({}))


def test_parts_chosen_are_measured_and_written_with_goal_and_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "comparison", cache(benchmark.comparison))  # the weights are read once
    words = [word for name in QUICK for word in ("--part", name)]
    benchmark.main(["--small", "--json", str(tmp_path / "out.json"), *words])
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert written["machine"]["device"] == "cpu"
    assert written["machine"]["cores"] >= 1
    rows = written["rows"]
    assert set(QUICK) == {row["part"] for row in rows}
    assert [row["note"] for row in rows if row["value"] is None] == []
    assert all(row["value"] > 0 for row in rows)
    goals = {row["title"].split(",")[0]: row["goal"] for row in rows if row["part"] == "phrases"}
    assert goals == {"evf-sam": "at most 3", "clip-text": "at most 3", "point-query": "at most 4"}
    assert {row["verdict"] for row in rows if row["goal"]} <= {"met", "MISSED"}


def test_a_goal_that_is_missed_shows_in_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(_: Bench) -> Iterator[MeasuredRow]:
        yield MeasuredRow("short", "a figure", 4.0, goal=Goal(3.0))

    monkeypatch.setattr(benchmark, "PARTS", (Part("short", 10, short),))
    assert benchmark.main([]) == 1


def test_evaluation_is_compared_with_a_loop_strategy_by_strategy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "in_turns", lambda rounds, *_: [6.0 * rounds, 1.0 * rounds])
    rows = list(benchmark.evaluation(bench))
    assert [row.title.split(":")[0] for row in rows] == ["all three strategies", "evf-sam", "clip-text", "point-query"]
    assert [row.value for row in rows] == [6.0] * 4
    assert [row.verdict for row in rows] == ["met", "", "", ""]


def test_works_take_turns() -> None:
    order: list[str] = []
    first, second = benchmark.in_turns(3, lambda: order.append("a"), lambda: order.append("b"))
    assert "".join(order) == "ababab"
    assert 0 <= first < 1
    assert 0 <= second < 1


def test_a_strategy_that_breaks_stops_the_measurement() -> None:
    asked = benchmark.comparison()
    view = asked.view(benchmark.photograph(60, 40))
    broken: Callable[..., object] = lambda *_: 1 / 0  # noqa: E731
    asked.strategy("clip-text").model.prompt_embeddings = broken  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match=r"clip-text failed: .*unexpected error"):
        benchmark.ask(asked, view, ["the cat"], ["clip-text"])


def test_a_photograph_has_its_size_and_is_the_same_every_time() -> None:
    picture = benchmark.photograph(90, 60)
    assert picture.shape == (60, 90, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, benchmark.photograph(90, 60))


def test_starts_are_of_the_command_line_and_tell_the_processor_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    rows = list(benchmark.starts(bench))
    *asked, torch_alone, both = [command[1:4] for command in commands]
    assert asked == [["-m", "workbench", "--help"], ["-m", "workbench", "compare"]]
    assert (torch_alone[1], both[1]) == ("import torch", "import torch, transformers.modeling_utils")
    assert [str(row.goal) for row in rows] == ["at most 0.4", "at most 3"]
    assert all("s of processor time" in row.note for row in rows)
    assert ["importing torch" in row.note for row in rows] == [False, True]


@pytest.mark.parametrize("name", ["figures-cpu.json", "figures-gpu.json"])
def test_the_figures_in_the_documents_are_those_of_the_file(name: str) -> None:
    values = json.loads((benchmark.ROOT / "benchmarks" / name).read_text(encoding="utf-8"))
    assert {"name", "cores", "torch", "torch_threads"} <= set(values["machine"])
    assert as_markdown(values) in (benchmark.ROOT / "docs" / "figures.md").read_text(encoding="utf-8")


def test_a_figure_that_could_not_be_taken_shows_its_reason_in_the_table() -> None:
    rows = [
        MeasuredRow("a", "one", 2.0, "s", Goal(3.0)).to_dict(),
        MeasuredRow("b", "two", note="stopped after 3 s").to_dict(),
    ]
    assert as_markdown({"rows": rows}).splitlines()[2:] == [
        "| a | one | 2 s | at most 3 | met |",
        "| b | two | stopped after 3 s |  | not measured |",
    ]
