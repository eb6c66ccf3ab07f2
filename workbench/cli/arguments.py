"""What the commands share: options of suites, weights and devices, and what the machine and a launcher add to them."""

import argparse
import os
from typing import NoReturn, TypeAlias

import torch

from evfsam.errors import EvfSamError
from workbench.comparison import Comparison
from workbench.placement import DEVICE_NAMES, DTYPE_NAMES, describe_machine, resolve_device, resolve_dtype
from workbench.suites.choice import SUITE_NAMES, Machine
from workbench.suites.composition import (
    CHOICE_FORM,
    OPTION_FORM,
    OPTION_HELP,
    StrategyChoice,
    composed_suite,
    read_choices,
    read_options,
)
from workbench.suites.registry import Suite

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
    """Declare --suite, --strategies (or --strategy) and --option."""
    command.add_argument(
        "--suite", default="mini", metavar="NAME", help=f"one of {', '.join(SUITE_NAMES)}; default: mini"
    )
    add_choice_options(command)


def add_choice_options(command: argparse.ArgumentParser) -> None:
    """Declare --strategies (or --strategy) and --option."""
    command.add_argument(
        "--strategies",
        "--strategy",
        type=_choices,
        metavar="A,B",
        help=f"{CHOICE_FORM} with commas between, such as mini:evf-sam,full:evf-sam or a=evf-sam@DIR1,b=evf-sam@DIR2; "
        "default: all of the suite",
    )
    add_option_option(command)


def add_option_option(command: argparse.ArgumentParser) -> None:
    """Declare --option."""
    command.add_argument(
        "--option",
        dest="options",
        action="append",
        default=[],
        metavar=OPTION_FORM,
        help=OPTION_HELP,
    )


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Declare --weights, --device, --dtype and --verbose."""
    add_weights_option(command)
    command.add_argument("--device", default="auto", metavar="NAME", help=f"one of {', '.join(DEVICE_NAMES)}")
    command.add_argument(
        "--dtype", default="float32", metavar="NAME", help=f"one of {', '.join(DTYPE_NAMES)}; default: float32"
    )
    add_verbose(command)


def add_weights_option(command: argparse.ArgumentParser) -> None:
    """Declare --weights."""
    command.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a directory, or another id of workbench/suites/models.lock.json, in place of a model, such as "
        "evf-sam=/models/evf-sam; may be repeated",
    )


def add_page_options(command: argparse.ArgumentParser) -> None:
    """Declare --weights, --strategies and --option, as the page takes them."""
    add_weights_option(command)
    add_choice_options(command)


def add_verbose(command: argparse.ArgumentParser) -> None:
    """Declare --verbose."""
    command.add_argument("--verbose", dest="is_verbose", action="store_true", help="log warnings and tracebacks")


def comparison_of(arguments: argparse.Namespace, device: torch.device | None = None) -> Comparison:
    """Choose the suite and make its comparison, on the device asked for unless one is given."""
    device = device_of(arguments) if device is None else device
    dtype = dtype_of(arguments, device)
    return Comparison(suite_of(arguments, describe_machine(device, os.environ), dtype), device, dtype)


def suite_of(
    arguments: argparse.Namespace, machine: Machine, dtype: torch.dtype | None, *, is_rest_kept: bool = True
) -> Suite:
    """Put the suite together that is asked for; see `composed_suite`."""
    return composed_suite(
        arguments.strategies,
        arguments.suite,
        machine,
        weights=arguments.weights,
        options=read_options(arguments.options),
        dtype=dtype,
        is_rest_kept=is_rest_kept,
    )


def chosen_keys(arguments: argparse.Namespace, comparison: Comparison) -> tuple[str, ...]:
    """Return the keys of the strategies asked for, all where none are named.

    Raises:
        ConfigurationError: the suite does not have one.
    """
    choices: tuple[StrategyChoice, ...] | None = arguments.strategies
    return comparison.choose(None if choices is None else [choice.name for choice in choices])


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


def _choices(text: str) -> tuple[StrategyChoice, ...]:
    return read_choices(text) or ()
