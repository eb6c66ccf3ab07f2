import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import comparison, full_size, point_query
from benchmarks import gpu as benchmark
from benchmarks.measurements import Goal, MeasuredRow, Report
from evfsam.sam.sam import SamConfig, build_sam


def bench(tmp_path: Path, device: str = "cpu") -> benchmark.Bench:
    return benchmark.Bench(torch.device(device), True, Report({}, tmp_path / "out.json"))


def test_every_part_runs_on_a_cpu_and_tells_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setitem(__import__("sys").modules, "sam2", None)
    try:
        benchmark.main(["--device", "cpu", "--small", "--json", str(tmp_path / "out.json")])
    finally:
        torch.set_num_threads(threads)
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    rows = written["rows"]
    assert written["machine"]["device"] == "cpu"
    assert list(dict.fromkeys(row["part"] for row in rows)) == [part.name for part in benchmark.PARTS]
    missing = {row["part"]: row["note"] for row in rows if row["value"] is None}
    assert set(missing) == {"hiera", "tests"}
    assert missing["hiera"].startswith("skipped: ")
    assert missing["tests"] == "skipped: no CUDA device"
    shares = [row for row in rows if row["title"] == "ViT-H, share of the ceiling"]
    assert [row["goal"] for row in shares] == ["at least 0.6"]
    assert "16 phrases against one, image encoded before" in capsys.readouterr().out


def test_a_part_over_its_time_is_stopped_and_its_rows_are_kept(tmp_path: Path) -> None:
    def slow(_: benchmark.Bench) -> Iterator[MeasuredRow]:
        yield MeasuredRow("slow", "first", 1.0)
        time.sleep(60)

    at_work = bench(tmp_path)
    benchmark.run_part(benchmark.Part("slow", 1, slow), at_work, 0.2)
    rows = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["rows"]
    assert [row["value"] for row in rows] == [1.0, None]
    assert rows[1]["note"].startswith("stopped after")


def test_a_part_that_fails_takes_no_other_along(tmp_path: Path) -> None:
    def broken(_: benchmark.Bench) -> Iterator[MeasuredRow]:
        raise RuntimeError("no kernel\nfor this")
        yield

    at_work = bench(tmp_path)
    benchmark.run_part(benchmark.Part("broken", 1, broken), at_work, 5)
    assert at_work.report.rows[0].note == "failed: RuntimeError: no kernel for this"


def test_without_time_left_parts_are_named_as_skipped(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        status = benchmark.main(
            ["--device", "cpu", "--small", "--minutes", "0.01", "--json", str(tmp_path / "o"), "--part", "ceiling"]
        )
    finally:
        torch.set_num_threads(threads)
    assert status == 0
    (row,) = json.loads((tmp_path / "o").read_text(encoding="utf-8"))["rows"]
    assert row["note"] == "skipped: no time left"


def test_marked_tests_are_run_and_their_failure_misses_the_goal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    test_file = tmp_path / "test_it.py"
    test_file.write_text("import pytest\n@pytest.mark.cuda\ndef test_it():\n    raise ValueError('a cause')\n")
    monkeypatch.setattr(benchmark, "TESTS", test_file)
    (row,) = benchmark.device_tests(bench(tmp_path, "cuda"))
    assert row.verdict == "MISSED"
    assert row.note.startswith("1 failed")
    assert "a cause" in capsys.readouterr().err


def test_operations_of_the_encoder_are_those_that_its_products_need() -> None:
    config = SamConfig(
        image_size=64, encoder_embed_dim=32, encoder_depth=2, encoder_num_heads=2, prompt_embed_dim=32,
        encoder_global_attn_indexes=(1,), window_size=2,
    )  # fmt: skip
    encoder = build_sam(config).image_encoder
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)  # without a gradient oneDNN works, which is not counted
    with FlopCounterMode(display=False) as counter:
        encoder(image)
    assert benchmark.vit_operations(config) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_vit_h_needs_some_5_6_trillion_operations() -> None:
    assert benchmark.vit_operations(SamConfig()) == pytest.approx(5.64e12, rel=0.01)


@pytest.mark.parametrize(("goal", "value", "verdict"), [
    (Goal(3), 3.0, "met"),
    (Goal(3), 3.1, "MISSED"),
    (Goal(0.6, "higher"), 0.59, "MISSED"),
    (Goal(0.6, "higher"), None, "not measured"),
    (None, 1.0, ""),
])  # fmt: skip
def test_a_row_says_how_it_stands_to_its_goal(goal: Goal | None, value: float | None, verdict: str) -> None:
    row = MeasuredRow("part", "title", value, goal=goal)
    assert row.verdict == verdict
    assert (row in Report({}, rows=[row]).missed()) == (goal is not None and verdict != "met")


@pytest.mark.parametrize("program", [benchmark, comparison, full_size, point_query])
def test_a_device_that_is_not_there_is_told_in_words(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as left:
        program.main(["--device", "cuda"])
    assert left.value.code == 2
    assert "error: this machine has no cuda device that torch can use; choose auto or cpu" in capsys.readouterr().err
