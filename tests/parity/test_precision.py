"""Lower precision draws the same masks: the stored inputs of every family, against our own float32."""

from copy import deepcopy

import pytest
import torch

from evfsam.sam.backbone import place_module
from evfsam.types import SamPrompt
from tests.parity.golden_outputs import Golden, load_golden

LEAST_IOU = 0.98


def masks(golden: Golden, dtype: torch.dtype, letters: str) -> list[torch.Tensor]:
    """Return the masks of stored images in a number type, as a loaded model would draw them."""
    model = deepcopy(golden.model)
    parts = [f"visual_model.{part}" for part in model.family.float32_parts]
    place_module(model, device="cpu", dtype=dtype, float32_parts=parts)
    backbone = model.mask_backbone()
    drawn = []
    for letter in letters:
        with torch.no_grad():
            prompts, _ = model.fuse(golden.encoder_input(letter)[None], golden.inputs["single_input_ids"])
        embedding = backbone.encode_image(golden.image(letter))
        assert embedding.image_embeddings.dtype == dtype
        prompt = SamPrompt(text_prompt_embeddings=prompts[0].float())
        prediction = backbone.decode(embedding, prompt, multimask=model.family.multimask)
        assert prediction.mask_logits.dtype == torch.float32
        drawn.append(prediction.mask_logits > 0)
    return drawn


@pytest.mark.parametrize(
    ("part", "dtype", "letters"),
    [
        ("tiny_sam1", torch.bfloat16, "ab"),
        ("tiny_sam2", torch.bfloat16, "ab"),
        ("tiny_effisam", torch.bfloat16, "ab"),
        ("tiny_sam1", torch.float16, "a"),  # slow on a CPU, but it works
    ],
)
def test_half_precision_agrees_with_float32(part: str, dtype: torch.dtype, letters: str) -> None:
    golden = load_golden(part)
    for ours, theirs in zip(masks(golden, dtype, letters), masks(golden, torch.float32, letters), strict=True):
        iou = float((ours & theirs).sum() / (ours | theirs).sum())
        assert 0.1 < theirs.float().mean() < 0.9
        assert iou > LEAST_IOU, f"IoU {iou:.4f}"
