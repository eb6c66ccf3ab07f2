from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from benchmarks import comparison as benchmark
from evfsam.types import ImageView, Segmentation, StrategyCard, Verdict
from workbench.comparison import Comparison
from workbench.datasets.scenes import scene
from workbench.suites.registry import StrategyEntry, Suite


class FindsEverything:
    """A strategy whose mask is the whole image."""

    card = StrategyCard("any", "Any", "", "", "", "", "")

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        assert phrase
        return Segmentation(Verdict("found"), torch.ones(view.size))


def load_strategy(directory: Path, *, device: torch.device, dtype: torch.dtype) -> FindsEverything:
    assert directory.is_dir() and device.type == "cpu" and dtype == torch.float32  # noqa: PT018
    return FindsEverything()


def suite_in(directory: Path) -> Suite:
    entry = StrategyEntry(FindsEverything.card, f"{__name__}:load_strategy", directory)
    return Suite("fake", "Fake", "", MappingProxyType({"one": entry, "two": entry}))


def test_the_image_is_640_by_480_with_the_whole_scene_in_its_middle() -> None:
    drawn = scene(10_000_000, benchmark.HEIGHT)
    image = benchmark.wide_image(drawn)
    assert image.shape == (480, 640, 3)
    np.testing.assert_array_equal(image[:, 80:560], drawn.image)


def test_phrases_measured_mean_something_and_differ() -> None:
    drawn = scene(10_000_000, 64)
    phrases = benchmark.two_phrases(drawn)
    assert len(set(phrases)) == 2
    assert not {e.text for e in drawn.expressions if e.kind == "absent"} & set(phrases)


def test_every_strategy_is_timed(tmp_path: Path) -> None:
    comparison = Comparison(suite_in(tmp_path))
    assert set(benchmark.time_weights(comparison)) == {"one", "two"}
    timing = benchmark.time_phrase(comparison, np.zeros((8, 8, 3), np.uint8), "the cat")
    assert set(timing.seconds) == {"one", "two"}
    assert timing.verdicts == {"one": "found", "two": "found"}
    assert 0 < timing.first_result_s <= timing.all_results_s


def test_missing_weights_are_named_and_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = benchmark.ROOT / "checkpoints" / "nowhere"
    monkeypatch.setattr(benchmark, "find_suite", lambda _: suite_in(missing))
    assert benchmark.main(["--out", str(tmp_path / "out.json")]) == 2
    assert "no weights in checkpoints/nowhere" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_the_report_tells_figures_ratios_cores_and_what_is_over_its_bound() -> None:
    first = {
        "phrase": "the cat",
        "first_result_s": 1.0,
        "all_results_s": 8.0,
        "seconds": {"one": 1.0, "two": 7.0},
        "verdicts": {"one": "found", "two": "failed"},
        "cached": {"one": False, "two": True},
    }
    second = {**first, "all_results_s": 2.0}
    machine = {"cores": 2, "torch_threads": 2, "device": "cpu", "python": "3.11", "torch": "2.14"}
    measured = {
        "machine": machine,
        "serving_s": 5.0,
        "weights_s": {"one": 0.5, "two": 0.5},
        "images": [[first, second]],
    }
    lines = benchmark.report(measured, benchmark.WaitBounds())
    assert lines[0].startswith("2 cores, 2 torch threads, device cpu")
    verdict_of = {line.split("  ")[0]: line.split()[-1] for line in lines if line.endswith(("within", "OVER"))}
    assert verdict_of == {
        "app.py until it serves": "within",
        "first image: first result": "within",
        "first image: all results": "OVER",
        "first image: second phrase, all results": "within",
    }
    assert any("second phrase / first phrase" in line and line.endswith("0.25") for line in lines)
    assert "two          weights  0.50 s, phrases  7.00 s and  7.00 s (failed, failed)" in lines
