"""Image and mask change their size together."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evfsam.errors import ImageFormatError
from tests.workbench.doubles import half_lit
from workbench.pictures import LEAST_SIDE, SHOWN_SIDE, enlarged, read_image, shown_pair, shrunk, shrunk_mask

SIDES = st.integers(1, 200)


@given(SIDES, SIDES, SIDES)
def test_image_and_mask_shrink_to_one_size_within_the_bound(height: int, width: int, side: int) -> None:
    image = half_lit(height, width)
    small, small_mask = shrunk(image, side), shrunk_mask(image[..., 0] > 128, side)
    assert small.shape[:2] == small_mask.shape
    assert max(small_mask.shape) == min(side, max(height, width))
    assert min(small_mask.shape) >= 1


def test_what_is_small_enough_is_left_as_it_is() -> None:
    image = half_lit(30, 40)
    assert shrunk(image, 40) is image


def test_a_shrunken_mask_lies_where_it_lay() -> None:
    mask = half_lit(100, 80)[..., 0] > 128
    np.testing.assert_array_equal(shrunk_mask(mask, 50), half_lit(50, 40)[..., 0] > 128)


@pytest.mark.parametrize("size", [(1, 1), (256, 256), (100, 300), (511, 3)])
def test_small_images_are_enlarged_by_a_whole_factor_with_their_masks(size: tuple[int, int]) -> None:
    image = half_lit(*size)
    mask = image[..., 0] > 128
    large, large_mask, factor = enlarged(image, mask)
    assert large.shape[:2] == large_mask.shape == (size[0] * factor, size[1] * factor)
    assert LEAST_SIDE <= max(large_mask.shape) < LEAST_SIDE + max(size)
    np.testing.assert_array_equal(large_mask[::factor, ::factor], mask)


@pytest.mark.parametrize(
    ("size", "expected"), [((256, 128), (512, 256)), ((600, 700), (600, 700)), ((2560, 16), (1280, 8))]
)
def test_the_page_is_shown_neither_tiny_nor_huge_pictures(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image, mask = shown_pair(half_lit(*size), np.ones(size, dtype=bool))
    assert image.shape[:2] == mask.shape == expected
    assert max(expected) <= SHOWN_SIDE


def test_a_file_is_read_within_the_bounds_of_the_library(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(half_lit()).save(path)
    np.testing.assert_array_equal(read_image(path), half_lit())
    path.write_bytes(b"")
    with pytest.raises(ImageFormatError):
        read_image(path)
