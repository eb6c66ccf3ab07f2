"""Masks of many frames, packed: a clip's masks are held until all are written."""

import zlib
from dataclasses import dataclass
from typing import Self

import numpy as np

from workbench.metrics.masks import Mask


@dataclass(frozen=True)
class PackedMask:
    """A mask in a few kilobytes, without loss.

    Attributes:
        size: (H, W).
        data: its bits, row by row, compressed.
        area: pixels of the mask.
    """

    size: tuple[int, int]
    data: bytes
    area: int

    @classmethod
    def of(cls, mask: Mask) -> Self:
        """Pack a mask (H, W)."""
        height, width = mask.shape
        return cls((height, width), zlib.compress(np.packbits(mask).tobytes()), int(np.count_nonzero(mask)))

    @property
    def mask(self) -> Mask:
        """(H, W) bool."""
        bits = np.frombuffer(zlib.decompress(self.data), dtype=np.uint8)
        return np.unpackbits(bits, count=self.size[0] * self.size[1]).reshape(self.size).astype(np.bool_)
