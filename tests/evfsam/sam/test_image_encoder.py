from functools import partial

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from evfsam.sam import image_encoder
from evfsam.sam.image_encoder import ImageEncoder


def built(kind: type[ImageEncoderViT], **changes: object) -> ImageEncoderViT:
    """An encoder of 8 x 8 patches, two windowed blocks and a global one, every weight away from zero."""
    sizes = {
        "img_size": 64,
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 3,
        "num_heads": 4,
        "out_chans": 16,
        "norm_layer": partial(nn.LayerNorm, eps=1e-6),
        "use_rel_pos": True,
        "window_size": 3,
        "global_attn_indexes": (1,),
    }
    encoder = kind(**{**sizes, **changes}).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in encoder.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return encoder


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"window_size": 0},
        {"window_size": 4},
        {"use_rel_pos": False},
        {"use_abs_pos": False},
        {"qkv_bias": False},
        {"act_layer": nn.ReLU},
    ],
)
def test_the_output_is_that_of_the_published_encoder(changes: dict[str, object]) -> None:
    ours, published = built(ImageEncoder, **changes), built(ImageEncoderViT, **changes)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images()), published(images()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("budget", [1, 700, 3_000, 20_000])
def test_small_tiles_change_nothing(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, published = built(ImageEncoder), built(ImageEncoderViT)
    monkeypatch.setattr(image_encoder, "_CPU_TILE_BYTES", budget)
    monkeypatch.setattr(image_encoder, "_TOKENS_AT_ONCE", 5)
    with torch.no_grad():
        torch.testing.assert_close(ours(images()), published(images()), atol=1e-5, rtol=1e-5)


def test_the_bias_of_a_tile_keeps_to_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_encoder, "_CPU_TILE_BYTES", 3_000)
    biases = []
    fused = nn.functional.scaled_dot_product_attention

    def watched(*args: torch.Tensor, attn_mask: torch.Tensor, scale: float) -> torch.Tensor:
        biases.append(attn_mask.nbytes)
        return fused(*args, attn_mask=attn_mask, scale=scale)

    monkeypatch.setattr(image_encoder.F, "scaled_dot_product_attention", watched)
    with torch.no_grad():
        built(ImageEncoder)(images())
    assert max(biases) <= 3_000


def test_state_dicts_are_interchangeable() -> None:
    ours, published = built(ImageEncoder), built(ImageEncoderViT)
    assert list(ours.state_dict()) == list(published.state_dict())
    ours.load_state_dict(published.state_dict(), strict=True)


def test_gradients_are_those_of_the_published_encoder() -> None:
    ours, published = built(ImageEncoder), built(ImageEncoderViT)
    for encoder in (ours, published):
        encoder(images()).square().mean().backward()
    expected = dict(published.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-4, rtol=1e-4, msg=name)


def test_a_frozen_encoder_passes_gradients_to_its_input() -> None:
    gradients = []
    for kind in (ImageEncoder, ImageEncoderViT):
        pixels = images().requires_grad_()
        built(kind).requires_grad_(False)(pixels).square().mean().backward()
        gradients.append(pixels.grad)
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(dtype: torch.dtype) -> None:
    encoder = built(ImageEncoder)
    with torch.inference_mode():
        exact = encoder(images())
        rounded = encoder.to(dtype)(images().to(dtype))
    assert rounded.dtype == dtype
    similarity = nn.functional.cosine_similarity(exact.flatten(), rounded.float().flatten(), dim=0)
    assert similarity > 0.999


def test_mixed_precision_computes_products_in_half() -> None:
    encoder = built(ImageEncoder)
    with torch.inference_mode():
        exact = encoder(images())
        with torch.autocast("cpu", torch.bfloat16):
            mixed = encoder(images())
    assert not torch.equal(mixed.float(), exact)
    assert nn.functional.cosine_similarity(exact.flatten(), mixed.float().flatten(), dim=0) > 0.999
