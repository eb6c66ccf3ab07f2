"""Several processes that train one model: each draws batches of its own, and gradients are averaged.

Small models on a CPU gain little by threads: a step of `shared-encoder` took 6.5 s with one and 6.3 with two, while two
processes take two batches in hardly more time. Started by `torchrun --nproc-per-node 2 -m -- training STAGE ...`.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.distributed
from torch import nn

from evfsam.errors import ConfigurationError


def started_together() -> int:
    """How many processes `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes."""
    return os.environ.get("RANK", "0") == "0"


def own_device(device: torch.device) -> torch.device:
    """Return the device of this process: of several GPUs each process takes its own, where no number was named."""
    if device.type != "cuda" or device.index is not None or started_together() == 1:
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def check_alone(what: str) -> None:
    """Refuse to be one of several processes.

    Args:
        what: was asked for, as on the command line.

    Raises:
        ConfigurationError: `torchrun` started more than one.
    """
    if started_together() > 1:
        raise ConfigurationError(
            "expected one process of `training {what}`, got {size} of torchrun: only single stages share their "
            "gradients; run it without torchrun",
            what=what,
            size=started_together(),
        )


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: 0 for the one that validates and writes.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def joined(cls, device: torch.device) -> Self:
        """Join those that `torchrun` started, or be alone.

        Args:
            device: where this process trains; see `own_device`.
        """
        size = started_together()
        if size == 1:
            return cls()
        if not torch.distributed.is_initialized():
            if device.type == "cuda":
                torch.distributed.init_process_group("nccl", device_id=device)
            else:
                torch.distributed.init_process_group("gloo")
        return cls(torch.distributed.get_rank(), size)

    def draws(self, steps: Iterable[int]) -> Sequence[int]:
        """Number the batches that this process draws, one a step; no other draws them."""
        return [step * self.size + self.rank for step in steps]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give all processes the mean of their gradients; one without a gradient counts as zero.

        A parameter that no process has a gradient for gets none, so that it does not decay either, as with one process.
        """
        if self.size == 1:
            return
        trained = list(parameters)
        parts = [(torch.zeros_like(each) if each.grad is None else each.grad).flatten() for each in trained]
        held = parts[0].new_tensor([each.grad is not None for each in trained])
        total = torch.cat([*parts, held])
        torch.distributed.all_reduce(total)
        *sums, holders = total.split([*(each.numel() for each in trained), len(trained)])
        for each, part, count in zip(trained, sums, holders.tolist(), strict=True):
            each.grad = (part / self.size).view_as(each) if count else None

    def agreed(self, value: float, device: torch.device) -> float:
        """Return what the first process says, in all of them."""
        if self.size == 1:
            return value
        said = torch.tensor(value, dtype=torch.float64, device=device)
        torch.distributed.broadcast(said, 0)
        return float(said)
