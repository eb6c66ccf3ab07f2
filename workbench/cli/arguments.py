"""What the commands share: options of suites, weights and devices, and what the machine and a launcher add to them."""

import argparse
import os

import torch

from workbench.comparison import Comparison
from workbench.placement import describe_machine, question_budget, resolve_device, resolve_dtype
from workbench.suites.choice import Machine
from workbench.suites.composition import composed_suite
from workbench.suites.registry import Suite
from workbench.suites.strategy_choices import StrategyChoice, read_options


def comparison_of(arguments: argparse.Namespace, device: torch.device | None = None) -> Comparison:
    """Choose the suite and make its comparison, on the device asked for unless one is given."""
    device = device_of(arguments) if device is None else device
    dtype = dtype_of(arguments, device)
    suite = suite_of(arguments, describe_machine(device, os.environ), dtype)
    return Comparison(suite, device, dtype, question_bytes=question_budget())


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


def named_keys(arguments: argparse.Namespace) -> list[str] | None:
    """Return the keys of the strategies asked for, as they were written; None where none are named."""
    choices: tuple[StrategyChoice, ...] | None = arguments.strategies
    return None if choices is None else [choice.name for choice in choices]


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
