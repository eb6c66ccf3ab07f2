"""Processes that train together have the same weights, of batches that no other drew."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.processes import Processes, own_device

_SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np, torch
from torch import nn
from training import loop
from training.processes import Processes

CPU = torch.device("cpu")


class Stage:
    def __init__(self):
        torch.manual_seed(0)
        self.module = nn.Linear(1, 1)
        self.module.register_parameter("seldom", nn.Parameter(torch.ones(1)))
        self.module.register_parameter("never", nn.Parameter(torch.ones(1, 1)))
        self.seen = []

    @staticmethod
    def draw(rng):
        return torch.tensor([[rng.random()]], dtype=torch.float32)

    def loss(self, batch):
        self.seen.append(float(batch))
        loss = (self.module(batch) - 1).square().mean()
        return loss * self.module.seldom.sum() if batch > 0.5 else loss

    def validate(self):
        return {"size": float(Processes.joined(CPU).size)}


folder, stage = Path(sys.argv[1]), Stage()
state = folder / "state.pt"
outcome = loop.run(stage, loop.Schedule(steps=4, learning_rate=0.1, warmup=1), state, device=CPU)
weights = [float(each.sum()) for each in stage.module.parameters()]
told = {"seen": stage.seen, "weights": weights, "never": float(stage.module.never), "figures": outcome.figures}
(folder / f"{Processes.joined(CPU).rank}.json").write_text(json.dumps(told))
"""


def test_two_processes_average_their_gradients_and_one_writes(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(_SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["weights"] == second["weights"]
    assert first["never"] == 1  # without a gradient in any of them, it does not decay
    assert len({*first["seen"], *second["seen"]}) == 8
    assert first["figures"] == {"size": 2.0}
    assert second["figures"] == {}


def test_alone_nothing_is_shared() -> None:
    alone = Processes()
    assert alone.draws(range(3, 6)) == [3, 4, 5]
    assert [Processes(rank, 2).draws(range(2)) for rank in (0, 1)] == [[0, 2], [1, 3]]


def test_each_process_takes_a_gpu_of_its_own_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu, second = (torch.device(name) for name in ("cpu", "cuda", "cuda:1"))
    assert own_device(gpu) == gpu
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [own_device(each) for each in (cpu, gpu, second)] == [cpu, torch.device("cuda:3"), second]
