"""Memory that was freed, kept for what is made next.

A model's activations are megabytes that live for milliseconds. The C library hands them back to the system, which fills
every page of the next ones with zeros: a quarter of the processor time of an EVF-SAM mini answer went into that.
"""

import ctypes
import sys
from typing import Final

_MIB: Final = 2**20
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as in malloc.h
_LIMITS: Final = {_MMAP_THRESHOLD: 32 * _MIB, _TRIM_THRESHOLD: 64 * _MIB}
"""What glibc itself rises to once a program has freed a block of 32 MiB; in the end it keeps no more than it may."""


def keep_freed_memory() -> None:
    """Let this process keep up to 64 MiB of freed memory a heap; only glibc can be told, elsewhere nothing happens."""
    if sys.platform != "linux":
        return
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    if tell is not None:
        for option, limit in _LIMITS.items():
            tell(option, limit)
