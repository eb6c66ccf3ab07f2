"""What the C library is told of freed memory: to keep some for what is made next, and to give back the rest.

A model's activations are megabytes that live for milliseconds. The C library hands them back to the system, which fills
every page of the next ones with zeros: a quarter of the processor time of an EVF-SAM mini answer went into that.
"""

import ctypes
from threading import Event
from typing import Final

EVERY_SECONDS: Final = 30.0
ARENAS: Final = 2
_MIB: Final = 2**20
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # as in glibc's malloc.h
_LIMITS: Final = {_MMAP_THRESHOLD: 32 * _MIB, _TRIM_THRESHOLD: 64 * _MIB}
"""What glibc itself rises to once a program has freed a block of 32 MiB; in the end it keeps no more than it may."""


def keep_freed_memory() -> None:
    """Let this process keep up to 64 MiB of freed memory a heap; only glibc can be told, elsewhere nothing happens."""
    for option, limit in _LIMITS.items():
        _asked("mallopt", option, limit)


def bound_arenas(most: int = ARENAS) -> bool:
    """Have threads share a few arenas, of which each holds what is free for itself; False where there are none.

    Args:
        most: arenas; those that are there already stay.
    """
    return _asked("mallopt", _ARENA_MAX, most)


def trim_heap() -> bool:
    """Give back what is free; returns whether there was something, and False where the C library cannot.

    glibc keeps what is freed between pieces that are still used. Questions of many sizes leave more and more of that:
    it is counted as the server's, though it is no leak.
    """
    return _asked("malloc_trim", 0)


def trim_until(ended: Event, seconds: float = EVERY_SECONDS) -> None:
    """Trim the heap every so many seconds; to be done in a thread of its own.

    Args:
        ended: set when it is to end.
        seconds: between two times.
    """
    while not ended.wait(seconds):
        trim_heap()


def _asked(function: str, *arguments: int) -> bool:
    """Call a function of the C library; False where it says so, or is another library than glibc."""
    try:
        return bool(getattr(ctypes.CDLL(None), function)(*arguments))
    except (AttributeError, OSError, TypeError):
        return False
