from collections.abc import Sequence

import numpy as np
import pytest
import torch

from evfsam.errors import ConfigurationError, ImageFormatError, PhraseError
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.model.strategy import EvfSamStrategy
from evfsam.types import RgbImage
from evfsam.video.followers import FrameByFrame, MemoryFollower, follower_of
from evfsam.video.tracking import segment_video
from tests.evfsam.tiny import SAM2, noise_image, tiny_model, tiny_processor
from tests.workbench.doubles import BrightStrategy

PHRASE = "two cats"


def grey_frames(levels: Sequence[int]) -> list[RgbImage]:
    """Frames of one grey level each, with a bright left half."""
    frames = [np.full((6, 8, 3), level, dtype=np.uint8) for level in levels]
    for frame in frames:
        frame[:, :4] = 250
    return frames


def test_an_image_strategy_is_asked_every_frame_alone_the_phrases_frame_first() -> None:
    follower = follower_of(BrightStrategy("bright"))
    assert isinstance(follower, FrameByFrame)
    assert not follower.carries_memory
    results = list(follower.follow(grey_frames([10, 200, 10, 10]), PHRASE, prompt_frame=2))
    assert [result.index for result in results] == [2, 1, 0, 3]
    assert all(result.answer is not None for result in results)
    by_index = {result.index: result for result in results}
    assert by_index[0].mask[:, :4].all()
    assert not by_index[0].mask[:, 4:].any()
    assert by_index[1].mask.all()
    assert by_index[1].answer is not None
    assert by_index[1].answer.verdict.kind == "found"


def test_an_evf_sam_without_memory_gives_the_logits_of_its_own_answers(
    model: EvfSamModel, processor: EvfSamProcessor
) -> None:
    strategy = EvfSamStrategy(model, processor)
    (result,) = follower_of(strategy).follow([noise_image(20, 30)], PHRASE)
    assert result.answer is not None
    assert result.mask_logits.shape == (20, 30)
    prediction = result.answer.predictions[0]
    assert result.low_res_logits is not None
    assert torch.equal(result.low_res_logits, prediction.low_res_logits[prediction.chosen])


def test_an_evf_sam2_is_followed_by_its_memory() -> None:
    video_model = tiny_model(family="sam2", sam=SAM2).requires_grad_(False)
    processor = tiny_processor(video_model)
    follower = follower_of(EvfSamStrategy(video_model, processor))
    assert isinstance(follower, MemoryFollower)
    assert follower.carries_memory
    frames = [noise_image(20, 30, seed=index) for index in range(3)]
    followed = list(follower.follow(frames, PHRASE, prompt_frame=1))
    assert [result.index for result in followed] == [1, 0, 2]
    for result, expected in zip(
        followed, segment_video(frames, PHRASE, video_model, processor, prompt_frame=1), strict=True
    ):
        assert torch.equal(result.mask_logits, expected.mask_logits)


def test_what_cannot_be_followed_is_refused_before_a_frame_is_read() -> None:
    follower = FrameByFrame(BrightStrategy("bright"))
    with pytest.raises(PhraseError):
        follower.follow(grey_frames([10]), "  ")
    with pytest.raises(ConfigurationError, match="one of the frames 0 to 0, got frame 1"):
        follower.follow(grey_frames([10]), PHRASE, prompt_frame=1)
    with pytest.raises(ImageFormatError, match="at least one frame"):
        follower.follow([], PHRASE)
