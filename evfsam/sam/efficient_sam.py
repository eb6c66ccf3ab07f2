"""EfficientSAM behind the `MaskBackbone` protocol.

No package holds its modules, so they are written here, under the names of the released weights. Three things set its
decoder apart from SAM's: GELU throughout, queries that keep their position and their residual, and no dense prompt.

Shapes: C channels of a prompt, (h, w) the embedding grid, P prompts, M candidate masks.
Source: EfficientSAM, arXiv:2312.00863.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import ClassVar, Final

import torch
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from segment_anything.modeling.transformer import Attention
from torch import nn
from torch.nn import functional as F

from evfsam.errors import GeometryError
from evfsam.geometry import Frame
from evfsam.sam.backbone import (
    BaseMaskBackbone,
    EncodedImages,
    VisualConfig,
    check_image_count,
    prompt_box,
    prompt_points,
)
from evfsam.types import SamPrompt

INVALID: Final = -1
POINT: Final = 1
TOP_LEFT: Final = 2
BOTTOM_RIGHT: Final = 3

_PROMPT_TOKENS = 6  # as trained: fewer points and box corners are filled up with invalid ones


@dataclass(frozen=True)
class EfficientSamConfig(VisualConfig):
    """Sizes of an EfficientSAM; the defaults are EfficientSAM-S.

    Attributes:
        image_size, vit_patch_size: side of the square input and of a patch, pixels.
        encoder_embed_dim, encoder_depth, encoder_num_heads, mlp_ratio: image encoder; every block is global.
        position_grid: side of the grid the position table was trained on, patches.
        prompt_embed_dim: C, also the channels of the image embedding; a multiple of 8.
        decoder_depth, decoder_mlp_dim, decoder_num_heads: two-way transformer.
        num_multimask_outputs, iou_head_depth, iou_head_hidden_dim: candidates beside the single mask; IoU head.

    Raises:
        ConfigurationError: sizes do not fit together.
    """

    title: ClassVar = "EfficientSAM"

    image_size: int = 1024
    vit_patch_size: int = 16
    encoder_embed_dim: int = 384
    encoder_depth: int = 12
    encoder_num_heads: int = 6
    mlp_ratio: float = 4.0
    position_grid: int = 14
    prompt_embed_dim: int = 256
    decoder_depth: int = 2
    decoder_mlp_dim: int = 2048
    decoder_num_heads: int = 8
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256

    def _check(self) -> None:
        divisions = {
            "image_size": (self.image_size, self.vit_patch_size),
            "encoder_embed_dim": (self.encoder_embed_dim, self.encoder_num_heads),
            "prompt_embed_dim": (self.prompt_embed_dim, 8),
            "half of prompt_embed_dim": (self.prompt_embed_dim // 2, self.decoder_num_heads),
        }
        self._check_multiples(divisions)

    @property
    def embedding_size(self) -> tuple[int, int]:
        """(h, w) of the image embedding."""
        side = self.image_size // self.vit_patch_size
        return side, side


class _SelfAttention(nn.Module):
    def __init__(self, width: int, head_count: int) -> None:
        super().__init__()
        self.head_count = head_count
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, N, D) to (B, N, D)."""
        queries, keys, values = self.qkv(tokens).unflatten(2, (3, self.head_count, -1)).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(queries, keys, values)
        return self.proj(context.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))  # type: ignore[no-any-return]


class _EncoderBlock(nn.Module):
    def __init__(self, width: int, head_count: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _SelfAttention(width, head_count)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _FeedForward(width, inner)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        attended: torch.Tensor = tokens + self.attn(self.norm1(tokens))
        return attended + self.mlp(self.norm2(attended))  # type: ignore[no-any-return]


class _PatchEmbedding(nn.Module):
    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)


