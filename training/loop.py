"""The one training loop: seeded by step, resumable after a kill at any moment, with a progress bar.

Several processes may run it together (`training/processes.py`); the first one validates, saves and says how it goes.

Every batch is drawn from a generator seeded with (seed, step), by worker processes where there are any, so a resumed
run sees the batches of an unbroken one. A checkpoint says what run it belongs to, and another run refuses it.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from evfsam.errors import CheckpointError
from evfsam.weights.checkpoint_files import shortened
from training.curves import Curves
from training.processes import Processes
from workbench.export.file_writing import whole_file

CHECKPOINT_EVERY_S = 120.0
ATTENTION_KERNELS = {
    "cpu": [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH],
    "cuda": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
}
"""Which kernels train fastest, in the order in which they are tried."""
_STATE = frozenset(["module", "optimizer", "step", "seconds", "figures", "run"])


def products(device: torch.device) -> torch.autocast:
    """Return the arithmetic of training: bfloat16 on a GPU, float32 on a CPU.

    A CPU without matrix units for bfloat16 loses more by conversions than it gains: a step of EVF-SAM's fine-tuning
    took 2.0 s in float32 and 2.6 s in bfloat16 on one core of a Xeon, and 3.5 s with unfused attention.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@dataclass(frozen=True)
class Schedule:
    """Length and learning rate of a stage.

    Attributes:
        steps: optimiser steps.
        learning_rate: its peak, reached after `warmup` steps and then lowered to a hundredth along a cosine.
        warmup: steps of linear rise.
        weight_decay: of AdamW, on matrices only.
        validate_every: steps between validations.
        seed: of weights and batches.
        slow_parts: factors on the learning rate of parameters whose names hold a word.
    """

    steps: int
    learning_rate: float
    warmup: int = 200
    weight_decay: float = 0.05
    validate_every: int = 500
    seed: int = 0
    slow_parts: Mapping[str, float] = field(default_factory=dict)

    def factor(self, step: int, done: float | None = None) -> float:
        """Share of the peak learning rate at a step, when a share `done` of the run is over; None takes the steps'."""
        rise = min(1.0, (step + 1) / self.warmup)
        share = step / self.steps if done is None else done
        fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        return rise * fall


class Stage(Protocol):
    """What the loop needs to know of a stage: batches, losses, a validation and what to save."""

    @property
    def module(self) -> nn.Module:
        """All weights that a checkpoint holds; those that are trained require gradients. Batches go to its device."""
        ...

    @property
    def draw(self) -> Callable[[np.random.Generator], Any]:
        """Draws a batch of tensors on the CPU, in whatever process; it must not hold the module."""
        ...

    def loss(self, batch: Any) -> torch.Tensor:
        """Return the scalar loss of a batch, which is on the module's device."""
        ...

    def validate(self) -> dict[str, float]:
        """Return figures on pictures and wordings that training does not see."""
        ...


class _Draws(Dataset[Any]):
    """Batches by step."""

    def __init__(self, draw: Callable[[np.random.Generator], Any], seed: int) -> None:
        self.draw, self.seed = draw, seed

    def __getitem__(self, step: int) -> Any:
        return self.draw(np.random.default_rng((self.seed, step)))


@dataclass(frozen=True)
class StageOutcome:
    """How a run ended.

    Attributes:
        steps: taken, those of resumed runs among them.
        seconds: of training, resumed runs added up.
        figures: of the last validation.
    """

    steps: int
    seconds: float
    figures: dict[str, float]


def batches(
    draw: Callable[[np.random.Generator], Any], seed: int, steps: Sequence[int], device: torch.device, workers: int
) -> Iterator[Any]:
    """Draw a batch for each of some steps, by worker processes where there are any, and bring it to a device."""
    loader = DataLoader(
        _Draws(draw, seed),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=device.type == "cuda",
    )
    for batch in loader:
        yield batch.to(device)


