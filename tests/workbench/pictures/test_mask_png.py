import io

import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from workbench.metrics.masks import Mask
from workbench.pictures.mask_png import mask_png

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=30))


def decoded(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.verify()  # checksums
    return Image.open(io.BytesIO(content))


@given(MASKS)
def test_a_mask_comes_back_from_its_png(mask: Mask) -> None:
    picture = decoded(mask_png(mask))
    assert (picture.format, picture.mode) == ("PNG", "L")
    np.testing.assert_array_equal(np.asarray(picture), np.where(mask, 255, 0))


def test_a_part_of_a_larger_mask_is_encoded_too() -> None:
    mask = np.random.default_rng(0).random((40, 60)) > 0.5
    np.testing.assert_array_equal(np.asarray(decoded(mask_png(mask[3:30:2, 5:50]))) > 0, mask[3:30:2, 5:50])


def test_a_large_mask_is_small() -> None:
    rows, columns = np.ogrid[:1000, :1500]
    disc = (rows - 500) ** 2 + (columns - 750) ** 2 < 300**2
    assert len(mask_png(disc)) < 10_000
