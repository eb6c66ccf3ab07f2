"""The loop over real data: as many processes as `accelerate` started, one curve.

Image g of a run depends on the seed and g alone, and step s sees the images s * batch to (s + 1) * batch however many
processes share them. So a resumed run and a run on more devices follow the curve of an unbroken one on a single device.
Weights stay float32; products are bfloat16 inside the objectives, alike under DDP and DeepSpeed.
"""

import json
import math
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import DistributedType, gather_object
from safetensors import SafetensorError
from tqdm import tqdm

from evfsam.errors import CheckpointError, ConfigurationError, EvfSamError
from training.res_data import Mixture
from training.res_objectives import Objective

PROGRESS = "progress.json"
UNREADABLE = "unreadable.json"
LARGEST_GRADIENT_NORM = 1.0


class TrainingError(EvfSamError):
    """A run cannot go on as it is set up."""


@dataclass(frozen=True)
class ResRecipe:
    """How a run goes.

    Attributes:
        steps: optimiser steps.
        batch: images a step, of all processes and accumulated passes together.
        images_at_once: images of one pass of one process; less needs less memory, and the batch stays.
        learning_rate: at the first step; falls along a line to 0.
        weight_decay: of AdamW.
        seed: of the images drawn.
        save_every: steps between two states.
        workers: threads that read images ahead.
    """

    steps: int = 15_000
    batch: int = 128
    images_at_once: int = 4
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    seed: int = 0
    save_every: int = 500
    workers: int = 4

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "images_at_once", "save_every", "workers"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"expected {name} of at least 1, got {getattr(self, name)}")

    def passes(self, processes: int) -> int:
        """Return the passes of each process that make one step.

        Raises:
            ConfigurationError: the batch cannot be divided evenly.
        """
        count, rest = divmod(self.batch, self.images_at_once * processes)
        if rest or not count:
            raise ConfigurationError(
                f"expected a batch that is a multiple of {self.images_at_once} images at once x {processes} processes, "
                f"got {self.batch}; change --batch or --images-at-once"
            )
        return count


@dataclass(frozen=True)
class ResRun:
    """How a run ended.

    Attributes:
        losses: of the steps taken, those of a resumed run alone.
        first_step: that it took.
        unreadable: samples left out, and why, of all processes and resumed runs.
    """

    losses: tuple[float, ...]
    first_step: int
    unreadable: dict[str, str]


def train(
    objective: Objective, mixture: Mixture, recipe: ResRecipe, out: Path, *, facts: dict[str, Any], cpu: bool
) -> ResRun:
    """Train to the end of the recipe, going on from the last state in `out`.

    Args:
        objective: what learns.
        mixture: what from.
        recipe: how.
        out: gets `state/`, `tensorboard/`, `unreadable.json`, and at the end `model/`.
        facts: what a resumed run must have in common with the run before.
        cpu: whether to leave accelerators alone.

    Raises:
        ConfigurationError: the batch cannot be divided, or `out` holds a run of another recipe.
        CheckpointError: a state cannot be read or written.
        TrainingError: the loss is not finite, or memory does not suffice.
    """
    try:
        return _train(objective, mixture, recipe, out, facts, cpu)
    except RuntimeError as err:
        if _is_out_of_memory(err):
            raise _out_of_memory(recipe) from err
        raise


