"""EVF-SAM2 and EVF-EfficientSAM against the stored outputs of the reference: one phrase."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from evfsam.types import ImageEmbedding, SamPrompt
from tests.parity.golden_outputs import EMBEDDING_TOLERANCE, LOGIT_TOLERANCES, Golden, compare_stored, load_golden


@dataclass(frozen=True, eq=False)
class Run:
    """One family's fixture, and what our model makes of its single input."""

    golden: Golden
    prompts: torch.Tensor
    embedding: ImageEmbedding
    tolerance: Mapping[str, float]

    @property
    def outputs(self) -> Mapping[str, torch.Tensor]:
        return self.golden.outputs

    @property
    def facts(self) -> Mapping[str, Any]:
        return self.golden.facts


@pytest.fixture(scope="module", params=["tiny_sam2", "tiny_effisam"])
def run(request: pytest.FixtureRequest) -> Run:
    golden = load_golden(request.param)
    with torch.no_grad():
        prompts, _ = golden.model.fuse(golden.encoder_input("a")[None], golden.inputs["single_input_ids"])
    embedding = golden.model.mask_backbone().encode_image(golden.image("a"))
    return Run(golden, prompts, embedding, LOGIT_TOLERANCES[request.param])


@pytest.mark.parametrize("letter", ["a", "b"])
def test_images_are_stretched_alike(run: Run, letter: str) -> None:
    pixels, frame = run.golden.sam_input(letter)
    assert frame.is_stretched
    assert frame.input_size == (frame.target, frame.target)
    # The reference rounds to grey levels with fixed-point weights, which may differ by one between processors.
    compare_stored(pixels, run.outputs, f"pre_{letter}/sam_image", atol=0.02, rtol=0.0)
    stored = run.outputs[f"pre_{letter}/sam_image_stride{7 if letter == 'a' else 13}"]
    ours = pixels[..., :: 7 if letter == "a" else 13, :: 7 if letter == "a" else 13]
    assert ((ours - stored).abs() > 1e-5).float().mean() < 0.01


def test_the_released_default_of_masks_is_kept(run: Run) -> None:
    assert run.golden.model.family.multimask == run.facts["default_multimask_output"]


def test_prompt_and_image_embedding_agree(run: Run) -> None:
    compare_stored(run.prompts, run.outputs, "single/prompt_embedding", **EMBEDDING_TOLERANCE)
    compare_stored(run.embedding.image_embeddings, run.outputs, "single/sam_image_embedding", **EMBEDDING_TOLERANCE)
    for level, features in enumerate(run.embedding.high_res_features):
        compare_stored(features, run.outputs, f"single/high_res_feat_s{level}", **EMBEDDING_TOLERANCE)


def test_a_text_prompt_is_the_projected_token_alone(run: Run) -> None:
    backbone = run.golden.model.mask_backbone()
    _, frame = run.golden.sam_input("a")
    sparse = backbone.sparse_prompt_embeddings(SamPrompt(text_prompt_embeddings=run.prompts[0]), frame)
    stored = run.outputs["single/decoder_sparse_prompt_embeddings"]
    torch.testing.assert_close(sparse, stored.reshape(sparse.shape), **EMBEDDING_TOLERANCE)


@pytest.mark.parametrize("is_default", [True, False], ids=["default", "other"])
def test_masks_and_ious_agree_at_both_settings(run: Run, is_default: bool) -> None:
    multimask = run.golden.model.family.multimask == is_default
    name = "single" if is_default else f"single_multimask_{str(multimask).lower()}"
    prompt = SamPrompt(text_prompt_embeddings=run.prompts[0])
    ours = run.golden.model.mask_backbone().decode(run.embedding, prompt, multimask=multimask)
    compare_stored(ours.low_res_logits[None], run.outputs, f"{name}/decoder_low_res_masks", **run.tolerance)
    compare_stored(ours.pred_ious[None], run.outputs, f"{name}/decoder_iou_predictions", **run.tolerance)
    compare_stored(ours.mask_logits[None], run.outputs, f"{name}/final_mask_logits", **run.tolerance)
