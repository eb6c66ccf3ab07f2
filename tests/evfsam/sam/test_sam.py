from dataclasses import replace
from pathlib import Path

import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling.transformer import Attention

from evfsam.errors import CheckpointError, ConfigurationError, GeometryError
from evfsam.model.modeling import EvfSamModel
from evfsam.sam.sam import ImageToTokenAttention, SamConfig, SamMaskBackbone, build_sam, decode_prompts
from evfsam.types import ImageEmbedding, PromptPoint, SamPrompt
from tests.evfsam.tiny import SAM, noise_image, tiny_model

CONFIG = SamConfig.from_dict(SAM)


def build(seed: int = 0, config: SamConfig = CONFIG) -> SamMaskBackbone:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SamMaskBackbone(build_sam(config).requires_grad_(False), config)


@pytest.fixture(scope="module")
def backbone() -> SamMaskBackbone:
    return build()


@pytest.fixture(scope="module")
def embedding(backbone: SamMaskBackbone) -> ImageEmbedding:
    return backbone.encode_image(noise_image(30, 50))


def test_whole_coordinates_mean_what_fractions_mean(backbone: SamMaskBackbone, embedding: ImageEmbedding) -> None:
    whole = SamPrompt(points=(PromptPoint(13, 21, 1),), box=(1, 2, 20, 25))
    fractions = SamPrompt(points=(PromptPoint(13.0, 21.0, 1),), box=(1.0, 2.0, 20.0, 25.0))
    expected = backbone.decode(embedding, fractions, multimask=False).mask_logits
    assert torch.equal(backbone.decode(embedding, whole, multimask=False).mask_logits, expected)


@pytest.mark.parametrize(
    ("image_size", "patch_size"), [(64, 16), (64, 8), (256, 16), (48, 8)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("multimask", [False, True])
def test_any_image_and_patch_size_works(image_size: int, patch_size: int, multimask: bool) -> None:
    backbone = build(config=replace(CONFIG, image_size=image_size, vit_patch_size=patch_size))
    embedding = backbone.encode_image(noise_image(30, 50))
    side = image_size // patch_size
    assert embedding.image_embeddings.shape == (1, 32, side, side)
    prediction = backbone.decode(embedding, SamPrompt(box=(1, 2, 20, 25)), multimask=multimask)
    assert prediction.low_res_logits.shape == (3 if multimask else 1, 4 * side, 4 * side)
    assert prediction.mask_logits.shape == (30, 50)
    assert prediction.mask_logits.isfinite().all()


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (1, 1)])
def test_extreme_images_are_segmented(backbone: SamMaskBackbone, size: tuple[int, int]) -> None:
    embedding = backbone.encode_image(noise_image(*size))
    prompt = SamPrompt(text_prompt_embeddings=torch.ones(1, 32))
    assert backbone.decode(embedding, prompt, multimask=False).mask_logits.shape == size


def test_points_and_boxes_reach_sam_as_its_own_predictor_sends_them(backbone: SamMaskBackbone) -> None:
    """SAM's predictor takes pixel indices, ours continuous coordinates: index i is i + 0.5 before the last shift."""
    image = noise_image(64, 64)  # fills the frame, so that scaling adds nothing
    predictor = SamPredictor(backbone.sam)
    predictor.set_image(image)
    points = torch.tensor([[10.0, 20.0], [40.0, 5.0]])
    box = torch.tensor([3.0, 4.0, 50.0, 60.0])
    theirs, their_ious, _ = predictor.predict(
        points.numpy(), torch.tensor([1, 0]).numpy(), box.numpy(), None, True, True
    )
    prompt = SamPrompt(
        box=tuple((box + 0.5).tolist()),
        points=tuple(
            PromptPoint(x + 0.5, y + 0.5, label) for (x, y), label in zip(points.tolist(), (1, 0), strict=True)
        ),
    )
    ours = backbone.decode(backbone.encode_image(image), prompt, multimask=True)
    torch.testing.assert_close(ours.pred_ious, torch.from_numpy(their_ious), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.mask_logits, torch.from_numpy(theirs[ours.chosen]), atol=1e-4, rtol=1e-4)


