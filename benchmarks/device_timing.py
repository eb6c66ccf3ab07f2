"""Time and memory of work on any device, and what the device can do at most."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from benchmarks.memory import peak_bytes

WARM_UPS: Final = 3


@dataclass(frozen=True)
class Timing:
    """Some work, repeated.

    Attributes:
        milliseconds: mean of the timed runs.
        runs: how many were timed.
        peak_bytes: most allocated on the device meanwhile; on a CPU, most the process ever held resident.
    """

    milliseconds: float
    runs: int
    peak_bytes: int


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], object], device: torch.device, *, seconds: float = 1.0, most_runs: int = 200) -> Timing:
    """Repeat some work for about `seconds` after warming up.

    Args:
        work: leaves nothing behind.
        device: where it runs.
        seconds: how long to repeat it; it is timed once at least.
        most_runs: do not repeat it more often.
    """
    started = time.perf_counter()
    for _ in range(WARM_UPS):
        work()
        synchronize(device)
        if time.perf_counter() - started > seconds:
            break
    started = time.perf_counter()
    work()
    synchronize(device)
    runs = max(1, min(most_runs, int(seconds / max(time.perf_counter() - started, 1e-6))))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    for _ in range(runs):
        work()
    synchronize(device)
    milliseconds = (time.perf_counter() - started) * 1000 / runs
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes()
    return Timing(milliseconds, runs, peak)


def product_teraflops(device: torch.device, side: int, dtype: torch.dtype = torch.bfloat16) -> float:
    """Teraflops of one product of two (side, side) matrices: the ceiling that models are held against."""
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / timed(lambda: left @ right, device, seconds=0.5).milliseconds / 1e9


def copy_bandwidth(device: torch.device, byte_count: int) -> float:
    """Gigabytes (10**9) a second of a copy on the device, what is read and what is written counted both."""
    source = torch.randint(0, 255, (byte_count,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * byte_count / timed(lambda: target.copy_(source), device, seconds=0.5).milliseconds / 1e6
