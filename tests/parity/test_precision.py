"""Lower precision gives the same mask logits: the stored inputs of every family, against our own float32."""

from copy import deepcopy

import pytest
import torch

from evfsam.sam.backbone import place_module
from evfsam.types import SamPrompt
from tests.parity.golden_outputs import Golden, load_golden

MOST_ROUNDINGS = 13
"""Root mean square of the difference, in standard deviations of the float32 logits and units of the type's rounding:
between 1.7 and 5.8 on the stored inputs, with one thread and with two. Masks are not compared: where many logits are
near zero, a mask turns over on less than the rounding."""


def mask_logits(golden: Golden, dtype: torch.dtype, letters: str) -> list[torch.Tensor]:
    """Return the mask logits of stored images in a number type, all candidates, as a loaded model would give them."""
    model = deepcopy(golden.model)
    parts = [f"visual_model.{part}" for part in model.family.float32_parts]
    place_module(model, device="cpu", dtype=dtype, float32_parts=parts)
    backbone = model.mask_backbone()
    given = []
    for letter in letters:
        with torch.no_grad():
            prompts, _ = model.fuse(golden.encoder_input(letter)[None], golden.inputs["single_input_ids"])
        embedding = backbone.encode_image(golden.image(letter))
        assert embedding.image_embeddings.dtype == dtype
        prompt = SamPrompt(text_prompt_embeddings=prompts[0].float())
        prediction = backbone.decode(embedding, prompt, multimask=model.family.multimask)
        assert prediction.mask_logits.dtype == torch.float32
        given.append(prediction.low_res_logits)
    return given


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
    pairs = zip(mask_logits(golden, dtype, letters), mask_logits(golden, torch.float32, letters), strict=True)
    for ours, theirs in pairs:
        error = float((ours - theirs).square().mean().sqrt() / theirs.std())
        assert 0 < error < MOST_ROUNDINGS * torch.finfo(dtype).eps
