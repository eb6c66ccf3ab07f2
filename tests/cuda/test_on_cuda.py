"""A CUDA device draws the masks that a CPU draws; run by `python -m benchmarks.gpu` where there is one."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from evfsam.model.strategy import EvfSamStrategy
from evfsam.sam.backbone import place_module
from evfsam.sam.image_encoder import ImageEncoder
from evfsam.sam.sam import SamConfig, build_sam
from evfsam.types import ImageView, RgbImage, Segmentation
from tests.evfsam.tiny import tiny_model, tiny_processor

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device that torch can use"),
]
PHRASES = ("the cat", "the red ball left of the cat")


def image() -> RgbImage:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def answers(device: str, dtype: torch.dtype) -> list[Segmentation]:
    """Answers of one tiny EVF-SAM; both devices get the same weights."""
    torch.manual_seed(0)
    model = tiny_model().requires_grad_(False)
    parts = [f"visual_model.{part}" for part in model.family.float32_parts]
    place_module(model, device=device, dtype=dtype, float32_parts=parts)
    return EvfSamStrategy(model, tiny_processor(model)).segment_many(ImageView(image()), PHRASES)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.05)])
def test_candidates_are_those_of_the_cpu(dtype: torch.dtype, tolerance: float) -> None:
    for ours, expected in zip(answers("cuda", dtype), answers("cpu", torch.float32), strict=True):
        logits, wanted = ours.predictions[0].low_res_logits.cpu(), expected.predictions[0].low_res_logits
        assert wanted.std() > 0
        assert float((logits - wanted).abs().max() / wanted.abs().max()) < tolerance


def test_attention_is_that_of_the_cpu() -> None:
    for ours, expected in zip(answers("cuda", torch.float32), answers("cpu", torch.float32), strict=True):
        assert ours.attention is not None
        assert expected.attention is not None
        torch.testing.assert_close(ours.attention.probabilities, expected.attention.probabilities, rtol=0, atol=1e-4)


@pytest.mark.parametrize("window", [0, 5, 14])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.05)])
def test_the_image_encoder_is_that_of_the_cpu(window: int, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    config = SamConfig(
        image_size=256, encoder_embed_dim=64, encoder_depth=2, encoder_num_heads=4, prompt_embed_dim=32,
        encoder_global_attn_indexes=(1,), window_size=window,
    )  # fmt: skip
    encoder: ImageEncoder = build_sam(config).image_encoder.requires_grad_(False)
    for name, parameter in encoder.named_parameters():
        if "pos" in name.rsplit(".", 1)[-1]:
            torch.nn.init.normal_(parameter, std=0.2)
    pixels = torch.randn(2, 3, 256, 256)
    expected = encoder(pixels)
    found = deepcopy(encoder).to("cuda", dtype)(pixels.to("cuda", dtype)).cpu().float()
    assert float((found - expected).abs().max() / expected.abs().max()) < tolerance
