"""Weights of the baselines: what transformers loads is whole and loaded in silence, and its SAM is read into ours.

The released SAM on the Hub (`facebook/sam-vit-huge` and its smaller siblings) is in transformers' layout: the same
tensors as `segment_anything`'s under other names.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from transformers.utils import logging

from evfsam.errors import CheckpointError
from evfsam.sam.backbone import BaseMaskBackbone, place_module
from evfsam.sam.families import FAMILIES
from evfsam.sam.sam import SamConfig, SamMaskBackbone, build_sam
from evfsam.weights.checkpoint_files import read_config, read_weights
from evfsam.weights.loading import load_strictly

_RENAMED: Final = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^vision_encoder\.", "image_encoder."),
        (r"\.patch_embed\.projection\.", ".patch_embed.proj."),
        (r"^image_encoder\.layers\.", "image_encoder.blocks."),
        (r"^(image_encoder\.blocks\.\d+)\.layer_norm(\d)\.", r"\1.norm\2."),
        (r"\.neck\.conv1\.", ".neck.0."),
        (r"\.neck\.layer_norm1\.", ".neck.1."),
        (r"\.neck\.conv2\.", ".neck.2."),
        (r"\.neck\.layer_norm2\.", ".neck.3."),
        (r"\.shared_embedding\.positional_embedding$", ".pe_layer.positional_encoding_gaussian_matrix"),
        (r"\.point_embed\.", ".point_embeddings."),
        (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
        (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
        (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
        (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
        (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
        (r"\.upscale_conv1\.", ".output_upscaling.0."),
        (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
        (r"\.upscale_conv2\.", ".output_upscaling.3."),
        (r"(\.transformer\.layers\.\d+)\.layer_norm(\d)\.", r"\1.norm\2."),
        (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
    )
)
_HEAD: Final = re.compile(
    r"^(.*(?:iou_prediction_head|output_hypernetworks_mlps\.\d+))\.(proj_in|proj_out|layers\.(\d+))"
)


def load_mask_backbone(
    directory: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> BaseMaskBackbone[Any, Any]:
    """Load a SAM in our own layout or in transformers', or a SAM-2 or EfficientSAM in our own.

    Raises:
        CheckpointError: files are missing or damaged, or the weights do not fit their configuration.
    """
    path = Path(directory)
    values = read_config(path)
    model_type = values.get("model_type")
    if "vision_config" not in values and model_type in FAMILIES:
        return FAMILIES[str(model_type)].from_pretrained(path, device=device, dtype=dtype)
    if model_type != "sam":
        raise CheckpointError("expected a SAM in {path}, got model_type {kind!r}", path=path, kind=model_type)
    config = config_of_transformers(values)
    sam = build_sam(config)
    load_strictly(sam, renamed_weights(read_weights(path), config), str(path))
    place_module(sam, device=device, dtype=dtype, float32_parts=SamMaskBackbone.float32_parts)
    return SamMaskBackbone(sam.requires_grad_(False), config)


def config_of_transformers(values: Mapping[str, Any]) -> SamConfig:
    """Translate transformers' `config.json` of a SAM; what is absent has transformers' default."""
    vision, prompt, decoder = (
        dict(values.get(f"{part}_config") or {}) for part in ("vision", "prompt_encoder", "mask_decoder")
    )
    width = vision.get("hidden_size", 768)
    mlp_dim = vision.get("mlp_dim") or int(width * vision.get("mlp_ratio", 4.0))
    return SamConfig(
        image_size=vision.get("image_size", 1024),
        vit_patch_size=vision.get("patch_size", 16),
        encoder_embed_dim=width,
        encoder_depth=vision.get("num_hidden_layers", 12),
        encoder_num_heads=vision.get("num_attention_heads", 12),
        encoder_global_attn_indexes=tuple(vision.get("global_attn_indexes", (2, 5, 8, 11))),
        window_size=vision.get("window_size", 14),
        mlp_ratio=mlp_dim / width,
        use_rel_pos=vision.get("use_rel_pos", True),
        qkv_bias=vision.get("qkv_bias", True),
        prompt_embed_dim=prompt.get("hidden_size", 256),
        mask_in_chans=prompt.get("mask_input_channels", 16),
        decoder_depth=decoder.get("num_hidden_layers", 2),
        decoder_mlp_dim=decoder.get("mlp_dim", 2048),
        decoder_num_heads=decoder.get("num_attention_heads", 8),
        num_multimask_outputs=decoder.get("num_multimask_outputs", 3),
        iou_head_depth=decoder.get("iou_head_depth", 3),
        iou_head_hidden_dim=decoder.get("iou_head_hidden_dim", 256),
    )


def renamed_weights(weights: Mapping[str, torch.Tensor], config: SamConfig) -> dict[str, torch.Tensor]:
    """Return transformers' tensors under `segment_anything`'s names; the doubled positional matrix is kept once."""
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        if name == "shared_image_embedding.positional_embedding":
            name = "prompt_encoder.shared_embedding.positional_embedding"
        renamed[_our_name(name, config)] = tensor
    return renamed


def _our_name(name: str, config: SamConfig) -> str:
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    match = _HEAD.match(name)
    if match is None:
        return name
    depth = config.iou_head_depth if "iou_prediction_head" in match[1] else 3
    index = {"proj_in": 0, "proj_out": depth - 1}.get(match[2])
    layer = int(match[3]) + 1 if index is None else index
    return f"{match[1]}.layers.{layer}{name[match.end() :]}"


def existing_directory(directory: str | Path) -> Path:
    """Return the path of a directory that exists.

    Raises:
        CheckpointError: there is none; without this check transformers would ask a model hub for the name.
    """
    path = Path(directory)
    if not path.is_dir():
        raise CheckpointError(
            "expected a checkpoint directory at {path}, found none; train or copy the weights first", path=path
        )
    return path


def raise_unless_complete(path: Path, loading_info: Mapping[str, object], *, may_hold_more: bool = False) -> None:
    """Refuse weights with missing, unexpected or misshapen keys, which transformers itself only warns of.

    Args:
        path: where the weights came from, for the message.
        loading_info: what `from_pretrained(..., output_loading_info=True)` returned.
        may_hold_more: whether keys that the model does not know are welcome, as in releases for several purposes.

    Raises:
        CheckpointError: naming the keys.
    """
    complaints = []
    kinds = (
        ("missing_keys", "mismatched_keys") if may_hold_more else ("missing_keys", "unexpected_keys", "mismatched_keys")
    )
    for kind in kinds:
        keys = loading_info.get(kind)
        if keys:
            assert isinstance(keys, (list, tuple, set, frozenset))
            complaints.append(f"{kind.replace('_', ' ')}: {', '.join(sorted(str(key) for key in keys)[:5])}")
    if complaints:
        raise CheckpointError(
            "the weights in {path} do not fit their configuration; {complaints}",
            path=path,
            complaints="; ".join(complaints),
        )


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers' bars off standard error, where the command line prints its own lines."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
