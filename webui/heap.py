"""Memory that the C library holds though nobody uses it any more, given back to the system.

glibc keeps what is freed between pieces that are still used, in an arena for every few threads. Questions of many sizes
leave more and more of that: it is counted as the server's, though it is no leak.
"""

import ctypes
from threading import Event
from typing import Final

EVERY_SECONDS: Final = 30.0
ARENAS: Final = 2
_M_ARENA_MAX: Final = -8
"""Of glibc's malloc.h."""


def bound_arenas(most: int = ARENAS) -> bool:
    """Have threads share a few arenas, of which each holds what is free for itself; False where there are none.

    Args:
        most: arenas; those that are there already stay.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, most))
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return False


def trim_heap() -> bool:
    """Give back what is free; returns whether there was something, and False where the C library cannot."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError):  # another C library than glibc
        return False


def trim_until(ended: Event, seconds: float = EVERY_SECONDS) -> None:
    """Trim the heap every so many seconds; to be done in a thread of its own.

    Args:
        ended: set when it is to end.
        seconds: between two times.
    """
    while not ended.wait(seconds):
        trim_heap()
