"""Where models run, and in which number type: decided once, by the two entry points, and handed down as a value."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch

from evfsam.errors import ConfigurationError
from workbench.names import DEVICE_NAMES, DTYPE_NAMES
from workbench.suites.choice import Machine
from workbench.suites.memory_plan import LENT_BYTES, Budget, budget_of, lends_gpu
from workbench.suites.registry import MINI, Suite

DTYPES: Final[Mapping[str, torch.dtype]] = MappingProxyType(
    {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
)
_AMPERE: Final = 8
"""Compute capability from which CUDA devices compute in bfloat16 at full speed; a T4 has 7."""
_MEMORY: Final = Path("/proc/meminfo")
_GROUP: Final = Path("/sys/fs/cgroup")
_MOST_RUNS: Final = 8
"""Runs of small models at a time, however many cores there are: each may hold a large photograph."""
_PROCESS_BYTES: Final = 2 * 2**30
"""Free memory for a further process: Python, torch and the mini suite take 1.1 GB, the rest is for what it answers."""


def resolve_device(name: str, local_rank: str | None = None) -> torch.device:
    """Turn a device's name into a device that this machine has.

    Args:
        name: "cpu", "cuda", "mps", or "auto" for CUDA where there is one and the CPU elsewhere.
        local_rank: which process of several on this machine asks, from "0": each gets a CUDA device of its own.

    Raises:
        ConfigurationError: the name is unknown, or this machine lacks the device.
    """
    if name not in DEVICE_NAMES:
        raise ConfigurationError(
            "expected a device out of {choices}, got {name!r}", choices=", ".join(DEVICE_NAMES), name=name
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    is_there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[name]
    if not is_there:
        raise ConfigurationError("this machine has no {name} device that torch can use; choose auto or cpu", name=name)
    if name == "cuda" and local_rank is not None and local_rank.isdecimal():
        return torch.device(name, int(local_rank) % torch.cuda.device_count())
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turn a number type's name into the type that weights and activations have.

    What the reference keeps in float32 whatever the type, stays so: softmax and GELU inside BEiT-3, SAM's prompt
    encoder, upsampling and the mask threshold.

    Args:
        name: "float32", "bfloat16" or "float16".
        device: where the models run.

    Raises:
        ConfigurationError: the name is unknown, or the device cannot compute in the type.
    """
    if name not in DTYPES:
        raise ConfigurationError(
            "expected a number type out of {choices}, got {name!r}", choices=", ".join(DTYPE_NAMES), name=name
        )
    if device.type == "cuda" and name == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise ConfigurationError("this CUDA device does not compute in bfloat16; choose float16 or float32")
    return DTYPES[name]


def runs_at_once(suite: Suite, device: torch.device) -> int:
    """Return how many comparisons run side by side; where it is more than one, each should keep to one thread.

    Small models on a CPU gain nothing by several threads (40 questions in 9.4 s with two threads and with one), and
    beside other work they wait for all of them at every product (a request in 14.8 s with two, 0.5 s with one). Large
    models take all there is, one run after the other. Side by side means in processes: see `workbench.side_processes`.

    Args:
        suite: of the models.
        device: where they run.
    """
    if suite.key != MINI.key or device.type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_RUNS)


def processes_beside(runs: int) -> int:
    """Return in how many processes besides this one questions may be answered; fewer where memory is short.

    Args:
        runs: questions that are answered at a time.
    """
    free = _free_bytes()
    return runs - 1 if free is None else min(runs - 1, free // _PROCESS_BYTES)


def question_budget(runs: int = 1) -> int | None:
    """Return the memory that one question may take beside the weights; None where the system tells nothing.

    Half of what is free goes to questions; the rest is for weights, files and whatever else happens.

    Args:
        runs: questions that are answered at a time.
    """
    free = _free_bytes()
    return None if free is None else free // 2 // runs


def describe_machine(device: torch.device, environment: Mapping[str, str]) -> Machine:
    """Return what the choice of a suite depends on.

    Args:
        device: where models run.
        environment: `SAM_WORKBENCH_RECORD` names the file in which downloads are recorded; `SPACES_ZERO_GPU` says that
            the GPU is lent in part.
    """
    record = environment.get("SAM_WORKBENCH_RECORD")
    return Machine(
        device,
        _budget(device, LENT_BYTES if lends_gpu(environment) else None),
        None if not record else Path(record).expanduser(),
    )


def _budget(device: torch.device, lent_bytes: int | None) -> Budget | None:
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        total = total if lent_bytes is None else min(total, lent_bytes)
        return budget_of(device, total, has_bfloat16=torch.cuda.get_device_capability(device)[0] >= _AMPERE)
    if device.type == "cpu" and hasattr(os, "sysconf"):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return budget_of(device, total, has_bfloat16=_cpu_has_bfloat16())
    return None


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU has matrix units for bfloat16 (AMX).

    The vector instructions alone (AVX-512 BF16) do not pay: SAM's image encoder took 1.6 times the time of float32.
    """
    tells = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(tells is not None and tells())


def _free_bytes() -> int | None:
    """Return what this process may still take: of the machine, and of its control group where that is bounded.

    A group's use counts files that were read, which the kernel lets go of as soon as memory is asked for.
    """
    if not _MEMORY.exists():
        return None
    lines = dict(line.split(":", 1) for line in _MEMORY.read_text(encoding="ascii").splitlines() if ":" in line)
    if "MemAvailable" not in lines:
        return None
    free = int(lines["MemAvailable"].split()[0]) * 1024
    most, used = (_GROUP / name for name in ("memory.max", "memory.current"))
    if most.exists() and used.exists() and (bound := most.read_text(encoding="ascii").strip()).isdecimal():
        free = min(free, int(bound) - int(used.read_text(encoding="ascii")) + _unused_file_bytes())
    return max(free, 0)


def _unused_file_bytes() -> int:
    """Return what the control group holds of files that nobody has used for a while."""
    told = _GROUP / "memory.stat"
    lines = told.read_text(encoding="ascii").splitlines() if told.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
