"""The one training loop: seeded by step, resumable after a kill at any moment, with a progress bar.

Every batch is drawn from a generator seeded with (seed, step), so a resumed run sees the batches of an unbroken one.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

CHECKPOINT_EVERY_S = 120.0
ATTENTION_KERNELS = {"cpu": [SDPBackend.MATH], "cuda": [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]}
"""Which kernels train fastest: on a CPU and short sequences plain products do (0.32 s against 0.40 s a step)."""


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

    def factor(self, step: int) -> float:
        """Share of the peak learning rate at a step."""
        rise = min(1.0, (step + 1) / self.warmup)
        fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return rise * fall


class Stage(Protocol):
    """What the loop needs to know of a stage: losses, a validation and what to save."""

    @property
    def module(self) -> nn.Module:
        """All weights that a checkpoint holds; those that are trained require gradients. Batches go to its device."""
        ...

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """Draw a batch and return its scalar loss."""
        ...

    def validate(self) -> dict[str, float]:
        """Return figures on scenes of the validation split."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        seconds: of training, resumed runs added up.
        figures: of the last validation.
    """

    seconds: float
    figures: dict[str, float]


def run(
    stage: Stage,
    schedule: Schedule,
    checkpoint: Path,
    *,
    device: torch.device,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> Outcome:
    """Train a stage to the end of its schedule, going on from `checkpoint` where there is one."""
    trained = [p for p in stage.module.parameters() if p.requires_grad]
    groups = _parameter_groups(stage.module, schedule)
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.98), fused=True)
    step, spent_s, figures = _resume(stage.module, optimizer, checkpoint)
    stage.module.train()
    started = saved = time.monotonic()
    smooth = None
    with tqdm(total=schedule.steps, initial=step, desc=checkpoint.stem, mininterval=10, smoothing=0.05) as bar:
        while step < schedule.steps:
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * schedule.factor(step) * group["scale"]
            with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(ATTENTION_KERNELS[device.type]):
                loss = stage.loss(np.random.default_rng((schedule.seed, step)))
                loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            value = float(loss.detach())
            smooth = value if smooth is None else 0.98 * smooth + 0.02 * value
            bar.update()
            if step % schedule.validate_every == 0 or step == schedule.steps:
                figures = validate(stage, device)
                bar.write(f"step {step}: loss {smooth:.4f}, " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))
            bar.set_postfix(loss=f"{smooth:.3f}", refresh=False, **{k: f"{v:.3f}" for k, v in figures.items()})
            now = time.monotonic()
            if now - saved > checkpoint_every_s or step == schedule.steps:
                _save(stage.module, optimizer, checkpoint, step, spent_s + now - started, figures)
                saved = now
    return Outcome(spent_s + time.monotonic() - started, figures)


def validate(stage: Stage, device: torch.device) -> dict[str, float]:
    """Run a stage's validation in evaluation mode."""
    stage.module.eval()
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
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


def _save(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    checkpoint: Path,
    step: int,
    seconds: float,
    figures: dict[str, float],
) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoint.with_suffix(".tmp")
    state = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**state, "step": step, "seconds": seconds, "figures": figures}, unfinished)
    unfinished.replace(checkpoint)


def _resume(
    module: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path
) -> tuple[int, float, dict[str, float]]:
    if not checkpoint.exists():
        return 0, 0.0, {}
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"], state["seconds"], state["figures"]
