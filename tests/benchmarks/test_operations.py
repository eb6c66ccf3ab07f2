from dataclasses import replace

import torch
from torch.nn import functional as F

from benchmarks.image_encoder import operations_of
from benchmarks.operations import count_operations, operations_per_second
from evfsam.sam.sam import SamConfig


def test_products_and_attention_are_counted_and_nothing_else() -> None:
    left, right = torch.ones(3, 5), torch.ones(5, 7)
    assert count_operations(lambda: torch.relu(left @ right) + 1) == 2 * 3 * 5 * 7
    tokens = torch.ones(1, 2, 6, 4)  # two heads, six tokens of four channels
    with torch.inference_mode():
        assert count_operations(lambda: F.scaled_dot_product_attention(tokens, tokens, tokens)) == 2 * 2 * 2 * 6 * 6 * 4


def test_an_encoder_is_counted_without_its_weights() -> None:
    config = replace(SamConfig(), encoder_depth=1, encoder_global_attn_indexes=(), image_size=256)
    config = replace(config, encoder_embed_dim=64, encoder_num_heads=2)
    ours, published = (operations_of(kind, config) for kind in ("ours", "segment_anything"))
    patches, width = 256, 64
    assert ours > 2 * patches * 12 * width**2, "the products of one block"
    assert published > ours, "it projects the padding of windows too"


def test_the_rate_is_that_of_a_processor() -> None:
    assert 1e8 < operations_per_second(1) < 1e14
