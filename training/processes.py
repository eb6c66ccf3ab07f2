"""Several processes that train one model: each draws batches of its own, and gradients are averaged.

Small models on a CPU gain little by threads: a step of `shared-encoder` took 6.5 s with one and 6.3 with two, while two
processes take two batches in hardly more time. Started by `torchrun --nproc-per-node 2 -m training STAGE ...`.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.distributed
from torch import nn


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
    def joined(cls) -> Self:
        """Join those that `torchrun` started, or be alone."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        return cls(torch.distributed.get_rank(), size)

    def draws(self, steps: Iterable[int]) -> Sequence[int]:
        """Number the batches that this process draws, one a step; no other draws them."""
        return [step * self.size + self.rank for step in steps]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give all processes the mean of their gradients; one without a gradient counts as zero."""
        if self.size == 1:
            return
        trained = list(parameters)
        parts = [(torch.zeros_like(each) if each.grad is None else each.grad).flatten() for each in trained]
        mean = torch.cat(parts)
        torch.distributed.all_reduce(mean)
        for each, part in zip(trained, (mean / self.size).split([each.numel() for each in trained]), strict=True):
            each.grad = part.view_as(each)

    def agreed(self, value: float, device: torch.device) -> float:
        """Return what the first process says, in all of them."""
        if self.size == 1:
            return value
        said = torch.tensor(value, dtype=torch.float64, device=device)
        torch.distributed.broadcast(said, 0)
        return float(said)
