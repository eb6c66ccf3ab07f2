"""SAM's image encoder learns with both mask decoders on it, and stays one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from evfsam.encoders.tokenizers import PhraseTokenizer
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from tests.evfsam.tiny import BEIT3, TOKENIZER_DIRECTORY
from training import sam_stage
from training.marks import MarksStage
from training.scene_stream import SIDE, SceneSource
from training.shared_encoder import SharedEncoderStage


@pytest.fixture(scope="module")
def stage() -> SharedEncoderStage:
    torch.manual_seed(0)
    source = SceneSource(Path("no-pictures"), side=2 * SIDE)
    config = EvfSamConfig(beit3={**BEIT3, "text_position_count": 202}, sam=sam_stage.CONFIG.to_dict())
    processor = EvfSamProcessor(PhraseTokenizer.from_pretrained(TOKENIZER_DIRECTORY, 200), config)
    phrases = MarksStage(source, EvfSamModel(config), processor, scenes_a_step=2, per_scene=3, held_out=4)
    return SharedEncoderStage(phrases, sam_stage.SamStage(source, held_out=8))


def test_one_encoder_learns_from_both_halves_with_both_decoders(stage: SharedEncoderStage) -> None:
    batch = stage.draw(np.random.default_rng(3))
    assert batch.phrases.scenes.side == batch.objects.scenes.side == 2 * SIDE
    model, sam = stage.phrases.model, stage.objects.sam
    assert sam.image_encoder is model.visual_model.image_encoder
    assert len(list(stage.module.parameters())) == len({id(each) for each in stage.module.parameters()})
    encoder = sam.image_encoder.patch_embed.proj.weight
    for half in (stage.phrases.loss(batch.phrases), stage.objects.loss(batch.objects)):
        encoder.grad = None
        half.backward()
        assert encoder.grad is not None
        assert encoder.grad.any()
    for name, parameter in model.named_parameters():
        is_frozen = "visual_model" not in name
        assert parameter.requires_grad is not is_frozen or "prompt_encoder" in name, name
        assert not (is_frozen and parameter.grad is not None), name
    assert any(each.grad is not None for each in sam.mask_decoder.parameters())
    stage.module.zero_grad(set_to_none=True)


def test_validation_tells_the_two_apart(stage: SharedEncoderStage) -> None:
    with torch.inference_mode():
        figures = stage.validate()
    assert {"cIoU", "photo box", "photo clicks", "photo closer"} <= set(figures)
    assert {"sam photo box", "sam photo closer", "sam photo point"} <= set(figures)