def test_the_decoders_attention_to_tokens_is_the_published_one_up_to_rounding(backbone: SamMaskBackbone) -> None:
    blocks = backbone.sam.mask_decoder.transformer.layers
    assert [type(block.cross_attn_image_to_token) for block in blocks] == [ImageToTokenAttention] * len(blocks)
    ours = blocks[0].cross_attn_image_to_token
    published = Attention(ours.embedding_dim, ours.num_heads, downsample_rate=2)
    published.load_state_dict(ours.state_dict())
    q, k, v = (torch.randn(3, count, ours.embedding_dim, generator=torch.manual_seed(count)) for count in (64, 7, 7))
    torch.testing.assert_close(ours(q, k, v), published(q, k, v), rtol=0, atol=1e-6)


def test_dropped_points_never_reach_sam(backbone: SamMaskBackbone, embedding: ImageEmbedding) -> None:
    kept = PromptPoint(10, 10, 1)
    dropped = PromptPoint(20, 20, 1, is_kept=False)
    with_both = backbone.decode(embedding, SamPrompt(points=(kept, dropped)), multimask=False)
    with_one = backbone.decode(embedding, SamPrompt(points=(kept,)), multimask=False)
    assert torch.equal(with_both.mask_logits, with_one.mask_logits)


def test_every_part_of_a_prompt_counts(backbone: SamMaskBackbone, embedding: ImageEmbedding) -> None:
    text, point, box = torch.ones(2, 32), PromptPoint(10, 10, 1), (1.0, 2.0, 20.0, 25.0)
    prompts = [
        SamPrompt(text_prompt_embeddings=text),
        SamPrompt(points=(point,)),
        SamPrompt(points=(PromptPoint(10, 10, 0),)),
        SamPrompt(box=box),
        SamPrompt(box=box, points=(point,)),
        SamPrompt(box=box, points=(point,), text_prompt_embeddings=text),
    ]
    masks = [backbone.decode(embedding, prompt, multimask=False).mask_logits for prompt in prompts]
    for index, mask in enumerate(masks):
        assert not any(torch.allclose(mask, other, atol=1e-6) for other in masks[:index])


def test_the_candidate_with_the_highest_predicted_iou_is_chosen(
    backbone: SamMaskBackbone, embedding: ImageEmbedding
) -> None:
    prediction = backbone.decode(embedding, SamPrompt(box=(1, 2, 20, 25)), multimask=True)
    assert prediction.chosen == int(prediction.pred_ious.argmax())
    assert prediction.pred_iou == prediction.pred_ious.max()


def test_prompts_can_lie_on_different_images_of_a_batch(backbone: SamMaskBackbone) -> None:
    embeddings = torch.cat([backbone.encode_image(noise_image(64, 64, seed)).image_embeddings for seed in range(3)])
    prompts = torch.randn(3, 1, 32, generator=torch.Generator().manual_seed(0))
    logits, ious = decode_prompts(backbone.sam, embeddings, prompts, multimask=False)
    for index in range(3):
        one, one_iou = decode_prompts(
            backbone.sam, embeddings[index : index + 1], prompts[index : index + 1], multimask=False
        )
        torch.testing.assert_close(logits[index : index + 1], one, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ious[index : index + 1], one_iou, atol=1e-5, rtol=1e-4)


def test_a_batch_of_images_that_fits_no_prompts_is_refused(backbone: SamMaskBackbone) -> None:
    with pytest.raises(GeometryError, match="1 or 3 image embeddings, got 2"):
        decode_prompts(backbone.sam, torch.zeros(2, 32, 8, 8), torch.zeros(3, 1, 32), multimask=False)


