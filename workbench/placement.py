"""Where models run: decided once, by the two entry points, and handed down as a value."""

import torch

from evfsam.errors import ConfigurationError

DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str) -> torch.device:
    """Turn a device's name into a device that this machine has.

    Args:
        name: "cpu", "cuda", "mps", or "auto" for CUDA where there is one and the CPU elsewhere.

    Raises:
        ConfigurationError: the name is unknown, or this machine lacks the device.
    """
    if name not in DEVICE_NAMES:
        raise ConfigurationError(f"expected a device out of {', '.join(DEVICE_NAMES)}, got {name!r}")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    is_there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[name]
    if not is_there:
        raise ConfigurationError(f"this machine has no {name} device that torch can use; choose auto or cpu")
    return torch.device(name)
