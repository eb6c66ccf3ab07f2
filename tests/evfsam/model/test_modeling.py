import json
from pathlib import Path

import pytest
import torch

from evfsam.errors import CheckpointError, ConfigurationError, GeometryError
from evfsam.geometry import Frame, longest_side_frame
from evfsam.model.modeling import EvfSamModel, LossWeights
from evfsam.weights.checkpoint_files import read_weights, save_weights
from tests.evfsam.tiny import tiny_model

WEIGHTS = LossWeights(bce=2.0, dice=0.5)


def batch(count: int = 2, length: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[Frame]]:
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(count, 32, 8, 8, generator=generator),
        torch.randn(count, 3, 32, 32, generator=generator),
        torch.randint(4, 52, (count, length), generator=generator),
        [longest_side_frame((20 + index, 40), 64) for index in range(count)],
    )


def test_fresh_weights_stay_as_the_constructors_made_them() -> None:
    """transformers draws weights anew after construction unless told otherwise."""
    fresh = tiny_model(seed=5)
    assert all(value.isfinite().all() for value in fresh.state_dict().values())
    linear = fresh.mm_extractor.beit3.encoder.layers[0].ffn.A.fc1.weight
    assert 0.01 < linear.std() < 0.02
    assert linear.abs().max() <= 0.02
    assert fresh.mm_extractor.beit3.text_embed.weight.std().item() == pytest.approx(0.3, rel=0.1)


