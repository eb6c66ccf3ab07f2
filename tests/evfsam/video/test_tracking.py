from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import pytest
import torch
from skimage.measure import label

from evfsam.errors import ConfigurationError, ImageFormatError, PhraseError
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.types import RgbImage
from evfsam.video.tracking import FrameMask, _MemoryBank, fill_holes, segment_video
from tests.evfsam.tiny import SAM2, noise_image, tiny_model, tiny_processor

PHRASE = "two cats"


@pytest.fixture(scope="module")
def video_model() -> EvfSamModel:
    model = tiny_model(family="sam2", sam=SAM2).requires_grad_(False)
    model.visual_model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(5)  # the object is always visible
    return model


@pytest.fixture(scope="module")
def video_processor(video_model: EvfSamModel) -> EvfSamProcessor:
    return tiny_processor(video_model)


class LazyFrames(Sequence[RgbImage]):
    """Frames made when they are asked for; remembers which were."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.count

    @overload
    def __getitem__(self, index: int) -> RgbImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RgbImage]: ...
    def __getitem__(self, index: int | slice) -> RgbImage | Sequence[RgbImage]:
        assert isinstance(index, int)
        self.asked.append(index)
        return noise_image(20, 30, seed=index)


def run(model: EvfSamModel, processor: EvfSamProcessor, count: int = 6, **options: object) -> list[FrameMask]:
    return list(segment_video(LazyFrames(count), PHRASE, model, processor, **options))


def test_every_frame_gets_a_mask_of_its_size(video_model: EvfSamModel, video_processor: EvfSamProcessor) -> None:
    results = run(video_model, video_processor)
    assert [result.index for result in results] == [0, 1, 2, 3, 4, 5]
    for result in results:
        assert result.mask.shape == result.mask_logits.shape == (20, 30)
        assert result.mask_logits.isfinite().all()


def test_the_phrase_may_be_about_any_frame(video_model: EvfSamModel, video_processor: EvfSamProcessor) -> None:
    orders = {
        direction: [result.index for result in run(video_model, video_processor, prompt_frame=2, direction=direction)]
        for direction in ("both", "forward", "backward")
    }
    assert orders == {"both": [2, 1, 0, 3, 4, 5], "forward": [2, 3, 4, 5], "backward": [2, 1, 0]}


def test_backward_is_forward_on_the_reversed_clip(video_model: EvfSamModel, video_processor: EvfSamProcessor) -> None:
    frames = [noise_image(20, 30, seed=index) for index in range(6)]
    there = list(segment_video(frames, PHRASE, video_model, video_processor))
    back = list(segment_video(frames[::-1], PHRASE, video_model, video_processor, prompt_frame=5))
    assert [result.index for result in back] == [5, 4, 3, 2, 1, 0]
    for one, other in zip(there, back, strict=True):
        torch.testing.assert_close(one.mask_logits, other.mask_logits, atol=1e-5, rtol=1e-4)


def test_one_direction_does_not_depend_on_the_other(video_model: EvfSamModel, video_processor: EvfSamProcessor) -> None:
    both = {result.index: result for result in run(video_model, video_processor, prompt_frame=2)}
    for result in run(video_model, video_processor, prompt_frame=2, direction="forward"):
        assert torch.equal(result.mask_logits, both[result.index].mask_logits)


def test_memory_of_earlier_frames_counts(video_model: EvfSamModel, video_processor: EvfSamProcessor) -> None:
    frames = [noise_image(20, 30, seed=index) for index in range(3)]
    changed = [frames[0], noise_image(20, 30, seed=9), frames[2]]
    plain = list(segment_video(frames, PHRASE, video_model, video_processor))
    other = list(segment_video(changed, PHRASE, video_model, video_processor))
    assert not torch.allclose(plain[2].mask_logits, other[2].mask_logits, atol=1e-6)


def test_results_stream_and_frames_are_read_when_their_turn_comes(
    video_model: EvfSamModel, video_processor: EvfSamProcessor
) -> None:
    frames = LazyFrames(1_000_000)
    results = segment_video(frames, PHRASE, video_model, video_processor)
    for _ in range(3):
        next(results)
    assert set(frames.asked) == {0, 1, 2}


def test_memories_that_are_read_no_more_are_dropped(
    video_model: EvfSamModel, video_processor: EvfSamProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clip's end must not depend on it: what is kept is all that SAM-2 looks at."""
    lengths = []
    add = _MemoryBank.add

    def counting(bank: _MemoryBank, *arguments: object) -> None:
        add(bank, *arguments)
        lengths.append(len(bank))

    monkeypatch.setattr(_MemoryBank, "add", counting)
    bounded = run(video_model, video_processor, 12)
    assert max(lengths) == SAM2["object_pointer_count"]
    lengths.clear()
    monkeypatch.setattr(_MemoryBank, "_forget", lambda *_: None)
    unbounded = run(video_model, video_processor, 12)
    assert max(lengths) == 12
    for one, other in zip(bounded, unbounded, strict=True):
        assert torch.equal(one.mask_logits, other.mask_logits)


