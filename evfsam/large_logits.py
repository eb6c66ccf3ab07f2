"""Logits of one mask on a large image, without making all of them at once: its mask, bands of rows, single places.

Bilinear enlarging works along x, then along y. Along y most pixels lie between two of one sign, which tells without
arithmetic whether they are on the mask; where values are needed, a few rows at a time stay in the processor's cache.
Shapes: H, W the image; R and C chosen rows and columns.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from evfsam.geometry import Frame, within_square

LARGE: Final = 2**21
"""Pixels from which on this pays."""
ROWS_AT_ONCE: Final = 64
_LEAST_ENLARGEMENT: Final = 2
_PHASES: Final = 3
"""Neighbouring rows have different remainders by it, and so has the row before or after them."""
_DOUBT: Final = 2.0**-20
"""A sum below this share of its first summand may come out on either side of 0, by how it is rounded."""

Indices = NDArray[np.intp]
"""Of rows or columns, from 0."""

Logits = NDArray[np.float32]


def row_bands(size: tuple[int, int]) -> list[slice]:
    """Return the rows of an image (H, W) in the parts that logits are worked on: one for an image that is not large."""
    height, width = size
    step = ROWS_AT_ONCE if height * width >= LARGE else height
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


def can_work_in_bands(low_res_logits: torch.Tensor, frame: Frame) -> bool:
    """Whether `LargeLogits` takes these (h, w) logits, and pays: finite, on the CPU, and much enlarged."""
    height, width = frame.original_size
    rows = low_res_logits.shape[0] if frame.is_stretched else frame.input_size[0]
    return (
        low_res_logits.device.type == "cpu"
        and height * width >= LARGE
        and height >= _LEAST_ENLARGEMENT * rows
        and bool(low_res_logits.isfinite().all())
    )


class LargeLogits:
    """The logits that `evfsam.geometry.upsample_logits` makes of one mask, seen a part at a time.

    Args:
        low_res_logits: (4h, 4w), such that `can_work_in_bands`.
        frame: where the image lies in SAM's input.
    """

    def __init__(self, low_res_logits: torch.Tensor, frame: Frame) -> None:
        self._height, width = frame.original_size
        rows = within_square(low_res_logits[None, None], frame)
        size = (rows.shape[-2], width)
        self._wide = F.interpolate(rows, size, mode="bilinear", align_corners=False)[0, 0]

    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool: where the logits exceed 0, equal to the last bit to thresholding all of them."""
        logits = self._wide.numpy()
        is_above = logits > 0
        upper, lower, upper_share, lower_share = self._between
        mask = np.empty((self._height, logits.shape[1]), dtype=np.bool_)
        doubtful = np.zeros(logits.shape[1], dtype=np.bool_)
        changes = np.flatnonzero((np.diff(upper) != 0) | (np.diff(lower) != 0)) + 1
        for start, end in zip([0, *changes.tolist()], [*changes.tolist(), self._height], strict=True):
            one, other = upper[start], lower[start]
            mask[start:end] = is_above[one]
            mixed = np.flatnonzero(is_above[one] != is_above[other])
            if mixed.size:
                first = upper_share[start:end, None] * logits[one, mixed]
                total = first + lower_share[start:end, None] * logits[other, mixed]
                mask[start:end, mixed] = total > 0
                doubtful[mixed] |= (np.abs(total) <= _DOUBT * np.abs(first)).any(axis=0)
        if doubtful.any():
            mask[:, doubtful] = self._whole_columns(np.flatnonzero(doubtful)) > 0
        return mask

    def bands(self) -> Iterator[Logits]:
        """Yield the logits of `row_bands`, (R, W) each, to a rounding in the last place."""
        columns = slice(None)
        for rows in row_bands((self._height, self._wide.shape[1])):
            yield self._at(rows, columns)

    def at(self, rows: Indices, columns: Indices) -> Logits:
        """(R, C): the logits where chosen rows and columns meet, to a rounding in the last place."""
        return self._at(rows, columns)

    def _at(self, rows: Indices | slice, columns: Indices | slice) -> Logits:
        logits = self._wide.numpy()[:, columns]
        upper, lower, upper_share, lower_share = (each[rows] for each in self._between)
        found: Logits = logits[upper]
        found *= upper_share[:, None]
        found += lower_share[:, None] * logits[lower]
        return found

    def _whole_columns(self, columns: Indices) -> Logits:
        size = (self._height, len(columns))
        chosen = self._wide[None, None][..., torch.from_numpy(columns)]
        whole: Logits = F.interpolate(chosen, size, mode="bilinear", align_corners=False)[0, 0].numpy()
        return whole

    @cached_property
    def _between(self) -> tuple[Indices, Indices, Logits, Logits]:
        """Each row's neighbours above and below, (H,), and the share of each, (H,), as `interpolate` weighs them.

        The shares are read off what it makes of rows of ones and zeros, not worked out again: rounding would differ.
        """
        count, places = self._wide.shape[0], np.arange(self._height)
        phases = np.arange(_PHASES)[:, None]
        ones = torch.from_numpy((np.arange(count) % _PHASES == phases).astype(np.float32))
        shares = F.interpolate(ones[:, None, :, None], (self._height, 1), mode="bilinear", align_corners=False)
        weights = shares[:, 0, :, 0].numpy()
        near = np.floor((places + 0.5) * (count / self._height) - 0.5).astype(np.intp)
        rows = near - 1 + (phases - near + 1) % _PHASES
        upper = np.where(weights > 0, rows, count).min(axis=0)
        lower = np.where(weights > 0, rows, -1).max(axis=0)
        below = np.where(lower > upper, weights[lower % _PHASES, places], np.float32(0))
        return upper, lower, weights[upper % _PHASES, places], below
