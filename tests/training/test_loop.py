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
    run(LineStage(), SCHEDULE, tmp_path / "state.pt", device=CPU, data="these")
    with pytest.raises(CheckpointError, match="data 'these' there, 'those' now"):
        run(LineStage(), SCHEDULE, tmp_path / "state.pt", device=CPU, data="those")


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
