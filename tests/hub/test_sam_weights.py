"""Transformers' SAM under our names must see and draw exactly as transformers runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SamModel

from baselines.clip.proposals import decode_in_batches, point_grid
from baselines.weights import load_mask_backbone
from evfsam.errors import CheckpointError
from evfsam.geometry import upsample_logits
from evfsam.preprocess import sam_pixels
from evfsam.types import ImageView, PromptPoint, SamPrompt
from tests.baselines.tiny_models import tiny_sam
from tests.evfsam.tiny_families import tiny_family_model
from tests.hub.tiny_hub import CLIP, SAM, lay_down, snapshot_of

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)


def test_transformers_weights_give_transformers_answers(hub: Path) -> None:
    lay_down(hub, SAM)
    theirs = SamModel.from_pretrained(snapshot_of(hub, SAM)).eval()
    ours = load_mask_backbone(snapshot_of(hub, SAM))
    embedding, _ = ImageView(IMAGE).embedding(ours)
    with torch.no_grad():
        pixels, _ = sam_pixels(IMAGE, 64)
        features = theirs.get_image_embeddings(pixels[None])
        answer = theirs(
            image_embeddings=features,
            input_points=torch.tensor([[[[40 * 0.8 - 0.5, 20 * 0.8 - 0.5]]]]),
            input_labels=torch.tensor([[[1]]]),
            multimask_output=True,
        )
    torch.testing.assert_close(embedding.image_embeddings, features, rtol=1e-4, atol=1e-4)
    prediction = ours.decode(embedding, SamPrompt(points=(PromptPoint(40.0, 20.0, 1),)), multimask=True)
    assert prediction.low_res_logits.std() > 0.1
    torch.testing.assert_close(prediction.low_res_logits, answer.pred_masks[0, 0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(prediction.pred_ious, answer.iou_scores[0, 0], rtol=1e-3, atol=1e-3)


def test_our_own_layout_is_read_as_well(tmp_path: Path) -> None:
    backbone = tiny_sam()
    backbone.save_pretrained(tmp_path)
    assert load_mask_backbone(tmp_path).encoder_identity == backbone.encoder_identity


@pytest.mark.parametrize("family", ["sam2", "efficient_sam"])
def test_other_mask_models_are_read_and_decode_batches_as_single_prompts(family: str, tmp_path: Path) -> None:
    backbone = tiny_family_model(family).mask_backbone()
    backbone.save_pretrained(tmp_path)
    loaded = load_mask_backbone(tmp_path)
    assert loaded.encoder_identity == backbone.encoder_identity
    embedding, _ = ImageView(IMAGE).embedding(loaded)
    prompts = [SamPrompt(points=(point,)) for point in point_grid((40, 80), 2)]
    (batch,) = decode_in_batches(loaded, embedding, prompts, batch_size=8)
    for row, prompt in enumerate(prompts):
        alone = backbone.decode(embedding, prompt, multimask=True)
        best = int(batch.pred_ious[row].argmax())
        assert float(batch.pred_ious[row, best]) == pytest.approx(alone.pred_iou, abs=1e-4)
        full = upsample_logits(batch.low_res_logits[None, row, best : best + 1], loaded.frame(embedding))
        torch.testing.assert_close(full[0, 0], alone.mask_logits, rtol=1e-3, atol=1e-4)


def test_another_model_is_refused(hub: Path) -> None:
    lay_down(hub, CLIP)
    with pytest.raises(CheckpointError, match=r"expected a SAM in .*, got model_type 'clip'"):
        load_mask_backbone(snapshot_of(hub, CLIP))


def test_weights_that_do_not_fit_are_refused(hub: Path, tmp_path: Path) -> None:
    lay_down(hub, SAM)
    snapshot = snapshot_of(hub, SAM)
    values = json.loads((snapshot / "config.json").read_text())
    values["vision_config"]["num_hidden_layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "model.safetensors").symlink_to(snapshot / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing: .*blocks\.2"):
        load_mask_backbone(tmp_path)
