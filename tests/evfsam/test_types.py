import numpy as np
import pytest
import torch

from evfsam.errors import ImageFormatError
from evfsam.types import ImageEmbedding, ImageView, RgbImage, Segmentation, Verdict
from tests.evfsam.tiny import noise_image


class CountingBackbone:
    """Counts how often an image is encoded."""

    def __init__(self, identity: str) -> None:
        self.encoder_identity = identity
        self.calls = 0

    def encode_image(self, image: RgbImage) -> ImageEmbedding:
        self.calls += 1
        size = image.shape[0], image.shape[1]
        return ImageEmbedding(torch.zeros(1, 2, 3, 3), size, size, self.encoder_identity, 0.0)

    def decode(self, *_: object, **__: object) -> None:
        raise AssertionError("nothing is decoded here")


def test_backbones_with_one_encoder_share_an_embedding() -> None:
    view = ImageView(noise_image(4, 5))
    first, twin, other = CountingBackbone("a"), CountingBackbone("a"), CountingBackbone("b")
    embedding, was_cached = view.embedding(first)
    assert not was_cached
    again, was_cached = view.embedding(twin)
    assert was_cached
    assert again is embedding
    assert not view.embedding(other)[1]
    assert (first.calls, twin.calls, other.calls) == (1, 0, 1)


def test_a_view_keeps_a_private_read_only_copy() -> None:
    image = noise_image(4, 5)
    view = ImageView(image)
    before = view.image.copy()
    image[:] = 0
    np.testing.assert_array_equal(view.image, before)
    with pytest.raises(ValueError, match="read-only"):
        view.image[0, 0] = 0


def test_the_content_hash_knows_pixels_and_shape() -> None:
    image = noise_image(4, 6)
    assert ImageView(image).content_hash == ImageView(image.copy()).content_hash
    assert ImageView(image).content_hash != ImageView(image.reshape(6, 4, 3)).content_hash
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    assert ImageView(image).content_hash != ImageView(changed).content_hash


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 5, 3)), np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8), np.zeros((0, 5, 3), np.uint8)],
)
def test_what_is_no_rgb_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageFormatError, match=r"RGB uint8 array \(H, W, 3\)"):
        ImageView(image)


def test_the_mask_is_where_logits_exceed_0() -> None:
    answer = Segmentation(Verdict("found"), torch.tensor([[-1.0, 0.0], [0.1, 2.0]]))
    np.testing.assert_array_equal(answer.mask, [[False, False], [True, True]])
    assert answer.area_share == 0.5
