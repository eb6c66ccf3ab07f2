"""What CLIP and its projectors are taught beside captions, names and masks: what a phrase means, and where."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evfsam.sam.sam import SamMaskBackbone, build_sam
from training import clip, projector_stage, sam_stage
from training.scene_stream import SceneSource, scene_tensors

SOURCE = SceneSource(Path("no-pictures"))


@pytest.fixture(scope="module")
def stage() -> clip.ClipStage:
    torch.manual_seed(0)
    return clip.ClipStage(SOURCE, SOURCE.texts(np.random.default_rng(0), 300), held_out=4)


def test_a_phrase_is_held_to_the_patches_of_what_it_means(stage: clip.ClipStage) -> None:
    batch = clip.ClipDraw(SOURCE, stage.tokenizer, 6)(np.random.default_rng(3))
    scenes = SOURCE.scenes(np.random.default_rng(3), 6)
    shown = scene_tensors(scenes).shown(clip.IMAGE_SIZE // clip.PATCH_SIZE)
    assert len(batch.meant) > 6
    assert len(batch.input_ids) == 6 + len(batch.meant) + int(batch.patch_names.max()) + 1
    for row, meant in zip(batch.scene_of, batch.meant, strict=True):
        assert meant.any()
        assert (shown[row][meant] > 0).all()
        meant_objects = shown[row][meant].unique()
        assert torch.equal(meant, torch.isin(shown[row], meant_objects)), "an object is meant with all of its patches"


def test_phrases_teach_the_text_what_is_meant(stage: clip.ClipStage) -> None:
    batch = clip.ClipDraw(SOURCE, stage.tokenizer, 4)(np.random.default_rng(5))
    other = replace(batch, meant=~batch.meant)
    assert stage.loss(batch).item() != pytest.approx(stage.loss(other).item())
    none = replace(
        batch,
        scene_of=batch.scene_of[:0],
        meant=batch.meant[:0],
        input_ids=torch.cat([batch.input_ids[:4], batch.input_ids[4 + len(batch.meant) :]]),
        words=torch.cat([batch.words[:4], batch.words[4 + len(batch.meant) :]]),
    )
    assert stage.loss(none).isfinite()


def test_a_prompt_is_taught_to_point_beside_the_mask(stage: clip.ClipStage) -> None:
    torch.manual_seed(0)
    backbone = SamMaskBackbone(build_sam(sam_stage.CONFIG), sam_stage.CONFIG)
    model = projector_stage.fresh_model(stage.model, backbone)
    taught = projector_stage.ProjectorStage(SOURCE, model, stage.tokenizer, held_out=4)
    batch = replace(taught.draw, scene_count=2)(np.random.default_rng(1))
    _, points = taught._predict(batch)
    assert [each.shape for each in points] == [(8, 24, 24)] * 2
    taught.loss(batch).backward()
    assert float(taught.pointing["scale"].grad.abs()) > 0
    assert not [name for name in model.state_dict() if "pointing" in name], "what was taught beside is not kept"
