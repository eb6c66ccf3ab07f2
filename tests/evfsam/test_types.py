import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from evfsam.errors import ImageFormatError
from evfsam.geometry import stretched_frame
from evfsam.types import (
    ImageEmbedding,
    ImageView,
    MaskPrediction,
    RgbImage,
    SamPrompt,
    Segmentation,
    Verdict,
    no_logits,
)
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


def decoded(*values: float) -> MaskPrediction:
    candidates = torch.tensor(values).view(-1, 1, 1).repeat(1, 2, 3)
    return MaskPrediction(candidates, torch.arange(len(values)).float(), len(values) - 1, stretched_frame((4, 6), 8))


def test_logits_are_made_from_the_chosen_candidate_at_the_size_of_the_image() -> None:
    prediction = decoded(-5.0, 1.5)
    assert prediction.size == (4, 6)
    assert torch.equal(prediction.mask_logits, torch.full((4, 6), 1.5))


def test_an_answer_takes_the_highest_of_its_sources_where_something_was_found() -> None:
    found = Segmentation(Verdict("found"), predictions=(decoded(1.0), decoded(2.0), decoded(-1.0)))
    assert found.size == (4, 6)
    assert torch.equal(found.mask_logits, torch.full((4, 6), 2.0))
    assert found.mask.all()
    both = Segmentation(Verdict("found"), sources=(found, Segmentation(Verdict("absent", "no"), no_logits((4, 6)))))
    assert torch.equal(both.mask_logits, found.mask_logits)


def test_an_answer_without_a_pixel_has_another_verdict_and_keeps_its_logits() -> None:
    nothing, prompts = Verdict("absent", "No pixel."), (SamPrompt(), SamPrompt())
    absent = Segmentation.drawn(prompts, (decoded(-1.0), decoded(-2.0)), nothing)
    assert absent.verdict is nothing
    assert torch.equal(absent.mask_logits, torch.full((4, 6), -1.0))
    assert not absent.mask.any()
    found = Segmentation.drawn(prompts, (decoded(-1.0), decoded(1.0, 2.0)), nothing, remark="Two boxes.")
    assert found.verdict == Verdict("found", "Two boxes.")
    assert (found.pred_iou, found.mask.all()) == (0.0, True)


def test_no_logits_take_no_memory() -> None:
    nothing = no_logits((3000, 4000))
    assert (nothing.shape, nothing.untyped_storage().nbytes()) == ((3000, 4000), 4)
    assert bool((nothing == -torch.inf).all())


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (16, 8), (7, 11)])
def test_a_mask_comes_back_from_its_bits(size: tuple[int, int]) -> None:
    logits = torch.randn(size, generator=torch.Generator().manual_seed(0))
    answer = Segmentation(Verdict("found"), logits)
    first, again = answer.mask, answer.mask
    assert (first.dtype, again.dtype, again.shape) == (np.bool_, np.bool_, size)
    np.testing.assert_array_equal(first, logits.numpy() > 0)
    np.testing.assert_array_equal(again, first)


def test_an_answer_can_be_pickled_and_changed_without_its_full_size() -> None:
    answer = Segmentation(Verdict("found"), predictions=(decoded(1.0),))
    copied = pickle.loads(pickle.dumps(answer))
    assert copied.given_logits is None
    assert torch.equal(copied.mask_logits, answer.mask_logits)
    given = Segmentation(Verdict("found"), torch.ones(2, 2))
    assert given.given_logits is given.mask_logits
    with pytest.raises(FrozenInstanceError):
        given.mask_logits = torch.zeros(2, 2)  # type: ignore[misc]
