"""Two images with three phrases: padded batches with and without masks, losses and gradients."""

from collections.abc import Mapping

import pytest
import torch

from evfsam.model.modeling import EvfSamOutput, LossWeights
from tests.parity.golden_outputs import EMBEDDING_TOLERANCE, LOGIT_TOLERANCE, Golden, compare_stored


def _forward(sam1: Golden, *, with_targets: bool) -> EvfSamOutput:
    prepared = [sam1.sam_input(letter) for letter in "ab"]
    weights = sam1.facts["train"]
    assert isinstance(weights, Mapping)
    return sam1.model(
        sam1.model.encode_image_features(torch.stack([pixels for pixels, _ in prepared])).image_embeddings,
        torch.stack([sam1.encoder_input(letter) for letter in "ab"]),
        sam1.inputs["batch_input_ids"],
        [frame for _, frame in prepared],
        offset=sam1.inputs["batch_offset"].tolist(),
        attention_mask=sam1.inputs["batch_attention_masks"],
        targets=[sam1.inputs[f"batch_gt_masks_{letter}"] for letter in "ab"] if with_targets else None,
        loss_weights=LossWeights(weights["bce_loss_weight"], weights["dice_loss_weight"]) if with_targets else None,
    )


@pytest.fixture(scope="module")
def batch(sam1: Golden) -> EvfSamOutput:
    with torch.no_grad():
        return _forward(sam1, with_targets=False)


@pytest.fixture(scope="module")
def trained(sam1: Golden) -> EvfSamOutput:
    weights = sam1.facts["train"]
    assert isinstance(weights, Mapping)
    sam1.model.set_trainable(
        mask_decoder=weights["train_mask_decoder"], no_mask_embedding=weights["train_prompt_encoder"]
    )
    sam1.model.zero_grad()
    output = _forward(sam1, with_targets=True)
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


def test_masks_of_the_batch_agree(sam1: Golden, batch: EvfSamOutput) -> None:
    for index in range(2):
        name = f"batch/image{index}"
        assert list(batch.mask_logits[index].shape) == sam1.outputs[f"{name}/pred_masks_shape"].tolist()
        compare_stored(batch.mask_logits[index], sam1.outputs, f"{name}/pred_masks", **LOGIT_TOLERANCE)
        compare_stored(batch.low_res_logits[index], sam1.outputs, f"{name}/decoder_low_res_masks", **LOGIT_TOLERANCE)
        compare_stored(batch.pred_ious[index], sam1.outputs, f"{name}/decoder_iou_predictions", **LOGIT_TOLERANCE)


def test_losses_agree(sam1: Golden, trained: EvfSamOutput) -> None:
    assert trained.loss is not None
    for name, value in vars(trained.loss).items():
        compare_stored(value.reshape(1), sam1.outputs, f"train/{name}", atol=1e-5, rtol=1e-5)


def test_gradients_agree(sam1: Golden, trained: EvfSamOutput) -> None:
    assert trained.loss is not None
    parameters = dict(sam1.model.named_parameters())
    stored = [name for name in sam1.outputs if name.startswith("train/grad/")]
    assert stored
    for name in stored:
        gradient = parameters[name.removeprefix("train/grad/")].grad
        assert gradient is not None
        compare_stored(gradient, sam1.outputs, name, atol=1e-5, rtol=1e-3)


def test_gradient_norms_of_all_trained_weights_agree(sam1: Golden, trained: EvfSamOutput) -> None:
    assert trained.loss is not None
    parameters = dict(sam1.model.named_parameters())
    ours = {name: p.grad.norm().item() for name, p in parameters.items() if p.grad is not None}
    assert ours == pytest.approx({name: sam1.grad_norms[name] for name in ours}, rel=2e-3, abs=1e-5)
    assert {name for name, norm in sam1.grad_norms.items() if norm} <= set(ours)


def test_exactly_the_weights_of_the_recipe_train(sam1: Golden, trained: EvfSamOutput) -> None:
    assert trained.loss is not None
    weights = sam1.facts["train"]
    assert isinstance(weights, Mapping)
    prefixes = tuple(weights["requires_grad_prefixes"])
    for name, parameter in sam1.model.named_parameters():
        assert parameter.requires_grad == name.startswith(prefixes), name
