"""Each encoder of the ablations really fuses where its choice says, and nowhere else."""

from pathlib import Path

import pytest
import torch
from torch import nn

from evfsam.encoders.beit3 import Beit3Config
from evfsam.encoders.multimodal import EncoderChoice, EncoderOutput, MultimodalEncoder, build_encoder
from evfsam.encoders.sizes import ClipSizes, EncoderSizes, ViltSizes
from evfsam.errors import ConfigurationError
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from tests.evfsam.tiny import BEIT3, MAX_TOKENS, SAM

VILT = {
    "image_size": 32,
    "patch_size": 8,
    "vocab_size": 52,
    "embed_dim": 32,
    "head_count": 4,
    "ffn_dim": 64,
    "layer_count": 2,
    "text_position_count": MAX_TOKENS,
}
CLIP = {
    "image_size": 32,
    "patch_size": 8,
    "vocab_size": 52,
    "text_position_count": MAX_TOKENS,
    "text_embed_dim": 24,
    "text_head_count": 4,
    "text_ffn_dim": 48,
    "text_layer_count": 2,
    "vision_embed_dim": 32,
    "vision_head_count": 4,
    "vision_ffn_dim": 64,
    "vision_layer_count": 2,
}
SIZES: dict[str, EncoderSizes] = {
    "beit3": Beit3Config.from_dict(BEIT3),
    "vilt": ViltSizes.from_dict(VILT),
    "clip": ClipSizes.from_dict(CLIP),
}
CHOICES = [
    EncoderChoice("beit3"),
    EncoderChoice("beit3", fused_layers=1),
    EncoderChoice("beit3", feature="text_cls"),
    EncoderChoice("beit3", feature="mean"),
    EncoderChoice("beit3", feature="concat"),
    EncoderChoice("beit3", "late"),
    EncoderChoice("beit3", "text"),
    EncoderChoice("vilt"),
    EncoderChoice("vilt", fused_layers=1, feature="mean"),
    EncoderChoice("vilt", "late"),
    EncoderChoice("vilt", "text"),
    EncoderChoice("clip", "late"),
    EncoderChoice("clip", "text"),
]
FUSED = [choice for choice in CHOICES if choice.is_fused]
NAMED = {"ids": lambda choice: f"{choice.encoder}-{choice.fusion}-{choice.fused_layers}-{choice.feature}"}


def built(choice: EncoderChoice, seed: int = 0) -> MultimodalEncoder:
    """Build the encoder with weights large enough that every token leaves a trace in what attends to it."""
    generator = torch.Generator().manual_seed(seed)
    encoder: nn.Module = build_encoder(choice, SIZES[choice.encoder]).eval().requires_grad_(False)
    for name, parameter in encoder.named_parameters():
        is_norm = "norm" in name.lower() or "_ln" in name
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + (1.0 if is_norm else 0.0))
    return encoder


def inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(2, 3, 32, 32, generator=generator)
    return pixels, torch.randint(4, 52, (2, 6), generator=generator)


def changed_image(encoder: MultimodalEncoder) -> tuple[EncoderOutput, EncoderOutput]:
    pixels, ids = inputs()
    return encoder(pixels, ids, None, True), encoder(pixels.flip(0), ids, None, True)


def changed_phrase(encoder: MultimodalEncoder) -> tuple[EncoderOutput, EncoderOutput]:
    pixels, ids = inputs()
    return encoder(pixels, ids, None, True), encoder(pixels, ids.flip(0), None, True)


@pytest.mark.parametrize("choice", CHOICES, **NAMED)
def test_the_feature_has_the_width_that_the_projector_is_built_for(choice: EncoderChoice) -> None:
    feature = built(choice)(*inputs()).feature
    assert feature.shape == (2, choice.feature_width(SIZES[choice.encoder]))
    assert feature.isfinite().all()


@pytest.mark.parametrize("choice", FUSED, **NAMED)
def test_with_early_fusion_image_and_phrase_both_reach_the_feature(choice: EncoderChoice) -> None:
    for before, after in (changed_image(built(choice)), changed_phrase(built(choice))):
        assert (before.feature - after.feature).abs().amax(dim=1).min() > 1e-3


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice.fusion == "text"], **NAMED)
def test_text_alone_ignores_the_image_and_holds_no_weight_for_it(choice: EncoderChoice) -> None:
    encoder = built(choice)
    before, after = changed_image(encoder)
    assert torch.equal(before.feature, after.feature)
    assert before.vision_states.shape[1] == 0
    before, after = changed_phrase(encoder)
    assert (before.feature - after.feature).abs().amax(dim=1).min() > 1e-3
    names = [name for name, _ in encoder.named_parameters()]
    assert not [name for name in names if "vision" in name or "patch" in name or ".A." in name]


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice.fusion == "late"], **NAMED)
def test_late_fusion_keeps_image_and_phrase_apart_until_they_are_concatenated(choice: EncoderChoice) -> None:
    encoder = built(choice)
    vision_width = SIZES[choice.encoder].feature_widths[0]
    before, after = changed_phrase(encoder)
    torch.testing.assert_close(before.vision_states, after.vision_states, rtol=0, atol=1e-6)
    torch.testing.assert_close(before.feature[:, :vision_width], after.feature[:, :vision_width], rtol=0, atol=1e-6)
    assert (before.feature[:, vision_width:] - after.feature[:, vision_width:]).abs().amax(dim=1).min() > 1e-3
    before, after = changed_image(encoder)
    torch.testing.assert_close(before.text_states, after.text_states, rtol=0, atol=1e-6)
    assert (before.feature[:, :vision_width] - after.feature[:, :vision_width]).abs().amax(dim=1).min() > 1e-3


