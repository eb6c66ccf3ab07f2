"""EVF-SAM2 and EVF-EfficientSAM against the stored outputs of the reference: one phrase, batches, losses, gradients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from evfsam.model.modeling import EvfSamOutput, LossWeights
from evfsam.types import ImageEmbedding, SamPrompt
from tests.parity.golden_outputs import EMBEDDING_TOLERANCE, LOGIT_TOLERANCE, Golden, compare_stored, load_golden

# The reference against itself in float64 differs by 4e-4 on EfficientSAM's logits, which reach 38.
LOGIT_TOLERANCES = {"tiny_sam2": LOGIT_TOLERANCE, "tiny_effisam": {"atol": 1e-3, "rtol": 1e-3}}


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


def _forward(golden: Golden, *, with_targets: bool = False, mask_padding: bool = True) -> EvfSamOutput:
    prepared = [golden.sam_input(letter) for letter in "ab"]
    features = golden.model.encode_image_features(torch.stack([pixels for pixels, _ in prepared]))
    weights = golden.facts["train"]
    assert isinstance(weights, Mapping)
    return golden.model(
        features.image_embeddings,
        torch.stack([golden.encoder_input(letter) for letter in "ab"]),
        golden.inputs["batch_input_ids"],
        [frame for _, frame in prepared],
        offset=golden.inputs["batch_offset"].tolist(),
        attention_mask=golden.inputs["batch_attention_masks"],
        targets=[golden.inputs[f"batch_gt_masks_{letter}"] for letter in "ab"] if with_targets else None,
        loss_weights=LossWeights(weights["bce_loss_weight"], weights["dice_loss_weight"]) if with_targets else None,
        high_res_features=features.high_res_features,
        mask_padding=mask_padding,
    )


@pytest.fixture(scope="module")
def trained(run: Run) -> EvfSamOutput:
    recipe = run.facts["train"]
    run.golden.model.set_trainable(
        mask_decoder=recipe.get("train_mask_decoder", False),
        no_mask_embedding=recipe.get("train_prompt_encoder", False),
    )
    run.golden.model.zero_grad()
    output = _forward(run.golden, with_targets=True)
    assert output.loss is not None
    output.loss.loss.backward()
    return output


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


def test_masks_of_a_padded_batch_agree(run: Run) -> None:
    with torch.no_grad():
        batch = _forward(run.golden)
    compare_stored(batch.text_prompt_embeddings, run.outputs, "batch/prompt_embedding", **EMBEDDING_TOLERANCE)
    for index in range(2):
        name = f"batch/image{index}"
        assert list(batch.mask_logits[index].shape) == run.outputs[f"{name}/pred_masks_shape"].tolist()
        compare_stored(batch.mask_logits[index], run.outputs, f"{name}/pred_masks", **run.tolerance)
        compare_stored(batch.low_res_logits[index], run.outputs, f"{name}/decoder_low_res_masks", **run.tolerance)
        compare_stored(batch.pred_ious[index], run.outputs, f"{name}/decoder_iou_predictions", **run.tolerance)


def test_padding_counts_as_words_only_by_request(run: Run) -> None:
    with torch.no_grad():
        output = _forward(run.golden, mask_padding=False)
    name, count = "inference_padded_nomask", len(run.golden.inputs["batch_gt_masks_a"])
    compare_stored(
        output.text_prompt_embeddings[:count], run.outputs, f"{name}/prompt_embedding", **EMBEDDING_TOLERANCE
    )
    compare_stored(output.mask_logits[0], run.outputs, f"{name}/final_mask_logits", **run.tolerance)


def test_losses_agree(run: Run, trained: EvfSamOutput) -> None:
    assert trained.loss is not None
    for name, value in vars(trained.loss).items():
        compare_stored(value.reshape(1), run.outputs, f"train/{name}", atol=1e-5, rtol=1e-5)


def test_gradients_and_their_norms_agree(run: Run, trained: EvfSamOutput) -> None:
    assert trained.loss is not None
    gradients = {name: p.grad for name, p in run.golden.model.named_parameters() if p.grad is not None}
    stored = [name for name in run.outputs if name.startswith("train/grad/")]
    assert stored
    for name in stored:
        compare_stored(gradients[name.removeprefix("train/grad/")], run.outputs, name, atol=1e-5, rtol=1e-3)
    norms = run.golden.grad_norms
    ours = {name: gradient.norm().item() for name, gradient in gradients.items()}
    assert ours == pytest.approx({name: norms[name] for name in ours}, rel=2e-3, abs=1e-5)
    assert {name for name, norm in norms.items() if norm} <= set(ours)


def test_exactly_the_weights_of_the_recipe_train(run: Run, trained: EvfSamOutput) -> None:
    assert trained.loss is not None
    prefixes = tuple(run.facts["train"]["requires_grad_prefixes"])
    for name, parameter in run.golden.model.named_parameters():
        assert parameter.requires_grad == name.startswith(prefixes), name
