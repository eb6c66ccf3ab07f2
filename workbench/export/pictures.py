"""Masks as pictures without loss: white on black, and the object cut out of the image."""

import numpy as np

from evfsam.errors import GeometryError
from evfsam.types import RgbImage
from workbench.export.results import png_bytes
from workbench.metrics.masks import Mask


def mask_png(mask: Mask) -> bytes:
    """Encode a mask as a grey PNG of the image's size: 255 on the object, 0 off it."""
    return png_bytes(mask.astype(np.uint8) * 255)


def cut_out_png(image: RgbImage, mask: Mask) -> bytes:
    """Encode the image as a PNG that is transparent outside the mask, with nothing of the image left there.

    Raises:
        GeometryError: the mask has another size than the image.
    """
    if mask.shape != image.shape[:2]:
        raise GeometryError(f"expected a mask of the image's size {image.shape[:2]}, got {mask.shape}")
    return png_bytes(np.dstack([image * mask[..., None], mask.astype(np.uint8) * 255]))
