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
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts kibibytes


def resident_bytes() -> int:
    """Memory resident now; where only the peak can be asked, the peak."""
    if not _STATM.exists():
        return peak_bytes()
    return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
