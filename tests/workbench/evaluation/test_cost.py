"""Parameters are counted once, and the peak is of what was in use since the start."""

import sys
from dataclasses import dataclass
from mmap import mmap

import pytest
import torch
from torch import nn

from tests.workbench.doubles import BrightStrategy
from workbench.evaluation.cost import PeakMemory, machine_name, parameter_count


@dataclass(frozen=True)
class TwoModels:
    first: nn.Module
    holder: object
    again: nn.Module


@dataclass(frozen=True)
class Holder:
    second: nn.Module


def test_parameters_of_all_models_are_counted_and_shared_ones_once() -> None:
    first, second = nn.Linear(3, 4), nn.Linear(5, 1, bias=False)
    assert parameter_count(TwoModels(first, Holder(second), first)) == 3 * 4 + 4 + 5
    assert parameter_count(BrightStrategy("light")) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of resident memory can be cleared on Linux")
def test_the_peak_is_of_what_was_used_since_the_start() -> None:
    memory = PeakMemory(torch.device("cpu"))
    memory.start()
    before = memory.bytes()
    with mmap(-1, 2**28) as room:  # pages of its own: freed memory that the process keeps is in use already
        room.write(bytes(2**28))
        during = memory.bytes()
    assert during - before > 200 * 2**20
    memory.start()
    assert memory.bytes() < during - 100 * 2**20


def test_the_machine_is_named_with_its_cores() -> None:
    assert machine_name(torch.device("cpu")).endswith(" cores")
