"""What the command lines of training share."""

import argparse

import torch

from evfsam.errors import ConfigurationError
from training.processes import own_device

_LARGEST = 2**63 - 1


class DefaultsShown(argparse.ArgumentDefaultsHelpFormatter):
    """Puts the default behind the help of every option that has one; None and False say nothing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_silent = action.default is None or action.default is False
        return action.help if is_silent else super()._get_help_string(action)


def positive(text: str) -> int:
    """Read a whole number of at least 1.

    Raises:
        ArgumentTypeError: it is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return int(text)


def natural(text: str) -> int:
    """Read a whole number of at least 0, of at most 64 bits.

    Raises:
        ArgumentTypeError: it is something else.
    """
    if not text.isdecimal() or int(text) > _LARGEST:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text}")
    return int(text)


def device_here(name: str) -> torch.device:
    """Return the device of a name; of several processes each gets its own GPU.

    Raises:
        ConfigurationError: there is none of that name.
    """
    try:
        device = own_device(torch.device(name))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as err:
        raise ConfigurationError("expected a device that is here, such as cpu or cuda, got {name}", name=name) from err
    return device
