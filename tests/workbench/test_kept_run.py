"""The answers that the page opens with: those of the weights in the repository, and read back as they were given."""

import shutil
from pathlib import Path

import numpy as np

from evfsam.errors import Sentence
from tests.webui.fakes import fake_comparison
from webui.known_scenes import measured_iou, read_examples
from workbench.bundled import EXAMPLES
from workbench.comparison import Comparison
from workbench.failures.gallery import REFRESH_COMMAND
from workbench.kept_run import ARRIVAL_EXAMPLE, ARRIVAL_NAME, ARRIVAL_PHRASE, keep_run, read_kept_run
from workbench.suites.registry import MINI

OUT_OF_DATE = f"the page's first answers were made with other weights; run `{REFRESH_COMMAND}`"


def test_the_kept_answers_are_the_mini_suites_and_all_right() -> None:
    kept = read_kept_run(Comparison(MINI), EXAMPLES)
    assert kept is not None, OUT_OF_DATE
    assert [result.key for result in kept.results] == list(MINI.strategies)
    example = next(each for each in read_examples() if each.file.name == kept.example)
    view = Comparison(MINI).view(example.image())
    known = example.known_scene(view.image)
    assert known is not None
    truth = known.mask_of(view, kept.phrase)
    ious = {result.key: measured_iou(result.segmentation.mask, truth) or 0.0 for result in kept.results}
    assert min(ious.values()) > 0.8, ious
    steps = [entry.step for result in kept.results for entry in result.segmentation.trace]
    assert any(isinstance(step, Sentence) and step.values == {"token": "[CLS]"} for step in steps)


def test_what_is_kept_is_read_back_as_it_was_answered_and_by_no_other_suite(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / ARRIVAL_EXAMPLE, tmp_path)
    comparison = fake_comparison()[0]
    assert keep_run(comparison, tmp_path) == tmp_path / ARRIVAL_NAME
    kept = read_kept_run(comparison, tmp_path)
    assert kept is not None
    asked = comparison.run(comparison.view(read_examples()[0].image()), ARRIVAL_PHRASE)
    for result, before in zip(kept.results, asked, strict=True):
        assert result.card == before.card
        assert np.array_equal(result.segmentation.mask, before.segmentation.mask)
        assert result.segmentation.trace == before.segmentation.trace
        assert (result.segmentation.attention is None) == (before.segmentation.attention is None)
    assert read_kept_run(Comparison(MINI), tmp_path) is None
    assert read_kept_run(comparison, tmp_path / "nowhere") is None
