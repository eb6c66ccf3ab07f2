from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evfsam.errors import ImageFormatError
from workbench.pictures.shown_pictures import LEAST_SIDE, SHOWN_SIDE, read_image, shown_pair, shrunk, shrunk_mask


@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_a_shrunk_picture_fits_and_its_mask_keeps_the_same_size(height: int, width: int) -> None:
    picture = np.broadcast_to(np.uint8(7), (height, width, 3))
    small = shrunk(picture, 100)
    assert min(small.shape[:2]) >= 1
    assert max(small.shape[:2]) <= 100
    assert shrunk_mask(np.broadcast_to(np.True_, (height, width)), 100).shape == small.shape[:2]


def test_a_picture_that_fits_is_returned_as_it_is() -> None:
    picture = np.zeros((SHOWN_SIDE, 10, 3), np.uint8)
    assert shrunk(picture) is picture


@pytest.mark.parametrize("size", [(1, 1), (256, 256), (300, 200), (480, 640), (2000, 100)])
def test_image_and_mask_are_shown_at_one_size_large_enough_to_read(size: tuple[int, int]) -> None:
    image, mask = shown_pair(np.zeros((*size, 3), np.uint8), np.ones(size, bool))
    assert image.shape[:2] == mask.shape
    assert LEAST_SIDE <= max(mask.shape) <= max(SHOWN_SIDE, 2 * LEAST_SIDE)


def test_an_image_that_cannot_change_is_shrunk_once() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    mask = image[..., 0] > 128
    writable = shown_pair(image, mask)[0]
    image.setflags(write=False)
    first, again = shown_pair(image, mask)[0], shown_pair(image, ~mask)[0]
    assert first is again
    assert first is not writable
    np.testing.assert_array_equal(first, writable)
    other = image[::-1].copy()
    other.setflags(write=False)
    np.testing.assert_array_equal(shown_pair(other, mask)[0], shrunk(other))


def test_an_enlarged_mask_covers_the_same_share() -> None:
    mask = np.random.default_rng(0).random((37, 53)) > 0.7
    _, large = shown_pair(np.zeros((37, 53, 3), np.uint8), mask)
    assert large.mean() == pytest.approx(mask.mean())


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("words")
    with pytest.raises(ImageFormatError):
        read_image(tmp_path / "a.png")


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels)
