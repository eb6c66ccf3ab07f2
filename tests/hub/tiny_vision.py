"""Tiny random SAM, CLIP, Grounding DINO and SAM 3 of the real transformers classes, with their processors."""

from pathlib import Path

import torch
from torch import nn
from transformers import (
    BertTokenizer,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    Sam3Config,
    Sam3ImageProcessor,
    Sam3LiteTextConfig,
    Sam3LiteTextModel,
    Sam3Model,
    Sam3Processor,
    SamConfig,
    SamModel,
)

from tests.hub.tiny_tokens import byte_alphabet


def loud(model: nn.Module, std: float = 0.2) -> None:
    """Draw a model's matrices anew, large enough that its answers depend on its input."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "position" not in name:
                parameter.normal_(std=std)


def save_sam(directory: Path) -> None:
    """A two-layer SAM for 64-pixel images in transformers' layout."""
    config = SamConfig(
        vision_config={
            "hidden_size": 32,
            "output_channels": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
            "window_size": 4,
            "global_attn_indexes": [1],
            "mlp_dim": 64,
            "mlp_ratio": 2.0,
            "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 8, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    )
    torch.manual_seed(0)
    model = SamModel(config)
    loud(model)
    model.save_pretrained(directory)


def save_clip(directory: Path) -> None:
    """A two-layer CLIP over 32-pixel images; OpenAI's end-of-text id is 2 in its configuration, as released."""
    tokenizer = clip_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 40,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **sizes,
        },
        vision_config={"image_size": 32, "patch_size": 8, **sizes},
        projection_dim=16,
    )
    torch.manual_seed(0)
    model = CLIPModel(config)
    loud(model)
    model.save_pretrained(directory)
    image_processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(image_processor, tokenizer).save_pretrained(directory)


def save_grounding_dino(directory: Path) -> None:
    """A one-layer Grounding DINO over a tiny Swin and BERT."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "the", "red", "cup", "both", "cats", "a", "dog"]
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin",
            "image_size": 64,
            "embed_dim": 16,
            "depths": [1, 1, 1, 1],
            "num_heads": [2, 2, 2, 2],
            "window_size": 4,
            "out_features": ["stage2", "stage3", "stage4"],
        },
        text_config={
            "model_type": "bert",
            "vocab_size": len(words),
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=10,
        max_text_len=32,
    )
    torch.manual_seed(0)
    GroundingDinoForObjectDetection(config).save_pretrained(directory)
    image_processor = GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 160})
    GroundingDinoProcessor(image_processor, tokenizer).save_pretrained(directory)


def save_sam3(directory: Path) -> None:
    """A one-layer SAM 3 for 64-pixel images."""
    _save_sam3(directory, Sam3Model, Sam3Config, {"num_hidden_layers": 1})


def save_sam3_lite_text(directory: Path) -> None:
    """The same with the small reader of phrases: two of its convolutional layers around one of the other kind."""
    _save_sam3(directory, Sam3LiteTextModel, Sam3LiteTextConfig, {"num_hidden_layers": 3, "repmixer_kernel_size": 3})


def _save_sam3(
    directory: Path, model_class: type[PreTrainedModel], config_class: type[PreTrainedConfig], text: dict[str, int]
) -> None:
    tokenizer = clip_tokenizer()
    small = {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = config_class(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 56,
                "pretrain_image_size": 28,
                "patch_size": 14,
                "window_size": 2,
                "global_attn_indexes": [1],
            },
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 32,
            "projection_dim": 16,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            **text,
        },
        geometry_encoder_config=small,
        detr_encoder_config=small,
        detr_decoder_config={**small, "num_queries": 6},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )
    torch.manual_seed(0)
    model = model_class(config)
    loud(model)
    model.save_pretrained(directory)
    image_processor = Sam3ImageProcessor(size={"height": 56, "width": 56}, mask_size={"height": 16, "width": 16})
    Sam3Processor(image_processor, tokenizer).save_pretrained(directory)


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer over single bytes."""
    alphabet = byte_alphabet()
    pieces = [*alphabet, *(f"{letter}</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[])
