"""What answers cost, and on which machine."""

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch
from torch import nn

_CLEAR: Final = Path("/proc/self/clear_refs")
_STATUS: Final = Path("/proc/self/status")
_DEEPEST: Final = 4
"""How far below a strategy its models are looked for."""


def machine_name(device: torch.device) -> str:
    """Name the GPU, or the processor and how many cores it has, for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    described = Path("/proc/cpuinfo")
    lines = described.read_text(errors="replace").splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = next(iter(names), "") or platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


class PeakMemory:
    """The most memory in use since a moment: of the GPU's by torch, elsewhere of this whole process.

    On a CPU the weights of every strategy in the process count, since they share its memory.

    Args:
        device: where the models run.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def start(self) -> None:
        """Forget what was before."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self._device.type == "cpu":
            with suppress(OSError):
                _CLEAR.write_text("5")  # has Linux forget VmHWM, the peak of resident memory

    def bytes(self) -> int | None:
        """Return the peak since `start`; None where the system does not tell."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if self._device.type != "cpu" or not os.access(_CLEAR, os.W_OK):
            return None
        lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def parameter_count(strategy: object) -> int | None:
    """Return how many numbers the weights of a strategy's models have, those it shares counted once; None of none."""
    found: dict[int, int] = {}
    seen: set[int] = set()
    waiting = [(strategy, 0)]
    while waiting:
        thing, depth = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            found |= {id(parameter): parameter.numel() for parameter in thing.parameters()}
        elif depth < _DEEPEST:
            waiting += [(part, depth + 1) for part in getattr(thing, "__dict__", {}).values()]
    return sum(found.values()) if found else None
