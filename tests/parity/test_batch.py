"""Two images with three phrases, by every family: padded batches with and without masks, losses and gradients."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch

from evfsam.model.modeling import EvfSamOutput, LossWeights
from tests.parity.golden_outputs import (
    EMBEDDING_TOLERANCE,
    LOGIT_TOLERANCE,
    LOGIT_TOLERANCES,
    Golden,
    compare_stored,
    load_golden,
)


@dataclass(frozen=True, eq=False)
class Family:
    """One family's fixture, and how near its logits come."""

    golden: Golden
    tolerance: Mapping[str, float]


@pytest.fixture(scope="module", params=LOGIT_TOLERANCES)
def family(request: pytest.FixtureRequest, sam1: Golden) -> Family:
    golden = sam1 if request.param == "tiny_sam1" else load_golden(request.param)
    return Family(golden, LOGIT_TOLERANCES[request.param])


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
def trained(family: Family) -> EvfSamOutput:
    recipe = family.golden.facts["train"]
    assert isinstance(recipe, Mapping)
    family.golden.model.set_trainable(
        mask_decoder=recipe.get("train_mask_decoder", False),
        no_mask_embedding=recipe.get("train_prompt_encoder", False),
    )
    family.golden.model.zero_grad()
    output = _forward(family.golden, with_targets=True)
    assert output.loss is not None
    output.loss.loss.backward()
    return output


def test_padded_phrases_agree_when_masked(sam1: Golden) -> None:
    pixels = torch.stack([sam1.encoder_input(letter) for letter in "aab"])
    with torch.no_grad():
        prompts, output = sam1.model.fuse(
            pixels, sam1.inputs["batch_input_ids"], sam1.inputs["batch_attention_masks"], attention_layers=(-1,)
        )
    compare_stored(output.last_hidden_state, sam1.outputs, "batch/encoder_out", **EMBEDDING_TOLERANCE)
    compare_stored(prompts, sam1.outputs, "batch/prompt_embedding", **EMBEDDING_TOLERANCE)
    (attention,) = output.attentions.values()
    cls_rows = attention[:, :, 0].transpose(0, 1)
    compare_stored(cls_rows, sam1.outputs, "batch/last_attn_weights_cls_row", **EMBEDDING_TOLERANCE)


def test_padding_is_told_from_the_ids_alone(sam1: Golden) -> None:
    pixels = torch.stack([sam1.encoder_input(letter) for letter in "aab"])
    with torch.no_grad():
        prompts, _ = sam1.model.fuse(pixels, sam1.inputs["batch_input_ids"])
    compare_stored(prompts, sam1.outputs, "batch/prompt_embedding", **EMBEDDING_TOLERANCE)


def test_padding_counts_as_words_only_by_request(sam1: Golden) -> None:
    count = len(sam1.inputs["batch_gt_masks_a"])
    pixels, frame = sam1.sam_input("a")
    with torch.no_grad():
        ids = sam1.inputs["batch_input_ids"][:count]
        repeated = sam1.encoder_input("a")[None].expand(count, -1, -1, -1)
        _, fused = sam1.model.fuse(repeated, ids, mask_padding=False)
        output = sam1.model(
            sam1.model.encode_image_features(pixels[None]).image_embeddings,
            repeated[:1],
            ids,
            [frame],
            mask_padding=False,
        )
    name = "inference_padded_nomask"
    compare_stored(fused.feature, sam1.outputs, f"{name}/encoder_cls", **EMBEDDING_TOLERANCE)
    compare_stored(output.text_prompt_embeddings, sam1.outputs, f"{name}/prompt_embedding", **EMBEDDING_TOLERANCE)
    compare_stored(output.mask_logits[0], sam1.outputs, f"{name}/final_mask_logits", **LOGIT_TOLERANCE)


def test_a_batch_counts_padding_as_words_by_request(family: Family) -> None:
    outputs, count = family.golden.outputs, len(family.golden.inputs["batch_gt_masks_a"])
    with torch.no_grad():
        output = _forward(family.golden, mask_padding=False)
    name = "inference_padded_nomask"
    compare_stored(output.text_prompt_embeddings[:count], outputs, f"{name}/prompt_embedding", **EMBEDDING_TOLERANCE)
    compare_stored(output.mask_logits[0], outputs, f"{name}/final_mask_logits", **family.tolerance)


def test_masks_of_a_padded_batch_agree(family: Family) -> None:
    outputs = family.golden.outputs
    with torch.no_grad():
        batch = _forward(family.golden)
    compare_stored(batch.text_prompt_embeddings, outputs, "batch/prompt_embedding", **EMBEDDING_TOLERANCE)
    for index in range(2):
        name = f"batch/image{index}"
        assert list(batch.mask_logits[index].shape) == outputs[f"{name}/pred_masks_shape"].tolist()
        compare_stored(batch.mask_logits[index], outputs, f"{name}/pred_masks", **family.tolerance)
        compare_stored(batch.low_res_logits[index], outputs, f"{name}/decoder_low_res_masks", **family.tolerance)
        compare_stored(batch.pred_ious[index], outputs, f"{name}/decoder_iou_predictions", **family.tolerance)


def test_losses_agree(family: Family, trained: EvfSamOutput) -> None:
    assert trained.loss is not None
    for name, value in vars(trained.loss).items():
        compare_stored(value.reshape(1), family.golden.outputs, f"train/{name}", atol=1e-5, rtol=1e-5)


def test_gradients_and_their_norms_agree(family: Family, trained: EvfSamOutput) -> None:
    assert trained.loss is not None
    outputs, norms = family.golden.outputs, family.golden.grad_norms
    gradients = {name: p.grad for name, p in family.golden.model.named_parameters() if p.grad is not None}
    stored = [name for name in outputs if name.startswith("train/grad/")]
    assert stored
    for name in stored:
        compare_stored(gradients[name.removeprefix("train/grad/")], outputs, name, atol=1e-5, rtol=1e-3)
    ours = {name: gradient.norm().item() for name, gradient in gradients.items()}
    assert ours == pytest.approx({name: norms[name] for name in ours}, rel=2e-3, abs=1e-5)
    assert {name for name, norm in norms.items() if norm} <= set(ours)


def test_exactly_the_weights_of_the_recipe_train(family: Family, trained: EvfSamOutput) -> None:
    assert trained.loss is not None
    recipe = family.golden.facts["train"]
    assert isinstance(recipe, Mapping)
    prefixes = tuple(recipe["requires_grad_prefixes"])
    for name, parameter in family.golden.model.named_parameters():
        assert parameter.requires_grad == name.startswith(prefixes), name
