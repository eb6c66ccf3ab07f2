"""The real classes at a size that builds in milliseconds."""

from pathlib import Path

import numpy as np
import torch

from evfsam.encoders.tokenizers import PhraseTokenizer
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.types import RgbImage

TOKENIZER_DIRECTORY = Path(__file__).parent.parent / "fixtures" / "golden" / "tokenizer"
MAX_TOKENS = 38

BEIT3 = {
    "image_size": 32,
    "patch_size": 8,
    "vocab_size": 52,
    "embed_dim": 32,
    "head_count": 4,
    "ffn_dim": 64,
    "layer_count": 2,
    "text_position_count": MAX_TOKENS + 2,
}
SAM = {
    "image_size": 64,
    "vit_patch_size": 8,
    "encoder_embed_dim": 32,
    "encoder_depth": 2,
    "encoder_num_heads": 2,
    "encoder_global_attn_indexes": [1],
    "window_size": 3,
    "prompt_embed_dim": 32,
    "decoder_mlp_dim": 64,
    "iou_head_hidden_dim": 32,
}

SAM2 = {
    "image_size": 64,
    "trunk_embed_dim": 8,
    "trunk_num_heads": 1,
    "trunk_stages": [1, 1, 2, 1],
    "trunk_global_blocks": [3],
    "trunk_window_sizes": [8, 4, 4, 2],
    "prompt_embed_dim": 32,
    "memory_dim": 8,
    "memory_attention_depth": 1,
    "memory_attention_mlp_dim": 64,
    "memory_frame_count": 3,
    "object_pointer_count": 4,
}
EFFICIENT_SAM = {
    "image_size": 64,
    "vit_patch_size": 8,
    "encoder_embed_dim": 32,
    "encoder_depth": 2,
    "encoder_num_heads": 2,
    "position_grid": 3,
    "prompt_embed_dim": 32,
    "decoder_mlp_dim": 64,
    "iou_head_hidden_dim": 32,
}


def tiny_model(seed: int = 0, **fields: object) -> EvfSamModel:
    """Build a model with weights from a seed, leaving torch's global generator as it was; fields change its config."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return EvfSamModel(EvfSamConfig(**{"beit3": BEIT3, "sam": SAM, **fields})).eval()


def tiny_processor(model: EvfSamModel) -> EvfSamProcessor:
    """Build a processor on the tokenizer of the stored cases."""
    return EvfSamProcessor(PhraseTokenizer.from_pretrained(TOKENIZER_DIRECTORY, MAX_TOKENS), model.config)


def noise_image(height: int, width: int, seed: int = 0) -> RgbImage:
    """(height, width, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
