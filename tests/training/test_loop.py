from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from evfsam.errors import CheckpointError
from training.loop import Schedule, run

CPU = torch.device("cpu")
SCHEDULE = Schedule(steps=6, learning_rate=0.1, warmup=2, validate_every=3, seed=5)


class LineStage:
    """Fits a line to points; may be killed while it draws the batch of a step."""

    def __init__(self, killed_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.module = nn.Linear(3, 1)
        self.calls = 0
        self.killed_at = killed_at

    @staticmethod
    def draw(rng: np.random.Generator) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=(8, 3))).float()

    def loss(self, points: torch.Tensor) -> torch.Tensor:
        if self.calls == self.killed_at:
            raise KeyboardInterrupt
        self.calls += 1
        return (self.module(points).float() - points.sum(1, keepdim=True)).square().mean()

    def validate(self) -> dict[str, float]:
        return {"weight": self.module.weight.sum().item()}


def test_a_killed_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    unbroken = LineStage()
    run(unbroken, SCHEDULE, tmp_path / "unbroken.pt", device=CPU)
    with pytest.raises(KeyboardInterrupt):
        run(LineStage(killed_at=4), SCHEDULE, tmp_path / "killed.pt", device=CPU, checkpoint_every_s=0)
    resumed = LineStage()
    run(resumed, SCHEDULE, tmp_path / "killed.pt", device=CPU)
    assert resumed.calls == 2
    assert torch.equal(resumed.module.weight, unbroken.module.weight)


def test_batches_do_not_depend_on_who_draws_them(tmp_path: Path) -> None:
    here, elsewhere = LineStage(), LineStage()
    run(here, SCHEDULE, tmp_path / "here.pt", device=CPU)
    run(elsewhere, SCHEDULE, tmp_path / "elsewhere.pt", device=CPU, workers=2)
    assert torch.equal(here.module.weight, elsewhere.module.weight)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"seed": 6}, "seed 5 there, 6 now"), ({"steps": 9}, "steps"), ({"learning_rate": 0.2}, "learning_rate")],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, change: dict[str, float], named: str) -> None:
    run(LineStage(), SCHEDULE, tmp_path / "state.pt", device=CPU)
    with pytest.raises(CheckpointError, match=named):
        run(LineStage(), replace(SCHEDULE, **change), tmp_path / "state.pt", device=CPU)


def test_a_checkpoint_of_other_pictures_is_refused(tmp_path: Path) -> None:
    run(LineStage(), SCHEDULE, tmp_path / "state.pt", device=CPU, facts={"data": "these"})
    with pytest.raises(CheckpointError, match="data 'these' there, 'those' now"):
        run(LineStage(), SCHEDULE, tmp_path / "state.pt", device=CPU, facts={"data": "those"})


def test_a_stage_that_took_its_seconds_takes_no_further_step(tmp_path: Path) -> None:
    ended = run(LineStage(), SCHEDULE, tmp_path / "state.pt", device=CPU, seconds=1e-9)
    again = LineStage()
    outcome = run(again, SCHEDULE, tmp_path / "state.pt", device=CPU, seconds=1e-9)
    assert (outcome.steps, outcome.figures, again.calls) == (1, ended.figures, 0)
    assert run(again, SCHEDULE, tmp_path / "state.pt", device=CPU).steps == SCHEDULE.steps


def test_figures_are_those_of_the_last_step(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(LineStage(killed_at=4), SCHEDULE, tmp_path / "state.pt", device=CPU, checkpoint_every_s=0)
    stage = LineStage()
    outcome = run(stage, SCHEDULE, tmp_path / "state.pt", device=CPU, seconds=1e-9)
    assert (outcome.steps, stage.calls) == (4, 0)  # one beyond the validation after three
    assert outcome.figures == stage.validate()


@pytest.mark.parametrize(
    ("content", "said"), [(b"no archive", "cannot read it"), ({"module": {}}, "another file"), (None, "another model")]
)
def test_a_file_that_is_no_state_of_this_stage_is_told_in_words(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "state.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is None:
        run(LineStage(), SCHEDULE, path, device=CPU)
        torch.save(torch.load(path) | {"module": {"another": torch.zeros(1)}}, path)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=said):
        run(LineStage(), SCHEDULE, path, device=CPU)


def test_training_lowers_the_loss_and_reports_the_last_validation(tmp_path: Path) -> None:
    stage = LineStage()
    points = stage.draw(np.random.default_rng(9))
    before = stage.loss(points).item()
    outcome = run(stage, Schedule(steps=60, learning_rate=0.1, warmup=2), tmp_path / "state.pt", device=CPU)
    assert stage.loss(points).item() < 0.5 * before
    assert outcome.figures == stage.validate()


def test_the_learning_rate_rises_then_falls_to_a_hundredth() -> None:
    schedule = Schedule(steps=100, learning_rate=1.0, warmup=10)
    factors = [schedule.factor(step) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors.index(max(factors)) in range(8, 12)
    assert factors[100] == pytest.approx(0.01)
