"""CLIP from the Hub, the two forms of CLIP-prompted SAM on it, and what they say when a part is missing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPModel

from baselines.clip import projector as clip_projector
from baselines.clip import ranking as clip_ranking
from baselines.clip.projector import load_clip
from baselines.clip.text import ClipTextSamConfig, ClipTextSamModel
from baselines.weights import load_mask_backbone
from evfsam.errors import CheckpointError
from evfsam.types import ImageView, Strategy
from evfsam.weights.hub import weights_directory
from tests.hub.tiny_hub import CLIP, OPEN_CLIP, SAM, SAM3, lay_down, snapshot_of

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)


@pytest.fixture
def parts(hub: Path) -> dict[str, str | Path]:
    lay_down(hub, CLIP, SAM)
    return {"clip": CLIP, "sam": SAM}


def trained_model() -> ClipTextSamModel:
    """A model around the released parts whose projectors and mask decoder are not the released ones."""
    clip, _ = load_clip(CLIP, device="cpu", dtype=torch.float32)
    sam = load_mask_backbone(weights_directory(SAM))
    torch.manual_seed(3)
    model = ClipTextSamModel(ClipTextSamConfig(clip.config.text_config, clip.config.vision_config, sam.config))
    model.text_encoder.load_state_dict(clip.text_model.state_dict())
    model.image_encoder.load_state_dict(clip.vision_model.state_dict())
    model.sam.image_encoder.load_state_dict(sam.sam.image_encoder.state_dict())
    model.sam.prompt_encoder.load_state_dict(sam.sam.prompt_encoder.state_dict())
    return model


@pytest.mark.parametrize("repo_id", [CLIP, OPEN_CLIP])
def test_openais_and_open_clips_repositories_load(hub: Path, repo_id: str) -> None:
    lay_down(hub, repo_id)
    (snapshot_of(hub, repo_id) / "open_clip_config.json").write_text("{}")
    model, tokenizer = load_clip(repo_id, device="cpu", dtype=torch.float32)
    assert isinstance(model, CLIPModel)
    assert tokenizer("a cup")["input_ids"][-1] == model.config.text_config.eos_token_id


def test_a_repository_in_open_clips_own_format_alone_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds open_clip's own format alone, which is not read; choose one with"):
        load_clip(tmp_path, device="cpu", dtype=torch.float32)


def test_another_model_is_no_clip(hub: Path) -> None:
    lay_down(hub, SAM3)
    with pytest.raises(CheckpointError, match=r"expected a CLIP in facebook/sam3, got model_type 'sam3'"):
        load_clip(SAM3, device="cpu", dtype=torch.float32)


def test_without_a_projector_clip_text_says_so_and_offers_the_other_form(parts: dict[str, str | Path]) -> None:
    with pytest.raises(CheckpointError, match=r"needs a projector .* none is given: .* or choose CLIP ranking"):
        clip_projector.load_strategy(parts, device="cpu", dtype=torch.float32)


def test_released_parts_and_a_projector_make_the_trained_model(parts: dict[str, str | Path], tmp_path: Path) -> None:
    trained = trained_model()
    clip_projector.save_projector(trained, tmp_path, clip=CLIP, sam=SAM)
    loaded = clip_projector.load_strategy({**parts, "projector": tmp_path}, device="cpu", dtype=torch.float32)
    theirs = loaded.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in trained.state_dict().items())
    for variant in ("text", "late-concat"):
        result = loaded.with_options(variant=variant).segment(ImageView(IMAGE), "the red cup")
        assert result.prompts[0].text_prompt_embeddings is not None
        assert result.mask_logits.shape == (50, 80)


def test_a_projector_keeps_only_what_was_trained(parts: dict[str, str | Path], tmp_path: Path) -> None:
    del parts
    model = trained_model()
    clip_projector.save_projector(model, tmp_path, clip=CLIP, sam=SAM)
    whole = sum(value.numel() for value in model.state_dict().values()) * 4
    assert (tmp_path / "model.safetensors").stat().st_size < whole / 2


def test_a_projector_of_other_parts_is_refused(parts: dict[str, str | Path], tmp_path: Path) -> None:
    clip_projector.save_projector(trained_model(), tmp_path, clip=CLIP, sam=SAM)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"text_width": 768, "clip": "another/clip"}))
    with pytest.raises(CheckpointError, match=r"was trained for another/clip and facebook/sam-vit-huge with .*768"):
        clip_projector.load_strategy({**parts, "projector": tmp_path}, device="cpu", dtype=torch.float32)


def test_a_directory_that_is_no_projector_is_refused(parts: dict[str, str | Path], hub: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a projector \(model_type 'clip-text-projector'\)"):
        clip_projector.load_strategy({**parts, "projector": snapshot_of(hub, SAM)}, device="cpu", dtype=torch.float32)


def test_clip_with_a_missing_tensor_is_refused(hub: Path, tmp_path: Path) -> None:
    lay_down(hub, CLIP)
    shutil.copytree(snapshot_of(hub, CLIP), tmp_path / "clip")
    config = json.loads((tmp_path / "clip" / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 3
    (tmp_path / "clip" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"missing keys: text_model\.encoder\.layers\.2"):
        load_clip(tmp_path / "clip", device="cpu", dtype=torch.float32)


def test_clip_ranking_runs_on_the_released_parts(parts: dict[str, str | Path]) -> None:
    strategy = clip_ranking.load_strategy(parts, device="cpu", dtype=torch.float32)
    assert isinstance(strategy, Strategy)
    loose = strategy.with_options(points_per_side=3, pred_iou_threshold=0, stability_threshold=0)
    result = loose.segment(ImageView(IMAGE), "the red cup")
    assert result.verdict.kind == "found"
    assert result.trace[1].asked == "a photo of the red cup"
