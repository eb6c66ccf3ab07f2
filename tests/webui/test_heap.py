"""What was freed goes back to the system, though pieces between are still used."""

import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from webui import process
from webui.api.guard import Hosts

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
    assert process.trim_heap()
    assert before - resident() > 100_000_000
    assert len(kept) == 100


def test_a_c_library_that_cannot_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.ctypes, "CDLL", lambda _: object())
    assert not process.trim_heap()
    assert not process.bound_arenas()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc has arenas")
def test_threads_share_a_few_arenas() -> None:
    assert process.bound_arenas()


def test_a_page_is_served_with_few_arenas_and_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    called, trimmed = [], Event()
    monkeypatch.setattr(process, "bound_arenas", lambda: called.append("bound"))
    monkeypatch.setattr(process, "trim_until", lambda _: trimmed.set())

    class Page:
        def launch(self, **_: object) -> None:
            called.append("launched")
            assert trimmed.wait(60)
            raise KeyboardInterrupt

        def close(self, **_: object) -> None:
            called.append("closed")

    monkeypatch.setattr(process.signal, "signal", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        process.serve_page(Page(), "127.0.0.1", None, Hosts())
    assert called == ["bound", "launched", "closed"]


def test_trimming_goes_on_until_it_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed, ended = Event(), Event()
    monkeypatch.setattr(process, "trim_heap", trimmed.set)
    thread = Thread(target=process.trim_until, args=(ended, 0.001))
    thread.start()
    assert trimmed.wait(60)
    ended.set()
    thread.join(60)
    assert not thread.is_alive()
