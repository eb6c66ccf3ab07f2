"""Memory of this process, in bytes, as the operating system counts it."""

import os
import resource
import sys
from pathlib import Path
from typing import Final

GIB: Final = 2**30
_STATM: Final = Path("/proc/self/statm")


def peak_bytes() -> int:
    """Most memory that this process ever held resident."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        return peak
    return max(peak * 1024, _resident())  # Linux counts kibibytes, and brings the peak up to date late


def resident_bytes() -> int:
    """Memory resident now; where only the peak can be asked, the peak."""
    return _resident() or peak_bytes()


def _resident() -> int:
    if not _STATM.exists():
        return 0
    return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
