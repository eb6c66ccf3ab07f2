"""Label Studio's run-length code of brush masks: a bit stream over RGBA values, as the tool's own canvas has them.

The stream: 32 bits number of values; 5 bits word size less one; four times 4 bits, the sizes of the lengths, less one.
Then runs: 1 bit, whether one value is repeated; 2 bits, which of the four sizes; the length less one in that size; and
the value (repeated) or as many values as the length says.
"""

from itertools import pairwise
from typing import Final

import numpy as np

from workbench.metrics.masks import Mask

_WORD_SIZE: Final = 8
_LENGTH_SIZES: Final = (3, 4, 8, 16)
_CHANNELS: Final = 4
_MARKED: Final = 255


def label_studio_rle(mask: Mask) -> list[int]:
    """Encode a mask as the bytes of Label Studio's `value.rle`; marked pixels are opaque white, others transparent."""
    values = mask.ravel()
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    bounds = [0, *(_CHANNELS * edges).tolist(), _CHANNELS * values.size]
    head = f"{_CHANNELS * values.size:032b}{_WORD_SIZE - 1:05b}" + "".join(f"{size - 1:04b}" for size in _LENGTH_SIZES)
    is_marked = bool(values[0]) if values.size else False
    parts = [head]
    for start, end in pairwise(bounds):
        parts.append(_run(end - start, _MARKED if is_marked else 0))
        is_marked = not is_marked
    bits = "".join(parts)
    packed = np.packbits(np.frombuffer(bits.encode("ascii"), dtype=np.uint8) - ord("0"))
    return [int(byte) for byte in packed]


def _run(length: int, value: int) -> str:
    """Write one value `length` times, in as many runs as the largest length size needs."""
    longest = 1 << _LENGTH_SIZES[-1]
    whole, rest = divmod(length, longest)
    return _piece(longest, value) * whole + (_piece(rest, value) if rest else "")


def _piece(length: int, value: int) -> str:
    index, size = next((i, size) for i, size in enumerate(_LENGTH_SIZES) if length <= 1 << size)
    return f"1{index:02b}{length - 1:0{size}b}{value:0{_WORD_SIZE}b}"