class EfficientImageEncoder(nn.Module):
    """A plain vision transformer with global attention, and SAM's neck.

    The position table was trained on a smaller grid with a [CLS] token: its first row is dropped, the rest enlarged.

    Args:
        config: sizes.
    """

    def __init__(self, config: EfficientSamConfig) -> None:
        super().__init__()
        width, channels = config.encoder_embed_dim, config.prompt_embed_dim
        self.grid, self.position_grid = config.embedding_size, config.position_grid
        self.patch_embed = _PatchEmbedding(width, config.vit_patch_size)
        self.pos_embed = nn.Parameter(torch.empty(1, self.position_grid**2 + 1, width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        inner = int(width * config.mlp_ratio)
        blocks = (_EncoderBlock(width, config.encoder_num_heads, inner) for _ in range(config.encoder_depth))
        self.blocks = nn.ModuleList(blocks)
        self.neck = nn.Sequential(
            nn.Conv2d(width, channels, 1, bias=False),
            LayerNorm2d(channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            LayerNorm2d(channels),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, side, side) to (B, C, h, w)."""
        patches = self.patch_embed.proj(pixels)
        tokens = (patches + self._positions()).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return self.neck(tokens.transpose(1, 2).unflatten(2, patches.shape[-2:]))  # type: ignore[no-any-return]

    def _positions(self) -> torch.Tensor:
        """(1, D, h, w)."""
        side = self.position_grid
        table = self.pos_embed[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
        enlarged = F.interpolate(table.float(), self.grid, mode="bicubic", align_corners=False)
        return enlarged.to(table.dtype)


class EfficientPromptEncoder(nn.Module):
    """Positions of points, box corners and patches. It knows no point off the object and no mask.

    Args:
        config: sizes.
    """

    def __init__(self, config: EfficientSamConfig) -> None:
        super().__init__()
        channels = config.prompt_embed_dim
        self.grid, self.image_size = config.embedding_size, config.image_size
        self.pe_layer = PositionEmbeddingRandom(channels // 2)
        self.invalid_points = nn.Embedding(1, channels)
        self.point_embeddings = nn.Embedding(1, channels)
        self.bbox_top_left_embeddings = nn.Embedding(1, channels)
        self.bbox_bottom_right_embeddings = nn.Embedding(1, channels)

    def get_dense_pe(self) -> torch.Tensor:
        """(1, C, h, w), the position of every patch."""
        return self.pe_layer(self.grid).unsqueeze(0)  # type: ignore[no-any-return]

    def forward(self, coords: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Embed (B, N, 2) XY input pixels, half a pixel less than ours, with (B, N) labels: (B, N, C)."""
        embedded = self.pe_layer.forward_with_coords(coords + 0.5, (self.image_size, self.image_size))
        kinds = {
            INVALID: self.invalid_points,
            POINT: self.point_embeddings,
            TOP_LEFT: self.bbox_top_left_embeddings,
            BOTTOM_RIGHT: self.bbox_bottom_right_embeddings,
        }
        for label, kind in kinds.items():
            embedded = embedded + (labels == label).unsqueeze(-1) * kind.weight
        return torch.as_tensor(embedded)


class _Perceptron(nn.Module):
    """Linear layers with GELU after each, and a last one without."""

    def __init__(self, width: int, inner: int, out: int, inner_count: int) -> None:
        super().__init__()
        widths = [width] + [inner] * inner_count
        steps = pairwise(widths)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(n, m), nn.GELU()) for n, m in steps)
        self.fc = nn.Linear(widths[-1], out)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            states = layer(states)
        return self.fc(states)  # type: ignore[no-any-return]


class _TwoWayBlock(nn.Module):
    def __init__(self, channels: int, head_count: int, inner: int, *, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(channels, head_count)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = Attention(channels, head_count, downsample_rate=2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = _Perceptron(channels, inner, channels, inner_count=1)
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = Attention(channels, head_count, downsample_rate=2)

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, query_pe: torch.Tensor, key_pe: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_first:  # the position stays in the queries: it reaches the values and the residual
            queries = queries + query_pe
        queries = self.norm1(queries + self.self_attn(q=queries, k=queries, v=queries))
        placed_keys = keys + key_pe
        answer = self.cross_attn_token_to_image(q=queries + query_pe, k=placed_keys, v=keys)
        queries = self.norm2(queries + answer)
        queries = self.norm3(queries + self.mlp(queries))
        answer = self.cross_attn_image_to_token(q=placed_keys, k=queries + query_pe, v=queries)
        return queries, self.norm4(keys + answer)


class _TwoWayTransformer(nn.Module):
    def __init__(self, config: EfficientSamConfig) -> None:
        super().__init__()
        channels, head_count = config.prompt_embed_dim, config.decoder_num_heads
        self.layers = nn.ModuleList(
            _TwoWayBlock(channels, head_count, config.decoder_mlp_dim, is_first=index == 0)
            for index in range(config.decoder_depth)
        )
        self.final_attn_token_to_image = Attention(channels, head_count, downsample_rate=2)
        self.norm_final_attn = nn.LayerNorm(channels)

    def forward(
        self, source: torch.Tensor, position: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(P, C, h, w), its positions and (P, N, C): the tokens and the image (P, h * w, C) after they met."""
        keys, key_pe = source.flatten(2).transpose(1, 2), position.flatten(2).transpose(1, 2)
        queries = tokens
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, key_pe)
        answer = self.final_attn_token_to_image(q=queries + tokens, k=keys + key_pe, v=keys)
        return self.norm_final_attn(queries + answer), keys


class EfficientMaskDecoder(nn.Module):
    """Turns prompt tokens and an image embedding into candidate masks.

    Args:
        config: sizes.
    """

    def __init__(self, config: EfficientSamConfig) -> None:
        super().__init__()
        channels, mask_count = config.prompt_embed_dim, config.num_multimask_outputs + 1
        self.transformer = _TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, channels)
        self.mask_tokens = nn.Embedding(mask_count, channels)
        half, quarter = channels // 4, channels // 8
        self.final_output_upscaling_layers = nn.ModuleList(
            [
                nn.Sequential(nn.ConvTranspose2d(channels, half, 2, stride=2), nn.GroupNorm(1, half), nn.GELU()),
                nn.Sequential(nn.ConvTranspose2d(half, quarter, 2, stride=2), nn.Identity(), nn.GELU()),
            ]
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            _Perceptron(channels, channels, quarter, inner_count=2) for _ in range(mask_count)
        )
        self.iou_prediction_head = _Perceptron(
            channels, config.iou_head_hidden_dim, mask_count, inner_count=config.iou_head_depth - 1
        )

    def forward(
        self, source: torch.Tensor, position: torch.Tensor, prompts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(P, C, h, w), its positions and (P, N, C): every candidate's logits (P, M, 4h, 4w) and IoUs (P, M)."""
        queries = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(len(prompts), -1, -1)
        states, keys = self.transformer(source, position, torch.cat([queries, prompts], dim=1))
        upscaled = keys.transpose(1, 2).unflatten(2, source.shape[-2:])
        for layer in self.final_output_upscaling_layers:
            upscaled = layer(upscaled)
        weights = [mlp(states[:, 1 + index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)]
        logits = (torch.stack(weights, dim=1) @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
        return logits, self.iou_prediction_head(states[:, 0])


class EfficientSam(nn.Module):
    """Image encoder, prompt encoder and mask decoder under their released names.

    Args:
        config: sizes.
    """

    def __init__(self, config: EfficientSamConfig) -> None:
        super().__init__()
        self.image_encoder = EfficientImageEncoder(config)
        self.prompt_encoder = EfficientPromptEncoder(config)
        self.mask_decoder = EfficientMaskDecoder(config)


def build_efficient_sam(config: EfficientSamConfig) -> EfficientSam:
    """Build an EfficientSAM with fresh weights, in eval mode."""
    return EfficientSam(config).eval()


class EfficientSamMaskBackbone(BaseMaskBackbone[EfficientSam, EfficientSamConfig]):
    """EfficientSAM; see `BaseMaskBackbone`. A prompt's box comes before its points, which must lie on the object.

    Text stands alone as EVF-SAM trained it: only prompts without text are filled up with invalid points.
    """

    model_type = "efficient_sam"
    architecture = "EvfEffiSamModel"
    title = "EVF-EfficientSAM"
    mark = "visual_model.mask_decoder.final_output_upscaling_layers."
    config_type = EfficientSamConfig
    scales = MappingProxyType(
        {
            "small": EfficientSamConfig(),
            "tiny": EfficientSamConfig(encoder_embed_dim=192, encoder_num_heads=3),
        }
    )
    build = staticmethod(build_efficient_sam)
    is_stretched = True
    float32_parts = ("prompt_encoder", "mask_decoder")
    learns_no_mask = False

    @staticmethod
    def encode(sam: EfficientSam, pixel_values: torch.Tensor) -> EncodedImages:
        """Do as `BaseMaskBackbone.encode` says."""
        return EncodedImages(sam.image_encoder(pixel_values.to(sam.image_encoder.pos_embed.dtype)))

    @staticmethod
    def decode_features(
        sam: EfficientSam, features: EncodedImages, prompts: torch.Tensor, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Do as `BaseMaskBackbone.decode_features` says."""
        prompt_count = len(prompts)
        check_image_count(len(features.image_embeddings), prompt_count)
        dtype = sam.mask_decoder.iou_token.weight.dtype
        with torch.autocast(prompts.device.type, enabled=False):
            dense_pe = sam.prompt_encoder.get_dense_pe()
        low_res_logits, pred_ious = sam.mask_decoder(
            features.image_embeddings.to(dtype).expand(prompt_count, -1, -1, -1),
            dense_pe.to(dtype).expand(prompt_count, -1, -1, -1),
            prompts.to(dtype),
        )
        candidates = slice(1, None) if multimask else slice(0, 1)
        return low_res_logits[:, candidates], pred_ious[:, candidates]

    def _identity_facts(self) -> tuple[object, ...]:
        dtype = self.sam.image_encoder.pos_embed.dtype
        return ("efficient_sam", self.config.image_size, self.config.encoder_num_heads, dtype)

    def _encoder_weights(self) -> Iterable[tuple[str, torch.Tensor]]:
        return self.sam.image_encoder.state_dict().items()

    def _embed_marks(self, prompt: SamPrompt, frame: Frame) -> torch.Tensor:
        prompt_encoder = self.sam.prompt_encoder
        device = prompt_encoder.invalid_points.weight.device
        coords, labels = torch.zeros(1, 0, 2, device=device), torch.zeros(1, 0, dtype=torch.long, device=device)
        box, points = prompt_box(prompt, frame, device), prompt_points(prompt, frame, device)
        if box is not None:
            corners = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]], device=device)
            coords, labels = torch.cat([coords, box.view(1, 2, 2)], 1), torch.cat([labels, corners], 1)
        if points is not None:
            if bool((points[1] != POINT).any()):
                raise GeometryError("EfficientSAM knows no point off the object; leave such points out")
            coords, labels = torch.cat([coords, points[0]], 1), torch.cat([labels, points[1]], 1)
        if prompt.text_prompt_embeddings is None:
            missing = max(0, _PROMPT_TOKENS - labels.shape[1])
            coords, labels = F.pad(coords, (0, 0, 0, missing), value=-1.0), F.pad(labels, (0, missing), value=INVALID)
        with torch.autocast(device.type, enabled=False):
            return torch.as_tensor(prompt_encoder(coords, labels))