def test_gradients_flow_to_the_prompt_under_autocast(backbone: SamMaskBackbone, embedding: ImageEmbedding) -> None:
    prompts = torch.ones(1, 1, 32, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = decode_prompts(backbone.sam, embedding.image_embeddings, prompts, multimask=False)
    logits.float().sum().backward()
    assert prompts.grad is not None
    assert prompts.grad.abs().sum() > 0


def test_positions_stay_exact_under_autocast(
    backbone: SamMaskBackbone, embedding: ImageEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 the sines of large angles are noise; training would learn other positions than are used later."""
    exact = backbone.sam.prompt_encoder.get_dense_pe()
    seen = []
    original = backbone.sam.prompt_encoder.get_dense_pe
    monkeypatch.setattr(backbone.sam.prompt_encoder, "get_dense_pe", lambda: seen.append(original()) or seen[-1])
    with torch.autocast("cpu", torch.bfloat16):
        decode_prompts(backbone.sam, embedding.image_embeddings, torch.ones(1, 1, 32), multimask=False)
    assert torch.equal(seen[0], exact)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (SamPrompt(), "got an empty prompt"),
        (SamPrompt(points=(PromptPoint(3, 3, 1, is_kept=False),)), "got an empty prompt"),
        (SamPrompt(box=(0, 0, 51, 10)), "inside the 50 x 30 image"),
        (SamPrompt(points=(PromptPoint(3, 31, 1),)), "inside the 50 x 30 image"),
        (SamPrompt(text_prompt_embeddings=torch.ones(1, 16)), r"text embeddings \(N, 32\), got \(1, 16\)"),
        (SamPrompt(text_prompt_embeddings=torch.ones(32)), r"text embeddings \(N, 32\), got \(32,\)"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(
    backbone: SamMaskBackbone, embedding: ImageEmbedding, prompt: SamPrompt, message: str
) -> None:
    with pytest.raises(GeometryError, match=message):
        backbone.decode(embedding, prompt, multimask=False)


def test_another_encoders_embedding_is_refused(embedding: ImageEmbedding) -> None:
    with pytest.raises(GeometryError, match="another encoder's"):
        build(seed=1).decode(embedding, SamPrompt(box=(1, 2, 20, 25)), multimask=False)


def test_identity_is_the_encoders_alone() -> None:
    one, other = build(), build()
    assert one.encoder_identity == other.encoder_identity
    decoder_changed = build()
    decoder_changed.sam.mask_decoder.iou_token.weight += 1
    assert decoder_changed.encoder_identity == one.encoder_identity
    encoder_changed = build()
    encoder_changed.sam.image_encoder.pos_embed[0, 0, 0, 0] += 1
    assert encoder_changed.encoder_identity != one.encoder_identity
    regrouped = build(config=replace(CONFIG, window_size=0, encoder_global_attn_indexes=()))
    assert regrouped.encoder_identity != one.encoder_identity


def test_two_float16_copies_of_one_encoder_share_their_identity(tmp_path: Path) -> None:
    first, second = build(), build()
    second.sam.mask_decoder.iou_token.weight += 1
    for name, backbone in (("a", first), ("b", second)):
        backbone.save_pretrained(tmp_path / name, storage_dtype=torch.float16)
    loaded = [SamMaskBackbone.from_pretrained(tmp_path / name) for name in "ab"]
    assert loaded[0].encoder_identity == loaded[1].encoder_identity
    half = SamMaskBackbone.from_pretrained(tmp_path / "a", dtype=torch.bfloat16)
    assert half.encoder_identity != loaded[0].encoder_identity


def test_a_saved_backbone_segments_alike(backbone: SamMaskBackbone, embedding: ImageEmbedding, tmp_path: Path) -> None:
    backbone.save_pretrained(tmp_path)
    loaded = SamMaskBackbone.from_pretrained(tmp_path)
    assert loaded.config == backbone.config
    prompt = SamPrompt(box=(1, 2, 20, 25), points=(PromptPoint(5, 5, 1),))
    again = loaded.encode_image(noise_image(30, 50))
    assert torch.equal(
        loaded.decode(again, prompt, multimask=True).mask_logits,
        backbone.decode(embedding, prompt, multimask=True).mask_logits,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_answers_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    build().save_pretrained(tmp_path)
    loaded = SamMaskBackbone.from_pretrained(tmp_path, dtype=dtype)
    embedding = loaded.encode_image(noise_image(30, 50))
    assert embedding.image_embeddings.dtype == dtype
    prediction = loaded.decode(embedding, SamPrompt(box=(1, 2, 20, 25)), multimask=True)
    assert (
        prediction.low_res_logits.dtype == prediction.pred_ious.dtype == prediction.mask_logits.dtype == torch.float32
    )


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    build().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"iou_head_hidden_dim": 32', '"iou_head_hidden_dim": 16'))
    with pytest.raises(CheckpointError, match=r"5 mis-shaped: mask_decoder\.iou_prediction_head"):
        SamMaskBackbone.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 60}, "image_size 60 is not a positive multiple of 8"),
        ({"prompt_embed_dim": 36}, "prompt_embed_dim 36 is not a positive multiple of 8"),
        ({"decoder_num_heads": 3}, "half of prompt_embed_dim 16 is not a positive multiple of 3"),
        ({"encoder_global_attn_indexes": [2]}, r"global blocks below 2, got \[2\]"),
        ({"sides": 3}, r"unknown fields \['sides'\]"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SamConfig.from_dict({**SAM, **change})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_some_parts_stay_float32_unrounded_and_every_loader_agrees(dtype: torch.dtype, tmp_path: Path) -> None:
    """Were one loader to round the neck, two strategies on one SAM would each encode the image."""
    model = tiny_model()
    model.save_pretrained(tmp_path / "evf")
    whole = SamMaskBackbone(model.visual_model, CONFIG)
    whole.save_pretrained(tmp_path / "sam")
    alone = SamMaskBackbone.from_pretrained(tmp_path / "sam", dtype=dtype)
    within = EvfSamModel.from_pretrained(tmp_path / "evf", dtype=dtype).mask_backbone()
    assert alone.encoder_identity == within.encoder_identity
    for part in SamMaskBackbone.float32_parts:
        for ours, exact in zip(
            alone.sam.get_submodule(part).parameters(), whole.sam.get_submodule(part).parameters(), strict=True
        ):
            assert torch.equal(ours, exact)
    assert alone.sam.image_encoder.pos_embed.dtype == dtype
    assert alone.encode_image(noise_image(30, 50)).image_embeddings.dtype == dtype


def test_prompts_decoded_together_are_decoded_as_alone(backbone: SamMaskBackbone, embedding: ImageEmbedding) -> None:
    prompts = [SamPrompt(box=(1, 2, 20 + 5 * index, 25)) for index in range(3)]
    prompts.insert(1, SamPrompt(points=(PromptPoint(5, 5, 1),) * 2))  # of another length
    together = backbone.decode_many(embedding, prompts, multimask=True)
    for prompt, ours in zip(prompts, together, strict=True):
        alone = backbone.decode(embedding, prompt, multimask=True)
        torch.testing.assert_close(ours.mask_logits, alone.mask_logits, atol=1e-5, rtol=1e-4)
        assert ours.chosen == alone.chosen


@pytest.mark.parametrize(
    ("prompts", "lengths"),
    [([SamPrompt(box=(1, 2, 20, 25)), SamPrompt(points=(PromptPoint(5, 5, 1),) * 2)], r"\[2, 3\]"), ([], r"\[\]")],
)
def test_prompts_of_different_length_have_no_one_batch_of_candidates(
    backbone: SamMaskBackbone, embedding: ImageEmbedding, prompts: list[SamPrompt], lengths: str
) -> None:
    with pytest.raises(GeometryError, match=f"prompts of one length to decode together, got lengths {lengths}"):
        backbone.decode_low_res(embedding, prompts, multimask=False)
