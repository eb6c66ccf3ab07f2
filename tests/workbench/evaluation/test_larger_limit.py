"""A file of results takes a larger limit: nothing is asked twice, and it ends as a run with that limit would have."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.workbench.doubles import half_lit, suite_of
from workbench.comparison import Comparison
from workbench.datasets.contract import ABSENT, Sample, SampleQuestion
from workbench.evaluation import result_lines
from workbench.evaluation.evaluation import Shard, limited, measure
from workbench.evaluation.larger_limit import raise_limit
from workbench.evaluation.measured_answers import Answer
from workbench.evaluation.result_lines import ResultsError, ResultsFile, read_results
from workbench.evaluation.run_identity import Header, RunIdentity, questions_digest


def asked(name: str) -> Sample:
    """An image with three things in it, and one that is not."""
    lit = half_lit()[..., 0] > 100
    present = tuple(SampleQuestion(f"the {number} light", "category", lit) for number in ("first", "second", "third"))
    return Sample(half_lit(), (*present, SampleQuestion("the dog", ABSENT, np.zeros_like(lit))), name)


SAMPLES = [asked(name) for name in ("one", "two", "three")]


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    (tmp_path / "weights").mkdir()
    return Comparison(suite_of(tmp_path / "weights", light="load_bright"))


def header(limit: int | None, samples: list[Sample], shard: Shard | None = None) -> Header:
    run = RunIdentity(
        "doubles", "three images", limit, {"light": "a1"}, "cpu", samples=questions_digest(limited(samples, limit))
    )
    return Header(run, shard or Shard())


def carried_out(
    comparison: Comparison, path: Path, limit: int | None, samples: list[Sample] = SAMPLES, shard: Shard | None = None
) -> int:
    """Go on with a file up to a limit, and return how many answers had to be asked for."""
    now, count = header(limit, samples, shard), 0
    raise_limit(path, now, partial(limited, samples))
    with ResultsFile(path, now) as file:
        for answers in measure(comparison, limited(samples, limit), shard=shard, done=file.done):
            count += len(answers)
            file.append(answers)
        file.finish()
    return count


def timeless(path: Path) -> set[Answer]:
    return {replace(each, seconds=0.0, encode_seconds=None, peak_bytes=None) for each in read_results(path).answers}


@pytest.mark.parametrize(("first", "then", "more"), [(4, 8, 7), (4, None, 8), (3, 6, 4), (1, 2, 3)])
def test_a_raised_limit_asks_the_rest_and_ends_as_a_run_with_that_limit(
    comparison: Comparison, tmp_path: Path, first: int, then: int | None, more: int
) -> None:
    path, fresh = tmp_path / "a.jsonl", tmp_path / "fresh.jsonl"
    carried_out(comparison, path, first)
    before = set(read_results(path).answers)
    assert carried_out(comparison, path, then) == more
    carried_out(comparison, fresh, then)
    assert timeless(path) == timeless(fresh)
    assert (read_results(path).header, read_results(path).is_complete) == (header(then, SAMPLES), True)
    whole = {each for each in before if each.place.sample_index < (first - 1) // 3 or first % 3 == 0}
    assert whole <= set(read_results(path).answers), "what was answered stays, with its seconds"


def test_every_shard_takes_the_limit_by_itself(comparison: Comparison, tmp_path: Path) -> None:
    for number in (1, 2):
        path, fresh = tmp_path / f"{number}.jsonl", tmp_path / f"fresh-{number}.jsonl"
        for limit in (4, 9):
            carried_out(comparison, path, limit, shard=Shard(number, 2))
        carried_out(comparison, fresh, 9, shard=Shard(number, 2))
        assert timeless(path) == timeless(fresh)


def test_other_phrases_are_refused_and_the_file_stays_as_it_was(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    carried_out(comparison, path, 4)
    content = path.read_bytes()
    others = [asked("other"), *SAMPLES[1:]]
    with pytest.raises(ResultsError, match="images or phrases were others"):
        carried_out(comparison, path, 8, others)
    assert path.read_bytes() == content


def test_a_smaller_limit_is_another_run(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    carried_out(comparison, path, 4)
    with pytest.raises(ResultsError, match="limit was 4 and is 3"):
        carried_out(comparison, path, 3)


def test_where_there_are_no_locks_a_file_is_closed_before_it_is_replaced(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    carried_out(comparison, path, 4)
    opened: list[bool] = []
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(result_lines, "write_whole", lambda *_: opened.append(is_open(path)))
    raise_limit(path, header(8, SAMPLES), partial(limited, SAMPLES))
    assert opened == [False]


def is_open(path: Path) -> bool:
    return any(each.resolve() == path for each in Path("/proc/self/fd").iterdir())