def run(
    stage: Stage,
    schedule: Schedule,
    checkpoint: Path,
    *,
    device: torch.device,
    workers: int = 0,
    facts: Mapping[str, object] = MappingProxyType({}),
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    curves: Path | None = None,
    seconds: float | None = None,
) -> StageOutcome:
    """Train a stage to the end of its schedule, going on from `checkpoint` where there is one.

    Args:
        stage: what learns.
        schedule: for how long and how fast.
        checkpoint: state of the run.
        device: where the stage's module is.
        workers: processes that draw batches; 0 draws them here.
        facts: plain values that a run which goes on must share with the one before, beside schedule and processes.
        checkpoint_every_s: seconds between checkpoints.
        curves: folder for TensorBoard's curves, or None.
        seconds: end the run after so many, its learning rate lowered in time; None lets it take its steps. One that
            has taken as many already takes no further step.

    Raises:
        CheckpointError: `checkpoint` is damaged, or of a run with another schedule, seed or other facts.
    """
    processes = Processes.joined(device)
    trained = [p for p in stage.module.parameters() if p.requires_grad]
    groups = _parameter_groups(stage.module, schedule)
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.98), fused=True)
    run_facts = {
        **asdict(schedule),
        "slow_parts": dict(schedule.slow_parts),
        "processes": processes.size,
        **facts,
    }
    first, spent_s, figures = _resume(stage.module, optimizer, checkpoint, run_facts)
    step, limit_s = first, math.inf if seconds is None else seconds
    left = range(first, schedule.steps if spent_s < limit_s else first)
    stage.module.train()
    started, saved = time.monotonic() - spent_s, time.monotonic()
    losses: list[torch.Tensor] = []
    loader = batches(stage.draw, schedule.seed, processes.draws(left), device, workers)
    with (
        Curves(None if processes.rank else curves, step) as drawn,
        tqdm(
            total=schedule.steps,
            initial=step,
            desc=checkpoint.stem,
            mininterval=10,
            smoothing=0.05,
            disable=processes.rank > 0,
        ) as bar,
    ):
        for batch in loader:
            done = processes.agreed(max(step / schedule.steps, (time.monotonic() - started) / limit_s), device)
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * schedule.factor(step, done) * group["scale"]
            with products(device), sdpa_kernel(ATTENTION_KERNELS[device.type]):
                loss = stage.loss(batch)
                loss.backward()
            processes.average_gradients(trained)
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            losses = [*losses[-49:], loss.detach()]
            bar.update()
            drawn.add(step, loss, optimizer.param_groups[0]["lr"])
            is_last = step == schedule.steps or done >= 1
            if processes.rank:
                if is_last:
                    break
                continue
            figures = {}
            if step % schedule.validate_every == 0 or is_last:
                figures = validate(stage, device)
                drawn.add_figures(step, figures)
                said = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
                bar.write(f"{checkpoint.stem} step {step}: loss {float(torch.stack(losses).mean()):.4f}, {said}")
            now = time.monotonic()
            if now - saved > checkpoint_every_s or is_last:
                drawn.flush()
                state = {"step": step, "seconds": now - started, "figures": figures, "run": run_facts}
                _save(stage.module, optimizer, checkpoint, state)
                saved = now
            if is_last:
                break
    if not figures and not processes.rank:
        figures = validate(stage, device)
    return StageOutcome(step, time.monotonic() - started if step > first else spent_s, figures)


def validate(stage: Stage, device: torch.device) -> dict[str, float]:
    """Run a stage's validation in evaluation mode."""
    stage.module.eval()
    with torch.inference_mode(), products(device):
        figures = stage.validate()
    stage.module.train()
    return figures


def _parameter_groups(module: nn.Module, schedule: Schedule) -> list[dict[str, object]]:
    """Sort the trained parameters by whether they decay and by their learning rate's scale."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(1.0, schedule.weight_decay): [], (1.0, 0.0): []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            scale = next((factor for word, factor in schedule.slow_parts.items() if word in name), 1.0)
            decay = schedule.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((scale, decay), []).append(parameter)
    return [{"params": params, "weight_decay": decay, "scale": scale} for (scale, decay), params in groups.items()]


def _save(module: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path, state: Mapping[str, object]) -> None:
    with whole_file(checkpoint) as new:
        torch.save({"module": module.state_dict(), "optimizer": optimizer.state_dict(), **state}, new)


def told_differences(there: Mapping[str, object], now: Mapping[str, object]) -> str:
    """Say in which facts a run differs from one that was begun; nothing where it goes on as it was."""
    changed = sorted(name for name in {*there, *now} if there.get(name) != now.get(name))
    return ", ".join(f"{name} {there.get(name)!r} there, {now.get(name)!r} now" for name in changed)


def _resume(
    module: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path, run_facts: Mapping[str, object]
) -> tuple[int, float, dict[str, float]]:
    """Return steps and seconds taken, and the figures if they were measured after the last of these."""
    if not checkpoint.exists():
        return 0, 0.0, {}
    state = _read_state(checkpoint)
    differences = told_differences(state["run"], run_facts)
    if differences:
        raise CheckpointError(
            "expected a checkpoint of this run in {checkpoint}, got one with {differences}; "
            "choose another --work folder, or delete that file to start anew",
            checkpoint=checkpoint,
            differences=differences,
        )
    try:
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as err:
        raise CheckpointError(
            "expected the weights of this stage in {checkpoint}, got those of another model; "
            "choose another --work folder, or delete that file to start anew",
            checkpoint=checkpoint,
        ) from err
    return state["step"], state["seconds"], state["figures"]


def _read_state(checkpoint: Path) -> dict[str, Any]:
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as err:  # a damaged pickle can fail its reader in any way
        raise CheckpointError(
            "expected the state of a run in {checkpoint}, cannot read it ({reason}); delete that file to start anew",
            checkpoint=checkpoint,
            reason=shortened(" ".join(str(err).split()) or type(err).__name__),
        ) from err
    if not isinstance(state, dict) or not _STATE.issubset(state):
        raise CheckpointError(
            "expected the state of a run in {checkpoint}, got another file; delete it to start anew",
            checkpoint=checkpoint,
        )
    return state
