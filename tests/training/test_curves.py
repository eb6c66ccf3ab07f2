"""Curves lie on the disk while a run goes on, and a killed run leaves no point twice and none out."""

import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from evfsam.errors import ConfigurationError
from tests.training.test_loop import CPU, LineStage
from training.curves import Curves
from training.loop import Schedule, run

SCHEDULE = Schedule(steps=40, learning_rate=0.1, warmup=2, validate_every=20, seed=5)


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    drawn = EventAccumulator(str(folder)).Reload()
    return [(each.step, each.value) for each in drawn.Scalars(name)]


def test_a_stage_leaves_its_loss_its_rate_and_its_validations(tmp_path: Path) -> None:
    stage = LineStage()
    outcome = run(stage, SCHEDULE, tmp_path / "a.pt", device=CPU, curves=tmp_path / "curves")
    losses = points(tmp_path / "curves", "loss")
    assert [step for step, _ in losses] == [10, 20, 30, 40]
    assert losses[-1][1] < losses[0][1]
    assert points(tmp_path / "curves", "learning rate")[1] == (20, pytest.approx(0.1 * SCHEDULE.factor(19)))
    assert [step for step, _ in points(tmp_path / "curves", "validation/weight")] == [20, 40]
    assert points(tmp_path / "curves", "validation/weight")[-1][1] == pytest.approx(outcome.figures["weight"])


def test_a_point_is_the_mean_of_its_steps(tmp_path: Path) -> None:
    with Curves(tmp_path, 0) as curves:
        for step in range(1, 21):
            curves.add(step, torch.tensor(float(step)), 0.1)
    assert points(tmp_path, "loss") == [(10, 5.5), (20, 15.5)]


def test_a_killed_run_goes_on_with_the_curves_of_an_unbroken_one(tmp_path: Path) -> None:
    run(LineStage(), SCHEDULE, tmp_path / "unbroken.pt", device=CPU, curves=tmp_path / "unbroken")
    killed = {"device": CPU, "curves": tmp_path / "killed"}
    with pytest.raises(KeyboardInterrupt):  # with the state of step 30 on the disk, as every step's
        run(LineStage(killed_at=30), SCHEDULE, tmp_path / "killed.pt", checkpoint_every_s=0, **killed)
    with Curves(tmp_path / "killed", 30) as beyond:  # drawn, but never saved as a state
        beyond.add(40, torch.tensor(99.0), 9.0)
    run(LineStage(), SCHEDULE, tmp_path / "killed.pt", **killed)
    assert points(tmp_path / "killed", "loss") == points(tmp_path / "unbroken", "loss")
    assert points(tmp_path / "killed", "learning rate") == points(tmp_path / "unbroken", "learning rate")


def test_without_tensorboard_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigurationError, match="pip install -r requirements-train"):
        Curves(tmp_path, 0)
    with Curves(None, 0) as nothing:
        nothing.add(10, torch.tensor(1.0), 0.1)
    assert list(tmp_path.iterdir()) == []
