"""The bar counts what there is to do: expressions up to a limit, or the images of a data set."""

from pathlib import Path

import pytest

from tests.workbench.datasets import layouts
from tests.workbench.doubles import suite_of
from workbench.cli import evaluate as evaluate_command
from workbench.cli.evaluate import Order, run_evaluation
from workbench.comparison import Comparison
from workbench.evaluation.evaluation import Shard


class Bar:
    """Stands for tqdm and remembers what it was told."""

    made: "list[Bar]" = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, total: int, unit: str, **_: object) -> None:
        self.total, self.unit, self.n, self.initial, self.start_t = total, unit, 0, 0, 0.0
        Bar.made.append(self)

    def update(self, more: int) -> None:
        self.n += more

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    monkeypatch.setattr(evaluate_command, "tqdm", Bar)
    monkeypatch.setattr(Bar, "made", [])
    (tmp_path / "weights").mkdir()
    return Comparison(suite_of(tmp_path / "weights", light="load_bright"))


def order(dataset: str, limit: int | None, out: Path | None = None, shard: Shard | None = None) -> Order:
    return Order(dataset, None, limit, ("light",), shard or Shard(), out)


def test_with_a_limit_expressions_are_counted(comparison: Comparison) -> None:
    run_evaluation(order("scenes:test", 9), comparison)
    (bar,) = Bar.made
    assert (bar.total, bar.unit, bar.n, bar.is_closed) == (9, "expression", 9, True)


def test_without_a_limit_images_are_counted(comparison: Comparison, tmp_path: Path) -> None:
    folder = layouts.folder(tmp_path / "mine")
    run_evaluation(order(f"folder:{folder}", None), comparison)
    (bar,) = Bar.made
    assert (bar.total, bar.unit, bar.n) == (2, "image", 2)


def test_answers_of_an_earlier_run_are_no_speed(comparison: Comparison, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    run_evaluation(order("scenes:test", 9, out), comparison)
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:-3]))
    run_evaluation(order("scenes:test", 9, out), comparison)
    first, second = Bar.made
    assert (first.initial, first.n) == (0, 9)
    assert 0 < second.initial < second.n == 9
