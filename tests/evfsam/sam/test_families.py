"""SAM-2 and EfficientSAM behind the contract that SAM keeps, and the three families of EVF-SAM made of them."""

import copy
from pathlib import Path

import pytest
import torch

from evfsam.errors import CheckpointError, ConfigurationError, GeometryError
from evfsam.geometry import stretched_frame
from evfsam.model.modeling import EvfSamModel, LossWeights
from evfsam.model.strategy import load_strategy
from evfsam.sam.efficient_sam import EfficientSamConfig, EfficientSamMaskBackbone, build_efficient_sam
from evfsam.sam.families import FAMILIES
from evfsam.sam.sam2 import Sam2Config, Sam2MaskBackbone, build_sam2, run_sam2_decoder
from evfsam.types import ImageEmbedding, ImageView, PromptPoint, SamPrompt
from tests.evfsam.tiny import EFFICIENT_SAM, SAM, SAM2, noise_image, tiny_model, tiny_processor

SIZES = {"sam": SAM, "sam2": SAM2, "efficient_sam": EFFICIENT_SAM}
POINT, BOX, TEXT = PromptPoint(10, 10, 1), (1.0, 2.0, 40.0, 25.0), torch.ones(2, 32)

Backbone = Sam2MaskBackbone | EfficientSamMaskBackbone


def build(family: str, seed: int = 0) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if family == "sam2":
            config = Sam2Config.from_dict(SAM2)
            return Sam2MaskBackbone(build_sam2(config).requires_grad_(False), config)
        sizes = EfficientSamConfig.from_dict(EFFICIENT_SAM)
        return EfficientSamMaskBackbone(build_efficient_sam(sizes).requires_grad_(False), sizes)