def _train(
    objective: Objective, mixture: Mixture, recipe: ResRecipe, out: Path, facts: dict[str, Any], cpu: bool
) -> ResRun:
    accelerator = _accelerator(recipe, out, cpu=cpu)
    trained = [parameter for parameter in objective.module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    model, optimizer = accelerator.prepare(objective.module, optimizer)
    first = _resume(accelerator, out, facts)
    mixture.unreadable.update(_noted(out))
    accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": {"purge_step": first}})
    losses: list[float] = []
    for step, batches in _steps(objective, mixture, recipe, accelerator, first):
        loss = _step(accelerator, model, optimizer, batches, recipe.learning_rate * (1 - step / recipe.steps))
        losses.append(_checked(loss, step))
        accelerator.log({"loss": loss, "learning_rate": optimizer.param_groups[0]["lr"]}, step=step)
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps:
            _save(accelerator, out, step + 1, facts, mixture)
    if accelerator.is_main_process:
        objective.save(out / "model")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return ResRun(tuple(losses), first, _noted(out))


def _accelerator(recipe: ResRecipe, out: Path, *, cpu: bool) -> Accelerator:
    """Return what joins the processes that were started."""
    passes = recipe.passes(PartialState(cpu=cpu).num_processes)
    accelerator = Accelerator(
        cpu=cpu,
        log_with="tensorboard",
        project_dir=out,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    accelerator.gradient_accumulation_steps = passes  # set here, as a launcher's settings go before the argument
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        accelerator.state.deepspeed_plugin.deepspeed_config.update(
            train_micro_batch_size_per_gpu=recipe.images_at_once, gradient_accumulation_steps=passes
        )
    return accelerator


def _steps(
    objective: Objective, mixture: Mixture, recipe: ResRecipe, accelerator: Accelerator, first: int
) -> Iterator[tuple[int, list[Future[Any]]]]:
    """Go through the steps that are left, reading the next one's images while this one computes."""
    count = recipe.images_at_once

    def prepare(start: int) -> object:
        drawn = [mixture.draw(recipe.seed, start + i) for i in range(count)]
        return objective.prepare(drawn, np.random.default_rng((recipe.seed, start, 1)))

    def numbers(step: int) -> range:
        start = step * recipe.batch + accelerator.process_index * count
        return range(start, (step + 1) * recipe.batch, count * accelerator.num_processes)

    with ThreadPoolExecutor(recipe.workers) as pool:
        try:
            ahead = [pool.submit(prepare, start) for start in numbers(first)]
            steps = range(first, recipe.steps)
            for step in tqdm(steps, initial=first, total=recipe.steps, disable=not accelerator.is_main_process):
                batches = ahead
                ahead = [pool.submit(prepare, start) for start in numbers(step + 1) if step + 1 < recipe.steps]
                yield step, batches
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _step(
    accelerator: Accelerator, model: Any, optimizer: Any, batches: list[Future[Any]], learning_rate: float
) -> float:
    """Take one optimiser step; returns the loss over all its images."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    total = torch.zeros((), device=accelerator.device)
    for batch in batches:
        with accelerator.accumulate(model):
            loss = model(batch.result())
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT_NORM)
            optimizer.step()
            optimizer.zero_grad()
        total += loss.detach() / len(batches)
    return float(accelerator.reduce(total, "mean"))


def _checked(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise TrainingError(
            f"expected a finite loss, got {loss} at step {step}; lower --learning-rate or try --precision no. "
            "A new start with the same --out goes on from the last state"
        )
    return loss


def _is_out_of_memory(err: RuntimeError) -> bool:
    return isinstance(err, torch.OutOfMemoryError) or "can't allocate memory" in str(err)


def _out_of_memory(recipe: ResRecipe) -> TrainingError:
    return TrainingError(
        f"memory ran out at {recipe.images_at_once} images at once; lower --images-at-once (the batch of "
        f"{recipe.batch} stays, in more passes) or use more devices. A new start goes on from the last state"
    )


def _save(accelerator: Accelerator, out: Path, step: int, facts: dict[str, Any], mixture: Mixture) -> None:
    """Write a state, whole once its progress file is there, and drop the ones before."""
    noted = gather_object([dict(mixture.unreadable)])
    folder = out / "state" / f"step-{step}"
    try:
        accelerator.save_state(str(folder))
        accelerator.wait_for_everyone()
        if not accelerator.is_main_process:
            return
        together = {name: reason for each in noted for name, reason in each.items()}
        (out / UNREADABLE).write_text(json.dumps(together, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        unfinished = folder / "progress.tmp"
        unfinished.write_text(json.dumps({"step": step, "facts": facts}, indent=2), encoding="utf-8")
        unfinished.replace(folder / PROGRESS)
        for other in folder.parent.glob("step-*"):
            if other != folder:
                shutil.rmtree(other)
    except (OSError, RuntimeError, SafetensorError) as err:
        raise CheckpointError(f"expected to write a state into {folder}, could not ({err}); is the disk full?") from err


def _resume(accelerator: Accelerator, out: Path, facts: dict[str, Any]) -> int:
    """Load the last whole state; returns the step to take next."""
    found = [json.loads(path.read_text("utf-8")) for path in (out / "state").glob(f"step-*/{PROGRESS}")]
    if not found:
        return 0
    last = max(found, key=lambda each: int(each["step"]))
    was = last["facts"]
    other = [f"{name} was {was.get(name)!r}, is {value!r}" for name, value in facts.items() if was.get(name) != value]
    if other:
        raise ConfigurationError(
            f"{out} holds a run of another recipe: {'; '.join(other)}; give the same options to go on, or another --out"
        )
    folder = out / "state" / f"step-{last['step']}"
    try:
        accelerator.load_state(str(folder))
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as err:
        raise CheckpointError(
            f"expected the state of a run in {folder}, cannot read it ({err}); delete it to start anew"
        ) from err
    return int(last["step"])


def _noted(out: Path) -> dict[str, str]:
    path = out / UNREADABLE
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