def test_a_saved_model_comes_back_whole(model: EvfSamModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = EvfSamModel.from_pretrained(tmp_path)
    assert not loaded.training
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()), rtol=0, atol=0)
    torch.testing.assert_close(loaded.visual_model.pixel_mean.flatten(), torch.tensor([123.675, 116.28, 103.53]))
    torch.testing.assert_close(loaded.visual_model.pixel_std.flatten(), torch.tensor([58.395, 57.12, 57.375]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_float16_storage_is_loaded_into_the_asked_type(model: EvfSamModel, dtype: torch.dtype, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, storage_dtype=torch.float16)
    assert {value.dtype for value in read_weights(tmp_path).values()} == {torch.float16}
    loaded = EvfSamModel.from_pretrained(tmp_path, dtype=dtype)
    assert loaded.dtype == dtype
    assert loaded.visual_model.prompt_encoder.no_mask_embed.weight.dtype == torch.float32
    embeddings, pixels, ids, frames = batch()
    output = loaded(embeddings, pixels, ids, frames)
    assert all(logits.dtype == torch.float32 for logits in output.mask_logits)


@pytest.mark.parametrize(
    ("drop", "add", "message"),
    [
        ("text_hidden_fcs.0.2.bias", None, r"1 missing: text_hidden_fcs\.0\.2\.bias"),
        (None, "visual_model.extra", r"1 unexpected: visual_model\.extra"),
    ],
)
def test_keys_must_fit_exactly(
    model: EvfSamModel, drop: str | None, add: str | None, message: str, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    tensors = read_weights(tmp_path)
    if drop:
        del tensors[drop]
    if add:
        tensors[add] = torch.zeros(1)
    save_weights(tmp_path, tensors)
    with pytest.raises(CheckpointError, match=message):
        EvfSamModel.from_pretrained(tmp_path)


def test_mis_shaped_weights_are_named(model: EvfSamModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    values["beit3"]["vocab_size"] = 60
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"text_embed\.weight \(expected \(60, 32\), got \(52, 32\)\)"):
        EvfSamModel.from_pretrained(tmp_path)


def test_unknown_options_are_refused(model: EvfSamModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown options \['torch_dtype'\]"):
        EvfSamModel.from_pretrained(tmp_path, torch_dtype=torch.float16)
    with pytest.raises(ConfigurationError, match=r"unknown options \['max_shard_size'\]"):
        model.save_pretrained(tmp_path, max_shard_size="1GB")


def test_asking_for_attention_changes_no_logit(model: EvfSamModel) -> None:
    embeddings, pixels, ids, _ = batch()
    plain, _ = model.fuse(pixels, ids)
    asked, output = model.fuse(pixels, ids, attention_layers=range(2), output_hidden_states=True)
    assert sorted(output.attentions) == [0, 1]
    assert torch.equal(plain, asked)
    assert torch.equal(model.decode(embeddings, plain)[0], model.decode(embeddings, asked)[0])


def test_padding_is_masked_unless_told_otherwise(model: EvfSamModel) -> None:
    _, pixels, ids, _ = batch()
    alone, _ = model.fuse(pixels, ids[:, :4])
    padded_ids = ids.clone()
    padded_ids[:, 4:] = model.config.pad_token_id
    masked, _ = model.fuse(pixels, padded_ids)
    torch.testing.assert_close(masked, alone, atol=1e-5, rtol=1e-4)
    by_mask, _ = model.fuse(pixels, ids, attention_mask=torch.tensor([[1, 1, 1, 1, 0, 0]] * 2))
    torch.testing.assert_close(by_mask, alone, atol=1e-5, rtol=1e-4)
    as_words, _ = model.fuse(pixels, padded_ids, mask_padding=False)
    assert not torch.allclose(as_words, alone, atol=1e-4)


def test_an_offset_hands_each_image_its_phrases(model: EvfSamModel) -> None:
    embeddings, pixels, ids, frames = batch()
    ids = torch.cat([ids, ids[:1].flip(1)])
    output = model(embeddings, pixels, ids, frames, offset=[0, 2, 3])
    assert [tuple(logits.shape) for logits in output.mask_logits] == [(2, 20, 40), (1, 21, 40)]
    alone = model(embeddings[1:], pixels[1:], ids[2:], frames[1:])
    torch.testing.assert_close(output.mask_logits[1], alone.mask_logits[0], atol=1e-5, rtol=1e-4)


def test_several_phrases_on_one_image_need_no_offset(model: EvfSamModel) -> None:
    embeddings, pixels, ids, frames = batch()
    output = model(embeddings[:1], pixels[:1], ids, frames[:1])
    assert output.mask_logits[0].shape == (2, 20, 40)


def test_multimask_takes_the_highest_predicted_iou(model: EvfSamModel) -> None:
    embeddings, pixels, ids, frames = batch()
    output = model(embeddings, pixels, ids, frames, multimask=True)
    for logits, low_res, ious, frame in zip(
        output.mask_logits, output.low_res_logits, output.pred_ious, frames, strict=True
    ):
        assert low_res.shape[1] == 3
        best = low_res[:, int(ious[0].argmax())][:, None]
        up = torch.nn.functional.interpolate(best, (64, 64), mode="bilinear")[..., : frame.input_size[0], :]
        expected = torch.nn.functional.interpolate(up, frame.original_size, mode="bilinear")[:, 0]
        torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("offset", [[0, 1], [0, 1, 3], [0, 2, 2], [1, 1, 2], [0, 0, 2]])
def test_offsets_that_do_not_fit_are_refused(model: EvfSamModel, offset: list[int]) -> None:
    with pytest.raises(GeometryError, match="offset of 3 rising numbers from 0 to 2"):
        model(*batch(), offset=offset)


def test_batches_of_different_length_are_refused(model: EvfSamModel) -> None:
    embeddings, pixels, ids, frames = batch()
    with pytest.raises(GeometryError, match="expected 2 image embeddings and encoder images, got 1 and 2"):
        model(embeddings[:1], pixels, ids, frames)


def test_targets_need_loss_weights(model: EvfSamModel) -> None:
    embeddings, pixels, ids, frames = batch()
    targets = [torch.ones(1, *frame.original_size) for frame in frames]
    with pytest.raises(ConfigurationError, match="targets need loss_weights"):
        model(embeddings, pixels, ids, frames, targets=targets)


@pytest.mark.parametrize("autocast", [False, True])
def test_training_moves_the_named_parts_only(autocast: bool) -> None:
    model = tiny_model()
    model.set_trainable(mask_decoder=False, no_mask_embedding=True)
    embeddings, pixels, ids, frames = batch()
    targets = [torch.ones(1, *frame.original_size) for frame in frames]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = model(embeddings, pixels, ids, frames, targets=targets, loss_weights=WEIGHTS)
    assert output.loss is not None
    output.loss.loss.backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved >= {"text_hidden_fcs.0.0.weight", "visual_model.prompt_encoder.no_mask_embed.weight"}
    assert not any(name.startswith(("visual_model.mask_decoder", "visual_model.image_encoder")) for name in moved)
    model.set_trainable(mask_decoder=True, no_mask_embedding=False)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "visual_model.mask_decoder.iou_token.weight" in trainable
    assert "visual_model.prompt_encoder.no_mask_embed.weight" not in trainable
    assert "visual_model.image_encoder.pos_embed" not in trainable


def test_images_are_encoded_without_a_graph(model: EvfSamModel) -> None:
    pixels = torch.randn(2, 3, 64, 64)
    embeddings = tiny_model().encode_image_features(pixels).image_embeddings
    assert not embeddings.requires_grad
    torch.testing.assert_close(
        embeddings[1:], model.encode_image_features(pixels[1:]).image_embeddings, atol=1e-5, rtol=1e-4
    )
