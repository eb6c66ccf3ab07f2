"""Freed memory is kept: in a process of its own, since what the C library was told holds for a whole process."""

import ctypes
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys
import numpy as np
from workbench.heap import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def work():
    blocks = [np.ones(20 * 2**20, np.uint8) for _ in range(3)]

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(way: str) -> int:
    """Return how many pages the system had to hand out for three blocks of 20 MiB after three others were freed."""
    run = subprocess.run([sys.executable, "-c", COUNT_FAULTS, way], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="glibc alone can be told"
)
def test_freed_memory_is_used_again() -> None:
    assert 4 * faults("kept") < faults("handed back")


def test_a_comparison_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench import comparison
    from workbench.suites.registry import MINI

    told: list[bool] = []
    monkeypatch.setattr(comparison, "keep_freed_memory", lambda: told.append(True))
    comparison.Comparison(MINI)
    assert told == [True]
