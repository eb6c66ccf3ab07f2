"""SAM behind the `MaskBackbone` protocol, at any image size, built from the modules of `segment_anything`.

Shapes: C channels of a prompt, (h, w) the embedding grid, P prompts, M candidate masks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import ClassVar

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import nn

from evfsam.geometry import Frame
from evfsam.sam.backbone import (
    BaseMaskBackbone,
    EncodedImages,
    VisualConfig,
    check_image_count,
    prompt_box,
    prompt_points,
)
from evfsam.sam.image_encoder import ImageEncoder
from evfsam.types import SamPrompt


@dataclass(frozen=True)
class SamConfig(VisualConfig):
    """Sizes of a SAM; the defaults are ViT-H.

    Attributes:
        image_size, vit_patch_size: side of the square input and of a patch, pixels.
        encoder_embed_dim, encoder_depth, encoder_num_heads, mlp_ratio, qkv_bias, use_rel_pos: image encoder.
        encoder_global_attn_indexes: blocks that see the whole image; the others see windows.
        window_size: side of a window, patches; 0 makes every block global.
        prompt_embed_dim: C, also the channels of the image embedding; a multiple of 8.
        mask_in_chans: inner channels for mask prompts.
        decoder_depth, decoder_mlp_dim, decoder_num_heads: two-way transformer.
        num_multimask_outputs, iou_head_depth, iou_head_hidden_dim: candidates beside the single mask; IoU head.
        looks_closer: whether a small thing in a person's box is seen alone (`evfsam.sam.closer_look`); a field that no
            published checkpoint sets.

    Raises:
        ConfigurationError: sizes do not fit together.
    """

    title: ClassVar = "SAM"

    image_size: int = 1024
    vit_patch_size: int = 16
    encoder_embed_dim: int = 1280
    encoder_depth: int = 32
    encoder_num_heads: int = 16
    encoder_global_attn_indexes: tuple[int, ...] = (7, 15, 23, 31)
    window_size: int = 14
    mlp_ratio: float = 4.0
    use_rel_pos: bool = True
    qkv_bias: bool = True
    prompt_embed_dim: int = 256
    mask_in_chans: int = 16
    decoder_depth: int = 2
    decoder_mlp_dim: int = 2048
    decoder_num_heads: int = 8
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    looks_closer: bool = False

    def _check(self) -> None:
        divisions = {
            "image_size": (self.image_size, self.vit_patch_size),
            "encoder_embed_dim": (self.encoder_embed_dim, self.encoder_num_heads),
            "prompt_embed_dim": (self.prompt_embed_dim, 8),
            "half of prompt_embed_dim": (self.prompt_embed_dim // 2, self.decoder_num_heads),
            "mask_in_chans": (self.mask_in_chans, 4),
        }
        self._check_multiples(divisions)
        self._check_blocks(self.encoder_global_attn_indexes, self.encoder_depth)

    @property
    def embedding_size(self) -> tuple[int, int]:
        """(h, w) of the image embedding."""
        side = self.image_size // self.vit_patch_size
        return side, side


class ImageToTokenAttention(Attention):  # type: ignore[misc]  # segment_anything is untyped
    """Attention of many queries, an image's, to a few keys, a prompt's: as published up to rounding.

    The published one has the keys on the last axis. A softmax over seven numbers at a time took a third of the
    decoder's time on a CPU; over seven rows of thousands it takes next to none.
    """

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Mix v (P, N, C) for the queries (P, h*w, C) by their likeness to the keys k (P, N, C): (P, h*w, C)."""
        queries, keys, values = (
            self._separate_heads(project(x), self.num_heads)
            for project, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        likeness = keys @ queries.transpose(-1, -2) / queries.shape[-1] ** 0.5
        mixed = likeness.softmax(dim=-2).transpose(-1, -2) @ values
        out: torch.Tensor = self.out_proj(self._recombine_heads(mixed))
        return out


def _two_way_transformer(config: SamConfig) -> TwoWayTransformer:
    transformer = TwoWayTransformer(
        depth=config.decoder_depth,
        embedding_dim=config.prompt_embed_dim,
        mlp_dim=config.decoder_mlp_dim,
        num_heads=config.decoder_num_heads,
    )
    for block in transformer.layers:
        # The class alone changes: a new module would draw weights of its own and shift all that are drawn after it.
        block.cross_attn_image_to_token.__class__ = ImageToTokenAttention
    return transformer


def build_sam(config: SamConfig) -> Sam:
    """Build a SAM with fresh weights, in eval mode.

    Source:
        SAM, arXiv:2304.02643, appendix A.
    """
    channels = config.prompt_embed_dim
    sam = Sam(
        image_encoder=ImageEncoder(
            img_size=config.image_size,
            patch_size=config.vit_patch_size,
            embed_dim=config.encoder_embed_dim,
            depth=config.encoder_depth,
            num_heads=config.encoder_num_heads,
            mlp_ratio=config.mlp_ratio,
            out_chans=channels,
            qkv_bias=config.qkv_bias,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=config.use_rel_pos,
            window_size=config.window_size,
            global_attn_indexes=config.encoder_global_attn_indexes,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels,
            image_embedding_size=config.embedding_size,
            input_image_size=(config.image_size, config.image_size),
            mask_in_chans=config.mask_in_chans,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=channels,
            transformer=_two_way_transformer(config),
            num_multimask_outputs=config.num_multimask_outputs,
            iou_head_depth=config.iou_head_depth,
            iou_head_hidden_dim=config.iou_head_hidden_dim,
        ),
    )
    return sam.eval()


def decode_prompts(
    sam: Sam, image_embeddings: torch.Tensor, sparse_prompt_embeddings: torch.Tensor, *, multimask: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run SAM's mask decoder with each prompt on its own image, or all on one. Gradients flow.

    `segment_anything` only knows many prompts on one image; a batch of training pairs needs one image a prompt.

    Args:
        sam: the decoder's owner.
        image_embeddings: (P, C, h, w), or (1, C, h, w) shared by all prompts.
        sparse_prompt_embeddings: (P, N, C).
        multimask: whether to return the three candidates instead of the single mask.

    Returns:
        (P, M, 4h, 4w) low-resolution logits and (P, M) predicted IoUs, in the decoder's type.

    Raises:
        GeometryError: the number of images is neither 1 nor the number of prompts.
    """
    decoder, prompt_encoder = sam.mask_decoder, sam.prompt_encoder
    prompt_count = len(sparse_prompt_embeddings)
    check_image_count(len(image_embeddings), prompt_count)
    dtype = decoder.iou_token.weight.dtype
    with torch.autocast(sparse_prompt_embeddings.device.type, enabled=False):
        dense_pe = prompt_encoder.get_dense_pe()  # sines of large angles: float32 even in mixed-precision training
    queries = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(prompt_count, -1, -1)
    tokens = torch.cat([queries, sparse_prompt_embeddings.to(dtype)], dim=1)
    dense = prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1).to(dtype)
    # One image stays one: the transformer projects it once for all prompts, until its first block tells them apart.
    source, position = image_embeddings.to(dtype) + dense, dense_pe.to(dtype)

    states, keys = decoder.transformer(source, position, tokens)
    upscaled = decoder.output_upscaling(keys.transpose(1, 2).unflatten(2, source.shape[-2:]))
    mask_states = states[:, 1 : 1 + decoder.num_mask_tokens]
    weights = torch.stack([mlp(mask_states[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1)
    low_res_logits = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
    pred_ious = decoder.iou_prediction_head(states[:, 0])
    candidates = slice(1, None) if multimask else slice(0, 1)
    return low_res_logits[:, candidates], pred_ious[:, candidates]


class SamMaskBackbone(BaseMaskBackbone[Sam, SamConfig]):
    """SAM; see `BaseMaskBackbone`. A prompt's points come before its box."""

    model_type = "sam"
    architecture = "EvfSamModel"
    title = "EVF-SAM"
    mark = "visual_model.mask_decoder.output_upscaling."
    config_type = SamConfig
    scales = MappingProxyType(
        {
            "huge": SamConfig(),
            "large": SamConfig(encoder_embed_dim=1024, encoder_depth=24, encoder_global_attn_indexes=(5, 11, 17, 23)),
            "base": SamConfig(
                encoder_embed_dim=768, encoder_depth=12, encoder_num_heads=12, encoder_global_attn_indexes=(2, 5, 8, 11)
            ),
        }
    )
    build = staticmethod(build_sam)
    is_stretched = False
    float32_parts = ("prompt_encoder", "mask_decoder", "image_encoder.neck")

    @property
    def looks_closer(self) -> bool:
        """As its configuration says."""
        return self.config.looks_closer

    @staticmethod
    def encode(sam: Sam, pixel_values: torch.Tensor) -> EncodedImages:
        """Do as `BaseMaskBackbone.encode` says."""
        encoder = sam.image_encoder
        return EncodedImages(encoder(pixel_values.to(next(encoder.parameters()).dtype)))

    @staticmethod
    def decode_features(
        sam: Sam, features: EncodedImages, prompts: torch.Tensor, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Do as `BaseMaskBackbone.decode_features` says."""
        return decode_prompts(sam, features.image_embeddings, prompts, multimask=multimask)

    def _identity_facts(self) -> tuple[object, ...]:
        config, dtype = self.config, next(self.sam.image_encoder.parameters()).dtype
        heads_and_windows = config.encoder_num_heads, config.encoder_global_attn_indexes, config.window_size
        return (config.image_size, *heads_and_windows, dtype)

    def _encoder_weights(self) -> Iterable[tuple[str, torch.Tensor]]:
        weights: dict[str, torch.Tensor] = self.sam.image_encoder.state_dict()
        return weights.items()

    def _embed_marks(self, prompt: SamPrompt, frame: Frame) -> torch.Tensor:
        prompt_encoder = self.sam.prompt_encoder
        device = prompt_encoder.not_a_point_embed.weight.device
        points, box = prompt_points(prompt, frame, device), prompt_box(prompt, frame, device)
        with torch.autocast(device.type, enabled=False):
            sparse, _ = prompt_encoder(points=points, boxes=box, masks=None)
        return torch.as_tensor(sparse)