@pytest.mark.parametrize("encoder_name", ["beit3", "vilt"])
def test_after_the_fused_layers_nothing_crosses_between_image_and_phrase(encoder_name: str) -> None:
    """In the first layer each reads the other; in the second, what the first left of it is all there is."""
    encoder = built(EncoderChoice(encoder_name, fused_layers=1))
    output = encoder(*inputs(), attention_layers=range(2))
    first, second = output.attentions[0], output.attentions[1]
    vision_count = output.vision_states.shape[1]
    assert first[..., :vision_count, vision_count:].min() > 0
    assert first[..., vision_count:, :vision_count].min() > 0
    assert second[..., :vision_count, vision_count:].max() == 0
    assert second[..., vision_count:, :vision_count].max() == 0
    torch.testing.assert_close(second.sum(-1), torch.ones_like(second.sum(-1)))


@pytest.mark.parametrize("encoder_name", ["beit3", "vilt"])
def test_fusing_every_layer_by_number_is_fusing_all(encoder_name: str) -> None:
    by_number = built(EncoderChoice(encoder_name, fused_layers=2))(*inputs()).feature
    assert torch.equal(by_number, built(EncoderChoice(encoder_name))(*inputs()).feature)
    assert not torch.allclose(by_number, built(EncoderChoice(encoder_name, fused_layers=1))(*inputs()).feature)


@pytest.mark.parametrize("encoder_name", ["beit3", "vilt"])
def test_features_are_the_tokens_that_their_names_say(encoder_name: str) -> None:
    def feature(name: str) -> torch.Tensor:
        return built(EncoderChoice(encoder_name, feature=name))(*inputs()).feature

    states = built(EncoderChoice(encoder_name))(*inputs())
    assert states.vision_states.shape[1:] == (17, 32)
    torch.testing.assert_close(feature("cls"), states.vision_states[:, 0])
    torch.testing.assert_close(feature("text_cls"), states.text_states[:, 0])
    torch.testing.assert_close(feature("mean"), states.vision_states[:, 1:].mean(dim=1))
    torch.testing.assert_close(feature("concat"), torch.cat([feature("cls"), feature("text_cls")], dim=1))


