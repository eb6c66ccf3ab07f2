"""What the C library is told of freed memory: to keep some for what is made next, and to give back the rest."""

import ctypes
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from workbench import heap

STATUS = Path("/proc/self/status")
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


def resident() -> int:
    line = next(each for each in STATUS.read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc holds and gives back memory like this")
def test_memory_between_pieces_in_use_is_given_back() -> None:
    pieces = [bytearray(60_000) for _ in range(4_000)]
    for piece in pieces:
        piece[::4096] = b"x" * len(piece[::4096])
    kept = pieces[::40]
    del pieces, piece
    before = resident()
    assert heap.trim_heap()
    assert before - resident() > 100_000_000
    assert len(kept) == 100


def test_a_c_library_that_cannot_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: object())
    assert not heap.trim_heap()
    assert not heap.bound_arenas()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has arenas")
def test_threads_share_a_few_arenas() -> None:
    assert heap.bound_arenas()


def test_trimming_goes_on_until_it_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed, ended = Event(), Event()
    monkeypatch.setattr(heap, "trim_heap", trimmed.set)
    thread = Thread(target=heap.trim_until, args=(ended, 0.001))
    thread.start()
    assert trimmed.wait(60)
    ended.set()
    thread.join(60)
    assert not thread.is_alive()
