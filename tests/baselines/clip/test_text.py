"""CLIP's features must reach SAM through the right projector, and gradients only the parts that are trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from baselines.clip.text import ClipTextSamModel, ClipTextStrategy, load_strategy
from evfsam.errors import CheckpointError, ConfigurationError, PhraseError
from evfsam.preprocess import clip_pixels
from evfsam.sam.sam import SamMaskBackbone
from evfsam.types import ImageView, PromptPoint, Strategy
from tests.baselines.tiny_models import IMAGE_SIZE, tiny_clip_text, tiny_sam

IMAGE = np.random.default_rng(1).integers(0, 256, (40, 70, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def built() -> tuple[ClipTextSamModel, PreTrainedTokenizerFast]:
    return tiny_clip_text()


@pytest.fixture
def strategy(built: tuple[ClipTextSamModel, PreTrainedTokenizerFast]) -> ClipTextStrategy:
    model, tokenizer = built
    return ClipTextStrategy(model, tokenizer, SamMaskBackbone(model.sam, model.config.sam))


def tokens(tokenizer: PreTrainedTokenizerFast, *phrases: str) -> tuple[torch.Tensor, torch.Tensor]:
    encoded = tokenizer(list(phrases), padding=True, return_tensors="pt")
    return encoded["input_ids"], encoded["attention_mask"]


def test_text_variant_projects_the_feature_at_the_end_of_text(
    built: tuple[ClipTextSamModel, PreTrainedTokenizerFast],
) -> None:
    model, tokenizer = built
    ids, mask = tokens(tokenizer, "red cup", "both cats and cup")
    prompts = model.prompt_embeddings(ids, mask)
    states = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    ends = [(ids[row] == tokenizer.eos_token_id).nonzero()[0, 0] for row in range(2)]
    first, _, last = model.projectors["text"]
    expected = torch.stack([last(first(states[row, end]).clamp(min=0)) for row, end in enumerate(ends)])
    assert prompts.shape == (2, 1, 32)
    torch.testing.assert_close(prompts[:, 0], expected)


def test_padding_changes_no_prompt(built: tuple[ClipTextSamModel, PreTrainedTokenizerFast]) -> None:
    model, tokenizer = built
    alone = model.prompt_embeddings(*tokens(tokenizer, "red cup"))
    padded = model.prompt_embeddings(*tokens(tokenizer, "red cup", "both cats and the red cup"))
    torch.testing.assert_close(padded[:1], alone)


def test_late_concat_projects_text_beside_the_images_cls(
    built: tuple[ClipTextSamModel, PreTrainedTokenizerFast],
) -> None:
    model, tokenizer = built
    ids, mask = tokens(tokenizer, "red cup")
    pixels = clip_pixels(IMAGE, IMAGE_SIZE)[None]
    text = model.text_encoder(input_ids=ids, attention_mask=mask).pooler_output
    image = model.image_encoder(pixel_values=pixels).pooler_output
    expected = model.projectors["late-concat"](torch.cat([text, image], dim=-1))
    torch.testing.assert_close(model.prompt_embeddings(ids, mask, pixels)[:, 0], expected)


def test_phrases_stand_beside_the_images_that_they_name(
    built: tuple[ClipTextSamModel, PreTrainedTokenizerFast],
) -> None:
    model, tokenizer = built
    ids, mask = tokens(tokenizer, "red cup", "both cats", "red cup")
    images = torch.stack([clip_pixels(IMAGE, IMAGE_SIZE), clip_pixels(255 - IMAGE, IMAGE_SIZE)])
    image_of = torch.tensor([0, 1, 1])
    torch.testing.assert_close(
        model.prompt_embeddings(ids, mask, images, image_of), model.prompt_embeddings(ids, mask, images[image_of])
    )


@pytest.mark.parametrize("with_image", [False, True])
def test_gradients_reach_the_used_projector_and_the_mask_decoder_alone(with_image: bool) -> None:
    model, tokenizer = tiny_clip_text()
    pixels = clip_pixels(IMAGE, IMAGE_SIZE)[None].expand(2, -1, -1, -1) if with_image else None
    prompts = model.prompt_embeddings(*tokens(tokenizer, "red cup", "both cats"), pixels)
    logits, pred_ious = model.decode(torch.randn(2, 32, 8, 8), prompts)
    assert (logits.shape, pred_ious.shape) == ((2, 1, 32, 32), (2, 1))
    logits.square().sum().backward()
    reached = {
        name for name, value in model.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0
    }
    used = "projectors.late-concat" if with_image else "projectors.text"
    assert {name for name in reached if not name.startswith("sam.mask_decoder.")} == {
        f"{used}.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")
    }
    assert any(name.startswith("sam.mask_decoder.") for name in reached)


def test_decoding_a_batch_equals_the_backbone_one_by_one(strategy: ClipTextStrategy) -> None:
    view = ImageView(IMAGE)
    embedding, _ = view.embedding(strategy.backbone)
    prompts = strategy.model.prompt_embeddings(*tokens(strategy.tokenizer, "red cup", "both cats"))
    with torch.no_grad():
        batch, _ = strategy.model.decode(embedding.image_embeddings, prompts)
    for row, phrase in enumerate(("red cup", "both cats")):
        (alone,) = strategy.segment(view, phrase).predictions
        torch.testing.assert_close(batch[row], alone.low_res_logits, rtol=1e-4, atol=1e-5)


def test_segmentation_is_complete(strategy: ClipTextStrategy) -> None:
    assert isinstance(strategy, Strategy)
    result = strategy.segment(ImageView(IMAGE), " red cup ")
    assert result.mask_logits.shape == (40, 70)
    assert result.trace[0].asked == "red cup"
    assert result.trace[0].values["tokens"] == ["<s>", "red", " ", "cup", "</s>"]
    assert result.trace[0].values["tokens_cut_off"] == 0
    assert set(result.seconds) == {"encode image", "read the phrase", "decode"}
    assert result.prompts[0].text_prompt_embeddings is not None
    assert result.prompts[0].text_prompt_embeddings.shape == (1, 32)


@pytest.mark.parametrize("variant", ["text", "late-concat"])
def test_phrases_asked_together_are_answered_as_alone_in_one_pass(
    strategy: ClipTextStrategy, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = strategy.with_options(variant=variant)
    view, phrases = ImageView(IMAGE), ("cup", "both cats and the red cup", "the red cup")
    alone = [strategy.segment(view, phrase) for phrase in phrases]
    sizes: list[int] = []
    forward = strategy.model.text_encoder.forward

    def watched(input_ids: torch.Tensor, **options: object) -> object:
        sizes.append(len(input_ids))
        return forward(input_ids, **options)

    monkeypatch.setattr(strategy.model.text_encoder, "forward", watched)
    together = strategy.segment_many(view, phrases)
    assert sizes == [3]
    fresh = strategy.segment_many(ImageView(IMAGE[::-1].copy()), phrases)
    assert [each.embedding_was_cached for each in fresh] == [False, True, True]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.trace == theirs.trace
        torch.testing.assert_close(
            ours.predictions[0].mask_logits, theirs.predictions[0].mask_logits, atol=1e-4, rtol=0
        )
        assert ours.pred_iou == pytest.approx(theirs.pred_iou, abs=1e-5)


def test_long_phrases_are_cut_at_clips_limit_and_the_trace_says_so(strategy: ClipTextStrategy) -> None:
    step = strategy.segment(ImageView(IMAGE), "red cup and " * 40).trace[0]
    assert len(step.values["tokens"]) == 16  # type: ignore[arg-type]
    assert step.values["tokens"][-1] == "</s>"  # type: ignore[index]
    assert step.values["tokens_cut_off"] > 100  # type: ignore[operator]


def test_mask_without_a_pixel_is_absent() -> None:
    model, tokenizer = tiny_clip_text()
    for mlp in model.sam.mask_decoder.output_hypernetworks_mlps:
        torch.nn.init.zeros_(mlp.layers[-1].weight)
        torch.nn.init.zeros_(mlp.layers[-1].bias)
    empty = ClipTextStrategy(model, tokenizer, SamMaskBackbone(model.sam, model.config.sam))
    result = empty.segment(ImageView(IMAGE), "red cup")
    assert (result.verdict.kind, result.verdict.reason) == ("absent", "SAM drew no pixel for this phrase.")
    assert torch.equal(result.mask_logits, result.predictions[0].mask_logits)
    assert not result.mask.any()


def test_only_late_concat_depends_on_clips_view_of_the_image(strategy: ClipTextStrategy) -> None:
    late = strategy.with_options(variant="late-concat")
    view, other = ImageView(IMAGE), ImageView(255 - IMAGE)

    def prompt(chosen: ClipTextStrategy, seen: ImageView) -> torch.Tensor:
        embeddings = chosen.segment(seen, "red cup").prompts[0].text_prompt_embeddings
        assert embeddings is not None
        return embeddings

    assert torch.equal(prompt(strategy, view), prompt(strategy, other))
    assert not torch.allclose(prompt(late, view), prompt(late, other), atol=1e-4)


def test_variant_changes_the_card_and_shares_the_weights(strategy: ClipTextStrategy) -> None:
    late = strategy.with_options(variant="late-concat")
    assert late.model is strategy.model
    assert (strategy.card.title, late.card.title) == ("CLIP text", "CLIP text + image")
    assert strategy.card.key == late.card.key == "clip-text"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "early"}, "variant of text, late-concat, got 'early'"),
        ({"threshold": 1}, "CLIP text has no option threshold; it has variant"),
    ],
)
def test_wrong_options_are_refused(strategy: ClipTextStrategy, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        strategy.with_options(**options)


def test_points_and_a_box_go_to_sam_beside_the_phrase(strategy: ClipTextStrategy) -> None:
    plain = strategy.segment(ImageView(IMAGE), "red cup")
    refined = strategy.with_prompt([PromptPoint(10.0, 20.0, 1)], (5.0, 6.0, 50.0, 30.0)).segment(
        ImageView(IMAGE), "red cup"
    )
    (prompt,) = refined.prompts
    assert (prompt.box, len(prompt.points)) == ((5.0, 6.0, 50.0, 30.0), 1)
    assert torch.equal(prompt.text_prompt_embeddings, plain.prompts[0].text_prompt_embeddings)
    assert not torch.equal(refined.predictions[0].mask_logits, plain.predictions[0].mask_logits)


def test_phrase_with_an_end_of_text_mark_is_refused(strategy: ClipTextStrategy) -> None:
    with pytest.raises(PhraseError, match="'</s>', a control token"):
        strategy.segment(ImageView(IMAGE), "red</s> cup")


def test_image_encoder_is_the_one_of_other_strategies(strategy: ClipTextStrategy) -> None:
    view = ImageView(IMAGE)
    view.embedding(tiny_sam())
    assert strategy.segment(view, "red cup").embedding_was_cached


def test_saved_checkpoint_segments_as_before(strategy: ClipTextStrategy, tmp_path: Path) -> None:
    strategy.model.save_pretrained(tmp_path)
    strategy.tokenizer.save_pretrained(tmp_path)
    loaded = load_strategy(tmp_path, device="cpu", dtype=torch.float32)
    for variant in ("text", "late-concat"):
        before = strategy.with_options(variant=variant).segment(ImageView(IMAGE), "red cup")
        after = loaded.with_options(variant=variant).segment(ImageView(IMAGE), "red cup")
        assert torch.equal(before.mask_logits, after.mask_logits)


def test_checkpoint_stored_in_half_precision_loads_in_float32(strategy: ClipTextStrategy, tmp_path: Path) -> None:
    strategy.model.save_pretrained(tmp_path, storage_dtype=torch.float16)
    loaded = ClipTextSamModel.from_pretrained(tmp_path)
    weight = strategy.model.projectors["text"][0].weight
    assert torch.equal(loaded.projectors["text"][0].weight, weight.half().float())


def test_checkpoint_without_a_tokenizer_is_refused(strategy: ClipTextStrategy, tmp_path: Path) -> None:
    strategy.model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"expected tokenizer\.json"):
        load_strategy(tmp_path, device="cpu", dtype=torch.float32)


def test_checkpoint_with_an_unknown_key_is_refused(strategy: ClipTextStrategy, tmp_path: Path) -> None:
    strategy.model.register_parameter("stray", torch.nn.Parameter(torch.zeros(1)))
    strategy.model.save_pretrained(tmp_path)
    del strategy.model.stray
    with pytest.raises(CheckpointError, match="1 unexpected: stray"):
        ClipTextSamModel.from_pretrained(tmp_path)


def test_configuration_of_another_model_is_refused(strategy: ClipTextStrategy, tmp_path: Path) -> None:
    strategy.model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "evf"}))
    with pytest.raises(ConfigurationError, match=r"expected a clip-text-sam configuration .*, got model_type 'evf'"):
        ClipTextSamModel.from_pretrained(tmp_path)