@pytest.mark.parametrize("choice", CHOICES, **NAMED)
def test_padding_is_not_read(choice: EncoderChoice) -> None:
    encoder = built(choice)
    pixels, ids = inputs()
    padding = torch.tensor([[False] * 4 + [True] * 2] * 2)
    padded = encoder(pixels, ids, padding).feature
    torch.testing.assert_close(padded, encoder(pixels, ids[:, :4]).feature, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("choice", CHOICES, **NAMED)
def test_one_image_serves_all_phrases(choice: EncoderChoice) -> None:
    encoder = built(choice)
    pixels, ids = inputs()
    together = encoder(pixels[:1], ids).feature
    apart = torch.cat([encoder(pixels[:1], row[None]).feature for row in ids])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("choice", CHOICES, **NAMED)
def test_attention_is_recorded_where_the_encoder_is_fused_and_absent_elsewhere(choice: EncoderChoice) -> None:
    attentions = built(choice)(*inputs(), attention_layers=range(2)).attentions
    assert sorted(attentions) == ([0, 1] if choice.is_fused else [])
    assert all(kept.shape == (2, 4, 23, 23) for kept in attentions.values())


def test_vilt_agrees_with_the_class_of_transformers() -> None:
    encoder = built(EncoderChoice("vilt"))
    pixels, ids = inputs()
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    ours = encoder(pixels, ids, mask == 0)
    theirs = encoder.vilt(input_ids=ids, pixel_values=pixels, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours.vision_states[:, 0], theirs[:, 6], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.text_states[0], theirs[0, :6], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.vision_states.mean(dim=1), theirs[:, 6:].mean(dim=1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("choice", CHOICES, **NAMED)
def test_what_was_seen_in_an_image_stands_for_its_pixels(choice: EncoderChoice) -> None:
    sizes = {"beit3": BEIT3, "vilt": VILT, "clip": CLIP}[choice.encoder]
    fields = {"fusion": choice.fusion, "fused_layers": choice.fused_layers, "feature": choice.feature}
    model = EvfSamModel(EvfSamConfig(**{choice.encoder: sizes}, encoder=choice.encoder, sam=SAM, **fields)).eval()
    pixels, ids = inputs()
    with torch.no_grad():
        assert torch.equal(model.fuse(model.look(pixels), ids)[0], model.fuse(pixels, ids)[0])
        one = model.look(pixels[:1])
        assert torch.equal(model.fuse(one, ids)[0], model.fuse(pixels[:1], ids)[0])


@pytest.mark.parametrize("choice", CHOICES, **NAMED)
def test_a_model_of_every_choice_comes_back_from_disk(choice: EncoderChoice, tmp_path: Path) -> None:
    sizes = {"beit3": BEIT3, "vilt": VILT, "clip": CLIP}[choice.encoder]
    fields = {"fusion": choice.fusion, "fused_layers": choice.fused_layers, "feature": choice.feature}
    config = EvfSamConfig(**{choice.encoder: sizes}, encoder=choice.encoder, sam=SAM, **fields)
    model = EvfSamModel(config).eval()
    model.save_pretrained(tmp_path)
    loaded = EvfSamModel.from_pretrained(tmp_path)
    assert loaded.config.encoder_choice == choice
    for (name, ours), theirs in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    with torch.no_grad():
        assert torch.equal(model.fuse(*inputs())[0], loaded.fuse(*inputs())[0])


@pytest.mark.parametrize(
    ("fusion", "millions"), [("early", 673), ("late", 673), ("text", 370)], ids=["early", "late", "text"]
)
def test_beit3_large_has_as_many_parameters_as_the_paper_says(fusion: str, millions: int) -> None:
    with torch.device("meta"):
        encoder = build_encoder(EncoderChoice("beit3", fusion), Beit3Config())
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(("fusion", "millions"), [("late", 428), ("text", 123)], ids=["late", "text"])
def test_clip_large_has_as_many_parameters_as_the_paper_says(fusion: str, millions: int) -> None:
    with torch.device("meta"):
        encoder = build_encoder(EncoderChoice("clip", fusion), ClipSizes())
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder": "clip"}, "CLIP has no early fusion"),
        ({"encoder": "bert"}, "expected encoder to be one of beit3, vilt, clip, got 'bert'"),
        ({"fusion": "middle"}, "expected fusion to be one of early, late, text, got 'middle'"),
        ({"fusion": "late", "feature": "cls"}, "feature to be one of concat with fusion 'late', got 'cls'"),
        ({"fusion": "text", "fused_layers": 1}, "fused_layers is for early fusion, got fusion 'text'"),
        ({"fused_layers": 0}, "expected fused_layers of 1 or more, got 0; without any, use fusion 'late'"),
        ({"fused_layers": 3}, "expected fused_layers up to 2, the encoder's layers, got 3"),
        ({"feature": "max"}, "feature to be one of cls, text_cls, mean, concat"),
        ({"vilt": VILT}, "vilt given, but the encoder is 'beit3'"),
        ({"encoder": "vilt"}, "beit3 given, but the encoder is 'vilt'"),
        ({"feature": "concat", "hidden_size": 32}, "hidden_size 64, which is the width of the encoder's feature"),
    ],
)
def test_choices_that_do_not_fit_together_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EvfSamConfig(**{"beit3": BEIT3, "sam": SAM, **fields})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("vilt", {"embed_dim": 30}, "Vilt: embed_dim 30 is not a multiple of head_count 4"),
        ("vilt", {"layers": 2}, r"unknown fields \['layers'\]"),
        ("clip", {"text_layer_count": 0}, "Clip: expected text_layer_count above 0, got 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name: str, change: dict[str, int], message: str) -> None:
    kind, values = (ViltSizes, VILT) if name == "vilt" else (ClipSizes, CLIP)
    with pytest.raises(ConfigurationError, match=message):
        kind.from_dict({**values, **change})


@pytest.mark.parametrize("choice", [EncoderChoice("beit3"), EncoderChoice("vilt"), EncoderChoice("clip", "late")])
@pytest.mark.parametrize(
    ("pixels", "ids", "message"),
    [
        ((2, 3, 32, 16), (2, 4), r"images \(B, 3, 32, 32\), got \(2, 3, 32, 16\)"),
        ((2, 3, 32, 32), (3, 4), r"token ids \(2, T\), got \(3, 4\)"),
        ((1, 3, 32, 32), (1, 39), "at most 38 tokens, got 39"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    choice: EncoderChoice, pixels: tuple[int, ...], ids: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        built(choice)(torch.zeros(pixels), torch.full(ids, 5))
