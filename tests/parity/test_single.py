"""One image and one phrase: every intermediate against the stored outputs of the reference."""

import pytest
import torch

from evfsam.encoders.multimodal import EncoderOutput
from evfsam.sam.sam import SamMaskBackbone
from evfsam.types import ImageEmbedding, MaskPrediction, SamPrompt
from tests.parity.golden_outputs import EMBEDDING_TOLERANCE, LOGIT_TOLERANCE, Golden, compare_stored


@pytest.fixture(scope="module")
def fused(sam1: Golden) -> tuple[torch.Tensor, EncoderOutput]:
    with torch.no_grad():
        return sam1.model.fuse(
            sam1.encoder_input("a")[None],
            sam1.inputs["single_input_ids"],
            attention_layers=(-1,),
            output_hidden_states=True,
        )


@pytest.fixture(scope="module")
def backbone(sam1: Golden) -> SamMaskBackbone:
    return sam1.model.mask_backbone()


@pytest.fixture(scope="module")
def embedding(sam1: Golden, backbone: SamMaskBackbone) -> ImageEmbedding:
    return backbone.encode_image(sam1.image("a"))


@pytest.fixture(scope="module")
def prediction(
    fused: tuple[torch.Tensor, EncoderOutput], backbone: SamMaskBackbone, embedding: ImageEmbedding
) -> MaskPrediction:
    return backbone.decode(embedding, SamPrompt(text_prompt_embeddings=fused[0][0]), multimask=False)


@pytest.mark.parametrize("letter", ["a", "b"])
def test_images_are_prepared_alike(sam1: Golden, letter: str) -> None:
    pixels, frame = sam1.sam_input(letter)
    assert frame.input_size == tuple(sam1.outputs[f"pre_{letter}/resize_shape"].tolist())
    compare_stored(pixels, sam1.outputs, f"pre_{letter}/sam_image", atol=1e-6, rtol=0.0)
    compare_stored(sam1.encoder_input(letter), sam1.outputs, f"pre_{letter}/beit_image", atol=3e-6, rtol=0.0)


def test_embeddings_before_the_positions_agree(sam1: Golden) -> None:
    beit3 = sam1.model.mm_extractor.beit3
    with torch.no_grad():
        vision = beit3.vision_embed(sam1.encoder_input("a")[None])
        tokens = torch.cat([vision, beit3.text_embed(sam1.inputs["single_input_ids"])], dim=1)
    compare_stored(tokens, sam1.outputs, "single/encoder_embedding", **EMBEDDING_TOLERANCE)


def test_every_layer_agrees(sam1: Golden, fused: tuple[torch.Tensor, EncoderOutput]) -> None:
    layer_outputs = fused[1].hidden_states[1:]
    assert len(layer_outputs) == sam1.model.config.beit3_config.layer_count
    for index, output in enumerate(layer_outputs):
        compare_stored(output, sam1.outputs, f"single/beit_layer{index}_out", **EMBEDDING_TOLERANCE)


def test_encoder_output_agrees(sam1: Golden, fused: tuple[torch.Tensor, EncoderOutput]) -> None:
    compare_stored(fused[1].last_hidden_state, sam1.outputs, "single/encoder_out", **EMBEDDING_TOLERANCE)


def test_last_attention_agrees_heads_first(sam1: Golden, fused: tuple[torch.Tensor, EncoderOutput]) -> None:
    (attention,) = fused[1].attentions.values()
    compare_stored(attention.transpose(0, 1), sam1.outputs, "single/last_attn_weights", **EMBEDDING_TOLERANCE)


def test_prompt_agrees(sam1: Golden, fused: tuple[torch.Tensor, EncoderOutput], backbone: SamMaskBackbone) -> None:
    compare_stored(fused[0], sam1.outputs, "single/prompt_embedding", **EMBEDDING_TOLERANCE)
    prompt = SamPrompt(text_prompt_embeddings=fused[0][0])
    sparse = backbone.sparse_prompt_embeddings(prompt, sam1.sam_input("a")[1])
    compare_stored(sparse, sam1.outputs, "single/decoder_sparse_prompt_embeddings", **EMBEDDING_TOLERANCE)


def test_dense_prompt_and_position_agree(sam1: Golden) -> None:
    prompt_encoder = sam1.model.visual_model.prompt_encoder
    dense = prompt_encoder.no_mask_embed.weight
    compare_stored(dense, sam1.outputs, "single/decoder_dense_prompt_embeddings_vec", **EMBEDDING_TOLERANCE)
    compare_stored(prompt_encoder.get_dense_pe(), sam1.outputs, "single/dense_pe", **EMBEDDING_TOLERANCE)


def test_image_embedding_agrees(sam1: Golden, embedding: ImageEmbedding) -> None:
    compare_stored(embedding.image_embeddings, sam1.outputs, "single/sam_image_embedding", **EMBEDDING_TOLERANCE)


def test_mask_and_iou_agree(sam1: Golden, prediction: MaskPrediction) -> None:
    compare_stored(prediction.low_res_logits[None], sam1.outputs, "single/decoder_low_res_masks", **LOGIT_TOLERANCE)
    compare_stored(prediction.pred_ious[None], sam1.outputs, "single/decoder_iou_predictions", **LOGIT_TOLERANCE)
    compare_stored(prediction.mask_logits[None], sam1.outputs, "single/final_mask_logits", **LOGIT_TOLERANCE)


def test_best_of_three_masks_agrees(
    sam1: Golden, fused: tuple[torch.Tensor, EncoderOutput], backbone: SamMaskBackbone, embedding: ImageEmbedding
) -> None:
    best = backbone.decode(embedding, SamPrompt(text_prompt_embeddings=fused[0][0]), multimask=True)
    name = "single_multimask_true"
    compare_stored(best.low_res_logits[None], sam1.outputs, f"{name}/decoder_low_res_masks", **LOGIT_TOLERANCE)
    compare_stored(best.pred_ious[None], sam1.outputs, f"{name}/decoder_iou_predictions", **LOGIT_TOLERANCE)
    compare_stored(best.mask_logits[None], sam1.outputs, f"{name}/final_mask_logits", **LOGIT_TOLERANCE)


def test_decoder_equals_the_package_of_sam(sam1: Golden, embedding: ImageEmbedding) -> None:
    """`decode_prompts` takes SAM's decoder apart to batch over images; on one image it must be SAM's own forward."""
    sam = sam1.model.visual_model
    prompts = torch.randn(2, 3, sam.prompt_encoder.embed_dim, generator=torch.Generator().manual_seed(0))
    for multimask in (False, True):
        with torch.no_grad():
            ours = sam1.model.decode(embedding.image_embeddings, prompts, multimask)
            theirs = sam.mask_decoder(
                image_embeddings=embedding.image_embeddings,
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=prompts,
                dense_prompt_embeddings=sam.prompt_encoder(None, None, None)[1],
                multimask_output=multimask,
            )
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