@pytest.fixture(scope="module", params=["sam2", "efficient_sam"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return build(request.param)


@pytest.fixture(scope="module")
def embedding(backbone: Backbone) -> ImageEmbedding:
    return backbone.encode_image(noise_image(30, 50))


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def model(request: pytest.FixtureRequest) -> EvfSamModel:
    return tiny_model(family=request.param, sam=SIZES[request.param]).requires_grad_(False)


@pytest.mark.parametrize("multimask", [False, True])
def test_masks_come_back_at_the_image_size(backbone: Backbone, embedding: ImageEmbedding, multimask: bool) -> None:
    height, width = backbone.config.embedding_size
    prediction = backbone.decode(embedding, SamPrompt(box=BOX), multimask=multimask)
    assert prediction.low_res_logits.shape == (3 if multimask else 1, 4 * height, 4 * width)
    assert prediction.mask_logits.shape == (30, 50)
    assert prediction.chosen == int(prediction.pred_ious.argmax())
    direct = torch.nn.functional.interpolate(
        prediction.low_res_logits[None, prediction.chosen, None], (30, 50), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(prediction.mask_logits, direct[0, 0])


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (1, 1)])
def test_extreme_images_are_segmented(backbone: Backbone, size: tuple[int, int]) -> None:
    prompt = SamPrompt(text_prompt_embeddings=TEXT)
    assert backbone.decode(backbone.encode_image(noise_image(*size)), prompt, multimask=False).mask_logits.shape == size


def test_every_part_of_a_prompt_counts(backbone: Backbone, embedding: ImageEmbedding) -> None:
    prompts = [
        SamPrompt(text_prompt_embeddings=TEXT),
        SamPrompt(points=(POINT,)),
        SamPrompt(box=BOX),
        SamPrompt(box=BOX, points=(POINT,)),
        SamPrompt(box=BOX, points=(POINT,), text_prompt_embeddings=TEXT),
    ]
    masks = [backbone.decode(embedding, prompt, multimask=False).mask_logits for prompt in prompts]
    for index, mask in enumerate(masks):
        assert not any(torch.allclose(mask, other, atol=1e-6) for other in masks[:index])


def test_dropped_points_never_reach_the_decoder(backbone: Backbone, embedding: ImageEmbedding) -> None:
    dropped = PromptPoint(20, 20, 1, is_kept=False)
    both = backbone.decode(embedding, SamPrompt(points=(POINT, dropped)), multimask=False)
    assert torch.equal(
        both.mask_logits, backbone.decode(embedding, SamPrompt(points=(POINT,)), multimask=False).mask_logits
    )


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (SamPrompt(), "got an empty prompt"),
        (SamPrompt(points=(PromptPoint(51, 3, 1),)), "inside the 50 x 30 image"),
        (SamPrompt(box=(5, 5, 5, 9)), "expected a box"),
        (SamPrompt(text_prompt_embeddings=torch.ones(1, 8)), r"expected text embeddings \(N, 32\), got \(1, 8\)"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(
    backbone: Backbone, embedding: ImageEmbedding, prompt: SamPrompt, message: str
) -> None:
    with pytest.raises(GeometryError, match=message):
        backbone.decode(embedding, prompt, multimask=False)


def test_efficient_sam_refuses_points_off_the_object_which_it_does_not_know() -> None:
    backbone = build("efficient_sam")
    with pytest.raises(GeometryError, match="knows no point off the object"):
        backbone.decode(
            backbone.encode_image(noise_image(30, 50)), SamPrompt(points=(PromptPoint(3, 3, 0),)), multimask=False
        )


def test_efficient_sam_fills_prompts_without_text_up_to_the_trained_length() -> None:
    backbone, frame = build("efficient_sam"), stretched_frame((30, 50), 64)
    lengths = [
        backbone.sparse_prompt_embeddings(prompt, frame).shape[1]
        for prompt in (
            SamPrompt(points=(POINT,)),
            SamPrompt(points=(POINT,) * 7),
            SamPrompt(text_prompt_embeddings=TEXT),
            SamPrompt(box=BOX, text_prompt_embeddings=TEXT),
        )
    ]
    assert lengths == [6, 7, 2, 4]


def test_points_and_boxes_reach_sam2_as_its_own_predictor_sends_them() -> None:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    backbone, image = build("sam2"), noise_image(64, 64)  # fills the frame, so that scaling adds nothing
    predictor = SAM2ImagePredictor(backbone.sam)
    predictor._bb_feat_sizes = [(16, 16), (8, 8), (4, 4)]  # the package fixes them for 1024 pixels
    predictor.set_image(image)
    points, box = torch.tensor([[10.0, 20.0], [40.0, 5.0]]), torch.tensor([3.0, 4.0, 50.0, 60.0])
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
    torch.testing.assert_close(ours.pred_ious, torch.from_numpy(their_ious), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(ours.mask_logits, torch.from_numpy(theirs[ours.chosen]), atol=1e-3, rtol=1e-3)


def test_sam2_gives_the_best_of_three_where_the_single_mask_is_unstable() -> None:
    backbone = build("sam2")
    embedding = backbone.encode_image(noise_image(30, 50))
    decoder = backbone.sam.sam_mask_decoder
    prompt = SamPrompt(text_prompt_embeddings=TEXT)
    three = backbone.decode(embedding, prompt, multimask=True)
    decoder.dynamic_multimask_stability_thresh = 2.0  # no mask is that stable
    unstable = backbone.decode(embedding, prompt, multimask=False)
    torch.testing.assert_close(unstable.low_res_logits[0], three.low_res_logits[three.chosen])
    decoder.dynamic_multimask_stability_thresh = 0.0
    stable = backbone.decode(embedding, prompt, multimask=False)
    assert not torch.allclose(stable.low_res_logits[0], three.low_res_logits[three.chosen])


def test_sam2_needs_the_finer_levels() -> None:
    backbone = build("sam2")
    with pytest.raises(GeometryError, match="2 finer levels, got 0"):
        run_sam2_decoder(
            backbone.sam, torch.zeros(1, 32, 4, 4), torch.ones(1, 1, 32), multimask=True, high_res_features=()
        )


def test_embeddings_of_another_encoder_are_refused(backbone: Backbone, embedding: ImageEmbedding) -> None:
    other = build("sam2" if isinstance(backbone, Sam2MaskBackbone) else "efficient_sam", seed=1)
    assert other.encoder_identity != backbone.encoder_identity
    with pytest.raises(GeometryError, match="another encoder's"):
        other.decode(embedding, SamPrompt(box=BOX), multimask=False)


def test_the_identity_forgets_the_decoder_and_survives_storage(backbone: Backbone, tmp_path: Path) -> None:
    backbone.save_pretrained(tmp_path)
    loaded = type(backbone).from_pretrained(tmp_path)
    assert loaded.encoder_identity == backbone.encoder_identity
    torch.testing.assert_close(dict(loaded.sam.state_dict()), dict(backbone.sam.state_dict()), rtol=0, atol=0)
    tuned = copy.deepcopy(backbone.sam)
    decoder = tuned.sam_mask_decoder if isinstance(backbone, Sam2MaskBackbone) else tuned.mask_decoder
    decoder.iou_token.weight.add_(1)
    assert type(backbone)(tuned, backbone.config).encoder_identity == backbone.encoder_identity


def test_a_backbone_of_another_kind_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    backbone.save_pretrained(tmp_path)
    other = EfficientSamMaskBackbone if isinstance(backbone, Sam2MaskBackbone) else Sam2MaskBackbone
    with pytest.raises((CheckpointError, ConfigurationError)):
        other.from_pretrained(tmp_path)


def test_bfloat16_weights_encode_and_decode(backbone: Backbone, tmp_path: Path) -> None:
    backbone.save_pretrained(tmp_path)
    half = type(backbone).from_pretrained(tmp_path, dtype=torch.bfloat16)
    embedding = half.encode_image(noise_image(30, 50))
    assert embedding.image_embeddings.dtype == torch.bfloat16
    prediction = half.decode(embedding, SamPrompt(points=(POINT,)), multimask=True)
    assert prediction.mask_logits.dtype == torch.float32
    assert prediction.mask_logits.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (Sam2Config, {"image_size": 80}, "image_size 80 is not a positive multiple of 32"),
        (Sam2Config, {"trunk_stages": [1, 1, 1]}, "expected 4 stages"),
        (Sam2Config, {"trunk_global_blocks": [5]}, r"expected global blocks below 5, got \[5\]"),
        (Sam2Config, {"memory_dim": 12}, "not a positive multiple of 12"),
        (Sam2Config, {"depth": 3}, r"SAM-2: unknown fields \['depth'\]"),
        (EfficientSamConfig, {"image_size": 65}, "image_size 65 is not a positive multiple of 8"),
        (EfficientSamConfig, {"depth": 3}, r"EfficientSAM: unknown fields \['depth'\]"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    kind: type[Sam2Config | EfficientSamConfig], change: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        kind.from_dict({**(SAM2 if kind is Sam2Config else EFFICIENT_SAM), **change})


def test_planned_weights_keep_real_tables() -> None:
    """Weights are planned on the meta device, but what is no weight must be there: it is never loaded."""
    with torch.device("meta"):
        sam = build_sam2(Sam2Config.from_dict(SAM2))
    assert all(value.is_meta for value in sam.state_dict().values())
    layer = sam.memory_attention.layers[0]
    for attention in (layer.self_attn, layer.cross_attn_image):
        assert not attention.freqs_cis.is_meta


def test_a_model_of_every_family_is_saved_and_loaded(model: EvfSamModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = EvfSamModel.from_pretrained(tmp_path)
    assert (loaded.family.model_type, loaded.config.sam_config) == (model.family.model_type, model.config.sam_config)
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()), rtol=0, atol=0)


def test_the_batch_agrees_with_the_backbone(model: EvfSamModel) -> None:
    """Training and the page decode by two doors; behind them is the same SAM."""
    processor = tiny_processor(model)
    inputs = processor(noise_image(20, 40), "two cats")
    features = model.encode_image_features(inputs.pixel_values)
    batch = model(
        features.image_embeddings,
        inputs.encoder_pixel_values,
        inputs.input_ids,
        inputs.frames,
        high_res_features=features.high_res_features,
    )
    backbone = model.mask_backbone()
    prompt = SamPrompt(text_prompt_embeddings=batch.text_prompt_embeddings[0])
    embedding, _ = ImageView(noise_image(20, 40)).embedding(backbone)
    single = backbone.decode(embedding, prompt, multimask=model.family.multimask)
    torch.testing.assert_close(batch.mask_logits[0][0], single.mask_logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_named_parts_of_every_family_train(family: str) -> None:
    model = tiny_model(family=family, sam=SIZES[family])
    is_known = FAMILIES[family].learns_no_mask
    model.set_trainable(mask_decoder=True, no_mask_embedding=is_known)
    inputs = tiny_processor(model)(noise_image(20, 40), "two cats")
    features = model.encode_image_features(inputs.pixel_values)
    output = model(
        features.image_embeddings,
        inputs.encoder_pixel_values,
        inputs.input_ids,
        inputs.frames,
        targets=[torch.ones(1, 20, 40)],
        loss_weights=LossWeights(bce=2.0, dice=0.5),
        high_res_features=features.high_res_features,
    )
    assert output.loss is not None
    output.loss.loss.backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert f"visual_model.{FAMILIES[family].mask_decoder}.mask_tokens.weight" in moved
    assert "text_hidden_fcs.0.0.weight" in moved
    assert any(name.endswith("no_mask_embed.weight") for name in moved) == is_known
    assert not any(name.startswith("visual_model.image_encoder") for name in moved)


def test_efficient_sam_has_no_no_mask_embedding_to_train() -> None:
    model = tiny_model(family="efficient_sam", sam=EFFICIENT_SAM)
    with pytest.raises(ConfigurationError, match="has no no-mask embedding to train"):
        model.set_trainable(mask_decoder=True, no_mask_embedding=True)


def test_the_strategy_takes_masks_as_the_family_was_released(model: EvfSamModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    tiny_processor(model).save_pretrained(tmp_path)
    strategy = load_strategy(tmp_path, device="cpu", dtype=torch.float32)
    segmentation = strategy.segment(ImageView(noise_image(20, 40)), "two cats")
    (prediction,) = segmentation.predictions
    assert len(prediction.pred_ious) == (3 if model.family.model_type == "sam2" else 1)
    assert segmentation.mask_logits.shape == (20, 40)
    assert segmentation.attention is not None
    assert strategy.card.title == model.family.title
