"""Pictures for showing: files read within bounds, large pictures made smaller and small ones larger."""

from pathlib import Path
from threading import Lock
from typing import Final
from weakref import ref

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evfsam.preprocess import load_image
from evfsam.types import RgbImage

SHOWN_SIDE: Final = 1280
"""A picture that is shown has at most this longest side."""

_shrunk: dict[int, tuple[ref[RgbImage], RgbImage]] = {}
_shrunk_lock = Lock()
"""Shown copies of large images that cannot change, by identity, as long as the images are held."""

LEAST_SIDE: Final = 512
"""Smaller pictures are enlarged, so that outlines and labels stay crisp."""


def read_image(source: str | Path | bytes) -> RgbImage:
    """Read an image file or its bytes; see `evfsam.preprocess.load_image`.

    Raises:
        ImageFormatError: the file is not an image that can be read, or too large.
    """
    return load_image(source)


def shrunk(picture: RgbImage, side: int = SHOWN_SIDE) -> RgbImage:
    """Return the picture with its longest side at most `side` pixels; small ones as they are."""
    size = _size_within(picture.shape[:2], side)
    if size == picture.shape[:2]:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BOX))


def shrunk_mask(mask: NDArray[np.bool_], side: int = SHOWN_SIDE) -> NDArray[np.bool_]:
    """Return the mask at the size that `shrunk` gives its image."""
    size = _size_within(mask.shape, side)
    if size == mask.shape:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))


def enlarged(image: RgbImage, mask: NDArray[np.bool_]) -> tuple[RgbImage, NDArray[np.bool_], int]:
    """Enlarge a small image and its mask by the least whole factor that brings their longest side to 512 pixels."""
    factor = max(1, -(-LEAST_SIDE // max(mask.shape)))
    if factor == 1:
        return image, mask, 1
    size = (mask.shape[1] * factor, mask.shape[0] * factor)
    large = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    return large, mask.repeat(factor, axis=0).repeat(factor, axis=1), factor


def shown_pair(image: RgbImage, mask: NDArray[np.bool_]) -> tuple[RgbImage, NDArray[np.bool_]]:
    """Return image and mask at the size the page shows: large ones shrunk, small ones enlarged by a whole factor.

    The image is shrunk once, however many masks are shown on it; neither of the two may be written to.
    """
    large, large_mask, _ = enlarged(image, mask)
    return _shrunk_once(large), shrunk_mask(large_mask)


def _shrunk_once(image: RgbImage) -> RgbImage:
    if image.flags.writeable or max(image.shape[:2]) <= SHOWN_SIDE:
        return shrunk(image)
    key = id(image)
    with _shrunk_lock:
        kept, small = _shrunk.get(key, (None, None))
        if kept is None or kept() is not image or small is None:
            small = shrunk(image)
            small.setflags(write=False)
            _shrunk[key] = ref(image, lambda _: _shrunk.pop(key, None)), small
        return small


def _size_within(size: tuple[int, ...], side: int) -> tuple[int, int]:
    height, width = size
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))
