"""Masks as PNG, written directly: what a general encoder tries out on each row is known of masks beforehand."""

import struct
import zlib
from typing import Final

import numpy as np

from workbench.metrics.masks import Mask

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_UP: Final = 2
"""PNG's filter that stores each row as its difference from the one above: of a mask, nearly all zeros."""


def mask_png(mask: Mask) -> bytes:
    """Encode a mask as a grey PNG of its own size, 8 bits a pixel: 255 on the object, 0 off it.

    Against Pillow's encoder at its lowest level this takes half the time, and a third of the bytes.

    Args:
        mask: (H, W) bool, both sides at least 1.
    """
    height, width = mask.shape
    levels = mask.view(np.uint8)
    rows = np.empty((height, 1 + width), dtype=np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = levels[0]
    np.subtract(levels[1:], levels[:-1], out=rows[1:, 1:])
    np.negative(rows[:, 1:], out=rows[:, 1:])  # modulo 256, -1 times 0 or 1 is 255 times it
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    packed = packer.compress(rows.data) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
