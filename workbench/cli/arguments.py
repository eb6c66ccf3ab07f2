"""What the commands share: options of suites, weights and devices, and what the machine and a launcher add to them."""

import argparse
import os
from typing import NoReturn, TypeAlias

import torch

from evfsam.errors import EvfSamError
from workbench.comparison import Comparison
from workbench.placement import DEVICE_NAMES, DTYPE_NAMES, describe_machine, resolve_device, resolve_dtype
from workbench.suites.choice import SUITE_NAMES, choose_suite

EXIT_ALL_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_FAULTS = 3
EXIT_INTERRUPTED = 130


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of leaving.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{message}; see {self.prog} --help")


class UsageError(EvfSamError):
    """The command line cannot be understood."""


Commands: TypeAlias = "argparse._SubParsersAction[OneLineParser]"
"""To which a command adds its parser."""


def add_suite_options(command: argparse.ArgumentParser) -> None:
    """Declare --suite and --strategies."""
    command.add_argument(
        "--suite", default="mini", metavar="NAME", help=f"one of {', '.join(SUITE_NAMES)}; default: mini"
    )
    command.add_argument("--strategies", type=_keys, metavar="A,B", help="keys with commas between; default: all")


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Declare --weights, --device, --dtype and --verbose."""
    command.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a directory, or another id of workbench/suites/models.lock.json, in place of a model, such as "
        "evf-sam=/models/evf-sam; may be repeated",
    )
    command.add_argument("--device", default="auto", metavar="NAME", help=f"one of {', '.join(DEVICE_NAMES)}")
    command.add_argument(
        "--dtype", default="float32", metavar="NAME", help=f"one of {', '.join(DTYPE_NAMES)}; default: float32"
    )
    add_verbose(command)


def add_verbose(command: argparse.ArgumentParser) -> None:
    """Declare --verbose."""
    command.add_argument("--verbose", dest="is_verbose", action="store_true", help="log warnings and tracebacks")


def comparison_of(arguments: argparse.Namespace, device: torch.device | None = None) -> Comparison:
    """Choose the suite and make its comparison, on the device asked for unless one is given."""
    device = device_of(arguments) if device is None else device
    dtype = dtype_of(arguments, device)
    suite = choose_suite(
        arguments.suite,
        describe_machine(device, os.environ),
        weights=arguments.weights,
        strategies=arguments.strategies,
        dtype=dtype,
    )
    return Comparison(suite, device, dtype)


def device_of(arguments: argparse.Namespace, *, is_shared_out: bool = False) -> torch.device:
    """Return the device asked for; of several, where a launcher started several processes, this process's."""
    return resolve_device(arguments.device, os.environ.get("LOCAL_RANK") if is_shared_out else None)


def dtype_of(arguments: argparse.Namespace, device: torch.device) -> torch.dtype:
    """Return the type of the weights."""
    return resolve_dtype(arguments.dtype, device)


def launched_shard() -> str | None:
    """Return the shard I/N of this process, where a launcher started several (RANK and WORLD_SIZE)."""
    rank = os.environ.get("RANK", "")
    return f"{int(rank) + 1}/{os.environ['WORLD_SIZE']}" if rank.isdecimal() and "WORLD_SIZE" in os.environ else None


def _keys(text: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in text.split(",") if key.strip())
