"""Where models run: decided once, by the two entry points, and handed down as a value."""

import torch

from evfsam.errors import ConfigurationError

DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str, local_rank: str | None = None) -> torch.device:
    """Turn a device's name into a device that this machine has.

    Args:
        name: "cpu", "cuda", "mps", or "auto" for CUDA where there is one and the CPU elsewhere.
        local_rank: which process of several on this machine asks, from "0": each gets a CUDA device of its own.

    Raises:
        ConfigurationError: the name is unknown, or this machine lacks the device.
    """
    if name not in DEVICE_NAMES:
        raise ConfigurationError(f"expected a device out of {', '.join(DEVICE_NAMES)}, got {name!r}")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    is_there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[name]
    if not is_there:
        raise ConfigurationError(f"this machine has no {name} device that torch can use; choose auto or cpu")
    if name == "cuda" and local_rank is not None and local_rank.isdecimal():
        return torch.device(name, int(local_rank) % torch.cuda.device_count())
    return torch.device(name)
