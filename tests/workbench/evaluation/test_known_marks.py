"""Marks are read off the known mask and reach SAM beside each phrase, and the figures say so."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evfsam.errors import ConfigurationError
from evfsam.types import ImageView, SamPrompt, Segmentation
from tests.workbench.doubles import BatchingBrightStrategy, half_lit, suite_of
from workbench.cli.evaluate import Order, run_evaluation
from workbench.comparison import Comparison
from workbench.datasets.contract import ABSENT, Sample, SampleQuestion
from workbench.evaluation.evaluation import Shard, measure
from workbench.evaluation.known_marks import known_marks
from workbench.evaluation.result_lines import read_results
from workbench.export.results import mask_box


def blob() -> np.ndarray:
    """A square of 9 x 9 pixels with a long thin tail to its right."""
    mask = np.zeros((40, 60), dtype=np.bool_)
    mask[10:19, 5:14] = True
    mask[14, 14:50] = True
    return mask


def test_a_box_is_the_least_one_around_the_object() -> None:
    marks = known_marks("box", blob())
    assert (marks.box, marks.points) == ((5.0, 10.0, 50.0, 19.0), ())


def test_a_click_is_where_the_object_is_thickest() -> None:
    marks = known_marks("click", blob())
    assert marks.box is None
    (point,) = marks.points
    assert (point.x, point.y, point.label) == (9.5, 14.5, 1)


def test_the_image_s_border_is_an_outline() -> None:
    (point,) = known_marks("click", np.ones((21, 41), dtype=np.bool_)).points
    assert point.y == 10.5
    assert 10 <= point.x <= 31


def test_labels_count_as_the_mask_that_they_are() -> None:
    labels = np.where(blob(), 1, 255).astype(np.uint8)
    assert known_marks("box", labels).box == mask_box(blob())


@pytest.mark.parametrize("kind", ["box", "click"])
def test_nothing_is_marked_of_nothing(kind: str) -> None:
    marks = known_marks(kind, np.zeros((4, 4), dtype=np.bool_))  # type: ignore[arg-type]
    assert (marks.box, marks.points) == (None, ())


def lit_sample() -> Sample:
    lit = half_lit()[..., 0] > 128
    quarter = lit.copy()
    quarter[:20] = False
    questions = (
        SampleQuestion("the light", "category", lit),
        SampleQuestion("the lower light", "position", quarter),
        SampleQuestion("nothing", ABSENT, np.zeros_like(lit)),
    )
    return Sample(half_lit(), questions)


@pytest.mark.parametrize("kind", ["box", "click"])
def test_each_phrase_is_asked_with_its_own_marks(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    comparison = Comparison(suite_of(tmp_path / "weights", light="load_batching"))
    asked: list[tuple[str, SamPrompt]] = []
    segment = BatchingBrightStrategy.segment

    def noted(strategy: BatchingBrightStrategy, view: ImageView, phrase: str) -> Segmentation:
        asked.append((phrase, strategy.refinement))
        return segment(strategy, view, phrase)

    monkeypatch.setattr(BatchingBrightStrategy, "segment", noted)
    sample = lit_sample()
    (answers,) = measure(comparison, [sample], marks=kind)  # type: ignore[arg-type]
    assert [answer.phrase for answer in answers] == [question.phrase for question in sample.questions]
    for (phrase, given), question in zip(asked, sample.questions, strict=True):
        assert phrase == question.phrase
        expected = known_marks(kind, question.reference)  # type: ignore[arg-type]
        assert (given.box, given.points) == (expected.box, expected.points)
    assert asked[0][1].box != asked[1][1].box or asked[0][1].points != asked[1][1].points


def test_a_strategy_that_takes_no_marks_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    comparison = Comparison(suite_of(tmp_path / "weights", light="load_bright"))
    with pytest.raises(ConfigurationError, match="takes no points and no box"):
        measure(comparison, [lit_sample()], marks="box")


def test_files_and_the_screen_say_what_was_marked_and_runs_with_other_marks_are_others(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    comparison = Comparison(suite_of(tmp_path / "weights", light="load_batching"))
    order = Order("scenes:test", None, 3, ("light",), Shard(), tmp_path / "runs.jsonl", "box")
    text, _ = run_evaluation(order, comparison)
    assert "a box beside each phrase" in text.splitlines()[0]
    run = read_results(tmp_path / "runs.jsonl").header.run
    assert run.marks == "box"
    assert run.circumstances == ", a box beside each phrase, float32 on cpu"
    assert run.fingerprint != replace(run, marks="").fingerprint
    with pytest.raises(ConfigurationError):
        run_evaluation(replace(order, marks="click"), comparison)
    run_evaluation(replace(order, out=tmp_path / "figures.json", marks="click"), comparison)
    assert json.loads((tmp_path / "figures.json").read_text())["marks"] == "click"
    run_evaluation(replace(order, out=tmp_path / "plain.json", marks=None), comparison)
    assert "marks" not in json.loads((tmp_path / "plain.json").read_text())
