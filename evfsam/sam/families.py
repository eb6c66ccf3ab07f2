"""The three families of EVF-SAM: which SAM stands behind it, and all that follows from that, chosen once.

Shapes: C channels of a prompt, (h, w) the embedding grid, P prompts, M candidate masks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

import torch
from torch import nn

from evfsam.errors import ConfigurationError
from evfsam.geometry import Frame
from evfsam.preprocess import sam_pixels, stretched_pixels
from evfsam.sam.backbone import VisualConfig
from evfsam.sam.efficient_sam import FLOAT32_PARTS as EFFICIENT_FLOAT32_PARTS
from evfsam.sam.efficient_sam import (
    EfficientSamConfig,
    EfficientSamMaskBackbone,
    build_efficient_sam,
    decode_efficient_prompts,
)
from evfsam.sam.sam import FLOAT32_PARTS, SamConfig, SamMaskBackbone, build_sam, decode_prompts
from evfsam.sam.sam2 import Sam2Config, Sam2MaskBackbone, build_sam2, decode_sam2_prompts, encode_sam2_pixels
from evfsam.types import MaskBackbone, RgbImage


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Features of B images.

    Attributes:
        image_embeddings: (B, C, h, w).
        high_res_features: SAM-2's finer levels (B, C/8, 4h, 4w) and (B, C/4, 2h, 2w); empty for the others.
    """

    image_embeddings: torch.Tensor
    high_res_features: tuple[torch.Tensor, ...] = ()


class _Decode(Protocol):
    def __call__(
        self, sam: Any, features: EncodedImages, prompts: torch.Tensor, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]: ...


@dataclass(frozen=True, eq=False)
class Family:
    """One kind of SAM behind EVF-SAM.

    Attributes:
        key: name in our configuration.
        architecture: the released model's class, as its `config.json` has it.
        title: for people.
        config_type: sizes of the SAM.
        scales: the released words for sizes; the first is the default.
        multimask: whether the released model takes the best of three masks unless told otherwise.
        mask_decoder, prompt_encoder: names of those parts in the SAM.
        float32_parts: parts of the SAM that compute in float32 whatever type the model is loaded in: coordinates and
            their frequencies, SAM's neck, whose squares overflow float16, and the small mask decoder, where bfloat16
            costs 2 % of the mask. SAM-2's decoder shares convolutions with its image encoder and keeps the model's.
        learns_no_mask: whether there is an embedding for "no mask given" that a recipe may train.
        build: sizes to a SAM with fresh weights.
        pixels: an RGB image and the input's side to (3, side, side) and the frame.
        encode: a SAM and (B, 3, side, side) to features.
        decode: a SAM, features of one image or one a prompt, and (P, N, C) prompts to logits and IoUs.
        backbone: a SAM and its sizes as a backbone for prompts of any kind.
    """

    key: str
    architecture: str
    title: str
    config_type: type[VisualConfig]
    scales: Mapping[str, VisualConfig]
    multimask: bool
    mask_decoder: str
    prompt_encoder: str
    float32_parts: tuple[str, ...]
    learns_no_mask: bool
    build: Callable[[Any], nn.Module]
    pixels: Callable[[RgbImage, int], tuple[torch.Tensor, Frame]]
    encode: Callable[[Any, torch.Tensor], EncodedImages]
    decode: _Decode
    backbone: Callable[[Any, Any], MaskBackbone]


def _encode_single_level(sam: Any, pixel_values: torch.Tensor) -> EncodedImages:
    encoder = sam.image_encoder
    return EncodedImages(encoder(pixel_values.to(next(encoder.parameters()).dtype)))


