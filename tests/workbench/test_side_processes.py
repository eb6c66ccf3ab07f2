"""Of two questions at once, one is answered in another process, as it would be here."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from evfsam.errors import Sentence
from tests.workbench.doubles import half_lit, suite_of
from workbench.comparison import StrategyResult
from workbench.datasets.scenes import scene, split_seeds
from workbench.side_processes import SideBySideComparison
from workbench.suites.registry import MINI, Suite

Make = Callable[[Suite], SideBySideComparison]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make comparisons whose processes end with the test."""
    made: list[SideBySideComparison] = []

    def make(suite: Suite) -> SideBySideComparison:
        made.append(SideBySideComparison(suite))
        return made[-1]

    yield make
    for comparison in made:
        comparison.close()


@contextmanager
def somebody_else_asking(comparison: SideBySideComparison) -> Iterator[None]:
    """Have the turn that is answered here, and let the process for the other one read its weights."""
    with comparison.turns.taken():
        list(comparison.run(half_lit(), "light", [comparison.keys[0]]))
        comparison.beside[0].wait_until_started()
        yield


def answered_elsewhere(comparison: SideBySideComparison, *asked: object) -> list[StrategyResult]:
    """Ask while whoever would answer here must not."""
    here = comparison.answer
    comparison.answer = None  # type: ignore[assignment, method-assign]
    try:
        return list(comparison.run(*asked))  # type: ignore[arg-type]
    finally:
        comparison.answer = here  # type: ignore[method-assign]


def test_no_process_is_started_for_questions_that_do_not_meet(make: Make, tmp_path: Path) -> None:
    comparison = make(suite_of(tmp_path, bright="load_bright"))
    for _ in range(3):
        list(comparison.run(half_lit(), "light"))
    assert comparison.beside[0]._starting is None


def test_the_question_that_starts_the_process_does_not_wait_for_it(make: Make, tmp_path: Path) -> None:
    comparison = make(suite_of(tmp_path, bright="load_bright"))
    with comparison.turns.taken():
        (result,) = comparison.run(half_lit(), "light")
        assert not comparison.beside[0]._is_usable
    assert result.segmentation.area_share == 0.5


def test_the_other_process_answers_as_this_one(make: Make) -> None:
    comparison = make(MINI)
    drawn = scene(split_seeds("val")[3])
    asked = drawn.image, f"{drawn.expressions[0].text}; the zebra"
    with somebody_else_asking(comparison):
        theirs = answered_elsewhere(comparison, *asked)
    ours = list(comparison.run(*asked))
    assert [result.key for result in theirs] == list(MINI.strategies)
    for mine, other in zip(ours, theirs, strict=True):
        assert other.card == mine.card
        for one, same in zip(mine.by_phrase, other.by_phrase, strict=True):
            assert (same.verdict, same.pred_iou, same.trace) == (one.verdict, one.pred_iou, one.trace)
            np.testing.assert_array_equal(same.mask, one.mask)
            torch.testing.assert_close(same.mask_logits, one.mask_logits, rtol=0, atol=0)
            if one.attention is not None and same.attention is not None:
                torch.testing.assert_close(same.attention.probabilities, one.attention.probabilities, rtol=0, atol=0)
    # The page finds the words of its own language by the template, which has to come along.
    reasons = [answer.verdict.reason for answer in theirs[2].by_phrase if answer.verdict.reason]
    assert reasons
    assert all(isinstance(reason, Sentence) for reason in reasons)


def test_options_clicks_and_failures_cross_over(make: Make, tmp_path: Path) -> None:
    comparison = make(suite_of(tmp_path, bright="load_batching", night="load_refused"))
    with somebody_else_asking(comparison):
        bright, night = answered_elsewhere(
            comparison, half_lit(), "light; nothing", None, {"bright": {"threshold": 250.0}}
        )
    assert [answer.phrase for answer in bright.answers] == ["light", "nothing"]
    assert bright.segmentation.area_share == 0
    assert night.segmentation.verdict.reason == "expected daylight, got night; wait"


def test_a_process_that_is_lost_is_done_without(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    comparison = make(suite_of(tmp_path, bright="load_bright"))
    with somebody_else_asking(comparison):
        process = comparison.beside[0]._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        process.wait()
        for _ in range(2):
            (result,) = comparison.run(half_lit(), "light")
            assert result.segmentation.area_share == 0.5
        assert comparison.beside[0]._process is process, "it is not started again"
    assert caplog.text.count("is lost") == 1


def test_a_process_that_cannot_start_is_done_without(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = make(suite_of(tmp_path, bright="load_bright"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-such-python"))
    with somebody_else_asking(comparison):
        (result,) = comparison.run(half_lit(), "light")
    assert result.segmentation.area_share == 0.5
    assert "did not start" in caplog.text


def test_the_process_ends_when_nobody_can_ask_it_any_more(make: Make, tmp_path: Path) -> None:
    comparison = make(suite_of(tmp_path, bright="load_bright"))
    with somebody_else_asking(comparison):
        process = comparison.beside[0]._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def test_many_at_once_are_answered_each_its_own_question(make: Make, tmp_path: Path) -> None:
    comparison = make(suite_of(tmp_path, bright="load_bright"))
    with somebody_else_asking(comparison):
        pass

    def ask(width: int) -> tuple[int, int]:
        (result,) = comparison.run(half_lit(20, width), "light")
        return result.segmentation.size

    with ThreadPoolExecutor(4) as visitors:
        sizes = list(visitors.map(ask, range(20, 60)))
    assert sizes == [(20, width) for width in range(20, 60)]
