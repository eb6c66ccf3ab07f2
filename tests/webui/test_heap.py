"""What was freed goes back to the system, though pieces between are still used."""

import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from webui import heap

STATUS = Path("/proc/self/status")


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


def test_trimming_goes_on_until_it_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed, ended = Event(), Event()
    monkeypatch.setattr(heap, "trim_heap", trimmed.set)
    thread = Thread(target=heap.trim_until, args=(ended, 0.001))
    thread.start()
    assert trimmed.wait(60)
    ended.set()
    thread.join(60)
    assert not thread.is_alive()