def _decode_sam(
    sam: Any, features: EncodedImages, prompts: torch.Tensor, *, multimask: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    return decode_prompts(sam, features.image_embeddings, prompts, multimask=multimask)


def _encode_sam2(sam: Any, pixel_values: torch.Tensor) -> EncodedImages:
    return EncodedImages(*encode_sam2_pixels(sam, pixel_values))


def _decode_sam2(
    sam: Any, features: EncodedImages, prompts: torch.Tensor, *, multimask: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    finer = features.high_res_features
    return decode_sam2_prompts(sam, features.image_embeddings, prompts, multimask=multimask, high_res_features=finer)


def _decode_efficient_sam(
    sam: Any, features: EncodedImages, prompts: torch.Tensor, *, multimask: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    return decode_efficient_prompts(sam, features.image_embeddings, prompts, multimask=multimask)


_SAM = Family(
    key="sam",
    architecture="EvfSamModel",
    title="EVF-SAM",
    config_type=SamConfig,
    scales=MappingProxyType(
        {
            "huge": SamConfig(),
            "large": SamConfig(encoder_embed_dim=1024, encoder_depth=24, encoder_global_attn_indexes=(5, 11, 17, 23)),
            "base": SamConfig(
                encoder_embed_dim=768, encoder_depth=12, encoder_num_heads=12, encoder_global_attn_indexes=(2, 5, 8, 11)
            ),
        }
    ),
    multimask=False,
    mask_decoder="mask_decoder",
    prompt_encoder="prompt_encoder",
    float32_parts=FLOAT32_PARTS,
    learns_no_mask=True,
    build=build_sam,
    pixels=sam_pixels,
    encode=_encode_single_level,
    decode=_decode_sam,
    backbone=SamMaskBackbone,
)
_SAM2 = Family(
    key="sam2",
    architecture="EvfSam2Model",
    title="EVF-SAM2",
    config_type=Sam2Config,
    scales=MappingProxyType(
        {
            "large": Sam2Config(),
            "tiny": Sam2Config(
                trunk_embed_dim=96,
                trunk_num_heads=1,
                trunk_stages=(1, 2, 7, 2),
                trunk_global_blocks=(5, 7, 9),
                trunk_window_sizes=(8, 4, 14, 7),
            ),
        }
    ),
    multimask=True,
    mask_decoder="sam_mask_decoder",
    prompt_encoder="sam_prompt_encoder",
    float32_parts=Sam2MaskBackbone.float32_parts,
    learns_no_mask=True,
    build=build_sam2,
    pixels=stretched_pixels,
    encode=_encode_sam2,
    decode=_decode_sam2,
    backbone=Sam2MaskBackbone,
)
_EFFICIENT_SAM = Family(
    key="efficient_sam",
    architecture="EvfEffiSamModel",
    title="EVF-EfficientSAM",
    config_type=EfficientSamConfig,
    scales=MappingProxyType(
        {
            "small": EfficientSamConfig(),
            "tiny": EfficientSamConfig(encoder_embed_dim=192, encoder_num_heads=3),
        }
    ),
    multimask=False,
    mask_decoder="mask_decoder",
    prompt_encoder="prompt_encoder",
    float32_parts=EFFICIENT_FLOAT32_PARTS,
    learns_no_mask=False,
    build=build_efficient_sam,
    pixels=stretched_pixels,
    encode=_encode_single_level,
    decode=_decode_efficient_sam,
    backbone=EfficientSamMaskBackbone,
)
FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {family.key: family for family in (_SAM, _SAM2, _EFFICIENT_SAM)}
)


def find_family(key: str | None, architectures: Sequence[str] | None) -> Family:
    """Tell the family from a configuration's field and the class name it was released under.

    Args:
        key: one of `FAMILIES`, or None.
        architectures: as in `config.json`; None or empty says nothing. Without either, the family is "sam".

    Raises:
        ConfigurationError: one is unknown, or they contradict each other.
    """
    if key is not None and key not in FAMILIES:
        raise ConfigurationError(f"EVF-SAM: expected family to be one of {sorted(FAMILIES)}, got {key!r}")
    if not architectures:
        return FAMILIES[key or "sam"]
    named = {family.architecture: family for family in FAMILIES.values()}
    if len(architectures) != 1 or architectures[0] not in named:
        raise ConfigurationError(
            f"EVF-SAM: expected weights of one of {sorted(named)}, got {list(architectures)}; check the path"
        )
    family = named[architectures[0]]
    if key not in (None, family.key):
        raise ConfigurationError(
            f"EVF-SAM: the architecture {family.architecture} is of the family {family.key!r}, "
            f"but the field family says {key!r}; correct one of them"
        )
    return family
