"""`evaluate` and `report` as processes: killed, continued, split over two, and brought together again."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.evaluation.merging import MergedRun, merged_runs
from workbench.evaluation.result_lines import read_results

ROOT = Path(__file__).parents[3]
ASKED = ("--dataset", "scenes:test", "--limit", "20")


def start(weights: Path, *arguments: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    weights.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.workbench.run_doubles", str(weights), *(str(each) for each in arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    return process.returncode, out, err


def timeless(run: MergedRun) -> list[object]:
    return [replace(answer, seconds=0.0, peak_bytes=None) for answer in run.answers]


@pytest.mark.slow
def test_two_processes_reach_the_figures_of_one(tmp_path: Path) -> None:
    weights, keys = tmp_path / "weights", "light,refused"
    single = tmp_path / "single.jsonl"
    parts = tmp_path / "parts.jsonl"
    arguments = ("evaluate", *ASKED, "--strategies", keys, "--out")
    ranks = [{"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)} for rank in range(2)]
    processes = [start(weights, *arguments, parts, environment=rank) for rank in ranks]
    processes.append(start(weights, *arguments, single))
    codes = [finished(process)[0] for process in processes]
    assert codes == [0, 0, 3], "one strategy fails on everything, but must not stop the other processes"
    shards = [tmp_path / f"parts.{number}-of-2.jsonl" for number in (1, 2)]
    assert all(read_results(path).is_complete and read_results(path).answers for path in shards)
    (whole,), (together,) = merged_runs([single]), merged_runs(shards[::-1])
    assert whole.run == together.run
    assert timeless(whole) == timeless(together)
    assert whole.scores == together.scores
    assert whole.figures == together.figures
    assert whole.scores["light"].total.count == 20
    assert (whole.notes, together.notes) == ((), ())


@pytest.mark.slow
def test_a_killed_process_is_continued_where_it_was(tmp_path: Path) -> None:
    weights, out = tmp_path / "weights", tmp_path / "results.jsonl"
    arguments = ("evaluate", *ASKED, "--strategies", "mortal", "--out", out)
    code, _, _ = finished(start(weights, *arguments))
    assert code == -signal.SIGKILL
    left = read_results(out)
    assert (len(left.answers) > 0, left.is_complete) == (True, False)
    (cut,) = merged_runs([out])
    assert cut.notes == ("results.jsonl ends before its run did; run the same command again and it goes on from there",)
    code, text, _ = finished(start(weights, *arguments))
    assert code == 0
    assert text.startswith("scenes:test, suite mini: 20 expressions, in percent;")
    results = read_results(out)
    assert results.is_complete
    assert results.answers[: len(left.answers)] == left.answers
    assert len({answer.place for answer in results.answers}) == len(results.answers)
    assert sum(answer.kind != "absent" for answer in results.answers) == 20