def test_an_object_that_is_not_to_be_seen_has_an_empty_mask(video_processor: EvfSamProcessor) -> None:
    model = tiny_model(family="sam2", sam=SAM2).requires_grad_(False)
    model.visual_model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(-5)
    for result in run(model, video_processor, 3):
        assert not result.mask.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_follow_too(
    video_model: EvfSamModel, video_processor: EvfSamProcessor, dtype: torch.dtype, tmp_path: Path
) -> None:
    video_model.save_pretrained(tmp_path)
    model = EvfSamModel.from_pretrained(tmp_path, dtype=dtype)
    for result in run(model, video_processor, 3):
        assert result.mask_logits.dtype == torch.float32
        assert result.mask_logits.isfinite().all()


def test_the_callers_gradients_are_left_as_they_were(
    video_model: EvfSamModel, video_processor: EvfSamProcessor
) -> None:
    next(iter(segment_video(LazyFrames(2), PHRASE, video_model, video_processor)))
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"count": 0}, ImageFormatError, "at least one frame, got none"),
        ({"prompt_frame": 6}, ConfigurationError, "one of the frames 0 to 5, got frame 6"),
        ({"prompt_frame": -1}, ConfigurationError, "got frame -1"),
        ({"direction": "sideways"}, ConfigurationError, "both, forward, backward, got 'sideways'"),
        ({"hole_area": -1}, ConfigurationError, "at least 0 pixels, got -1"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(
    video_model: EvfSamModel,
    video_processor: EvfSamProcessor,
    options: dict[str, int],
    error: type[Exception],
    message: str,
) -> None:
    frames = LazyFrames(options.pop("count", 6))
    with pytest.raises(error, match=message):
        segment_video(frames, PHRASE, video_model, video_processor, **options)


def test_empty_phrases_and_other_families_are_refused(
    video_model: EvfSamModel, video_processor: EvfSamProcessor, model: EvfSamModel, processor: EvfSamProcessor
) -> None:
    with pytest.raises(PhraseError):
        segment_video(LazyFrames(2), " ", video_model, video_processor)
    with pytest.raises(ConfigurationError, match=r"expected an EVF-SAM2, .* got an EVF-SAM;"):
        segment_video(LazyFrames(2), PHRASE, model, processor)


@pytest.mark.parametrize("density", [0.02, 0.2, 0.4, 0.6, 0.9])
@pytest.mark.parametrize("max_area", [1, 8, 20])
def test_holes_are_the_small_background_components_by_eight_neighbours(density: float, max_area: int) -> None:
    background = np.random.default_rng(3).random((2, 48, 40)) < density
    logits = torch.from_numpy(np.where(background, -1.5, 2.0)).float()[:, None]
    expected = logits.clone()
    for index, image in enumerate(background):
        components = label(image, connectivity=2)
        small = [n for n in range(1, components.max() + 1) if (components == n).sum() <= max_area]
        expected[index, 0][torch.from_numpy(np.isin(components, small))] = 0.1
    assert torch.equal(fill_holes(logits, max_area), expected)


def test_long_thin_holes_are_large() -> None:
    logits = torch.ones(1, 1, 40, 40)
    logits[0, 0, 3, 2:11] = -1  # nine in a row: one too many
    logits[0, 0, 20, 2:10] = 0  # eight, and 0 is background
    filled = fill_holes(logits, 8)
    assert bool((filled[0, 0, 3, 2:11] == -1).all())
    assert bool((filled[0, 0, 20, 2:10] == 0.1).all())
    assert fill_holes(logits, 0) is logits
