"""What CLIP and its projectors are taught beside captions, names and masks: what a phrase means, and where."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

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
    rng = np.random.default_rng(3)
    scenes = SOURCE.scenes(rng, 6)
    shown = scene_tensors(scenes).shown(clip.IMAGE_SIZE // clip.PATCH_SIZE).numpy() - 1
    phrases = [
        (row, each.text, np.isin(shown[row], each.object_indices))
        for row, scene in enumerate(scenes)
        for each in SOURCE.phrases(scene, rng, clip.PHRASES_A_SCENE, clip.PHRASE_WEIGHTS)
    ]
    rows, texts, meant = zip(*((row, text, patches) for row, text, patches in phrases if patches.any()), strict=True)
    assert len(rows) > 6
    assert batch.scene_of.tolist() == list(rows)
    assert np.array_equal(batch.meant.numpy(), meant)
    told = zip(batch.input_ids[6:], batch.words[6:], texts, strict=False)
    assert [ids[words.bool()].tolist() for ids, words, _ in told] == stage.tokenizer(list(texts))["input_ids"]
    assert len(batch.input_ids) == 6 + len(meant) + int(batch.patch_names.max()) + 1


def test_phrases_teach_the_text_what_is_meant(stage: clip.ClipStage) -> None:
    batch = clip.ClipDraw(SOURCE, stage.tokenizer, 4)(np.random.default_rng(5))
    none = replace(
        batch,
        scene_of=batch.scene_of[:0],
        meant=batch.meant[:0],
        input_ids=torch.cat([batch.input_ids[:4], batch.input_ids[4 + len(batch.meant) :]]),
        words=torch.cat([batch.words[:4], batch.words[4 + len(batch.meant) :]]),
    )
    stage.module.zero_grad()
    of_phrases = stage.loss(batch) - stage.loss(none)
    assert of_phrases.item() > 0
    of_phrases.backward()
    gradient = stage.model.text_model.embeddings.token_embedding.weight.grad
    in_phrases = batch.input_ids[4 : 4 + len(batch.meant)].unique()
    assert gradient[in_phrases].abs().sum() > 0
    other = stage.loss(replace(batch, meant=~batch.meant)) - stage.loss(none)
    assert other.isfinite()
    assert other.item() != pytest.approx(of_phrases.item())


def test_a_prompt_is_taught_to_point_beside_the_mask(stage: clip.ClipStage, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    backbone = SamMaskBackbone(build_sam(sam_stage.CONFIG), sam_stage.CONFIG)
    model = projector_stage.fresh_model(stage.model, backbone)
    taught = projector_stage.ProjectorStage(SOURCE, model, stage.tokenizer, held_out=4)
    batch = replace(taught.draw, scene_count=2)(np.random.default_rng(1))
    answers, points = taught._predict(batch)
    assert [each.shape for each in points] == [(8, 24, 24)] * 2
    taught.loss(batch).backward()
    assert float(taught.pointing["scale"].grad.abs()) > 0
    assert not [name for name in model.state_dict() if "pointing" in name], "what was taught beside is not kept"
    cells = F.adaptive_avg_pool2d(batch.masks()[:, None], 24)[:, 0]
    losses = []
    for told in (cells, cells.mT, 1 - cells):
        monkeypatch.setattr(taught, "_predict", lambda _, told=told: (answers, [20 * told - 10] * 2))
        losses.append(taught.loss(batch).item())
    assert losses == sorted(losses), "to where the thing is, not to its mirror image, and least of all to all else"
