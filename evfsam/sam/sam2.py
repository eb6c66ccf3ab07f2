"""SAM-2 on still images behind the `MaskBackbone` protocol, at any size.

It is built in code from the modules of `sam2`, without that package's configuration files. EVF-SAM2 was made from
SAM 2.0; what SAM 2.1 added is left out. Module names are those of the released weights.

Shapes: C channels of a prompt, (h, w) the embedding grid, P prompts, M candidate masks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from evfsam.errors import ConfigurationError, GeometryError
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

if TYPE_CHECKING:  # importing sam2 starts its configuration system; only who builds a SAM-2 pays for that
    from sam2.modeling.sam2_base import SAM2Base


_STRIDE = 16
_DEEPEST_STRIDE = 32
_PATCH_STRIDE = 4

_TOP_LEFT, _BOTTOM_RIGHT = 2, 3  # labels of box corners


@dataclass(frozen=True)
class Sam2Config(VisualConfig):
    """Sizes of a SAM-2; the defaults are Hiera-L.

    Attributes:
        image_size: side of the square input, pixels; the embedding has a sixteenth of it.
        trunk_embed_dim, trunk_num_heads, trunk_stages: Hiera's first stage, and its blocks a stage; width and heads
            double from stage to stage.
        trunk_global_blocks: blocks that see the whole image; the others see windows.
        trunk_window_sizes: side of a window a stage, patches.
        trunk_position_grid: side of the table of coarse positions.
        prompt_embed_dim: C, also the channels of the image embedding; a multiple of 8.
        memory_dim: channels of a frame's memory; divides C.
        memory_attention_depth, memory_attention_mlp_dim: transformer that reads the memories.
        memory_frame_count: frames whose memories are read, the prompted one among them.
        object_pointer_count: frames whose object pointers are read.

    Raises:
        ConfigurationError: sizes do not fit together.
    """

    title: ClassVar = "SAM-2"

    image_size: int = 1024
    trunk_embed_dim: int = 144
    trunk_num_heads: int = 2
    trunk_stages: tuple[int, ...] = (2, 6, 36, 4)
    trunk_global_blocks: tuple[int, ...] = (23, 33, 43)
    trunk_window_sizes: tuple[int, ...] = (8, 4, 16, 8)
    trunk_position_grid: int = 7
    prompt_embed_dim: int = 256
    memory_dim: int = 64
    memory_attention_depth: int = 4
    memory_attention_mlp_dim: int = 2048
    memory_frame_count: int = 7
    object_pointer_count: int = 16

    def _check(self) -> None:
        if not len(self.trunk_stages) == len(self.trunk_window_sizes) == 4 or min(self.trunk_stages) < 1:
            raise ConfigurationError(
                "SAM-2: expected 4 stages of blocks and 4 window sizes, got {trunk_stages} and {trunk_window_sizes}",
                trunk_stages=self.trunk_stages,
                trunk_window_sizes=self.trunk_window_sizes,
            )
        divisions = {
            "image_size": (self.image_size, max(_DEEPEST_STRIDE, _PATCH_STRIDE * self.trunk_window_sizes[0])),
            "trunk_embed_dim": (self.trunk_embed_dim, self.trunk_num_heads),
            "prompt_embed_dim": (self.prompt_embed_dim, 16),
            "prompt_embed_dim beside memory_dim": (self.prompt_embed_dim, self.memory_dim),
            "memory_dim": (self.memory_dim, 4),
        }
        self._check_multiples(divisions)
        self._check_blocks(self.trunk_global_blocks, sum(self.trunk_stages))

    @property
    def embedding_size(self) -> tuple[int, int]:
        """(h, w) of the image embedding."""
        side = self.image_size // _STRIDE
        return side, side


class _FuserBlock(nn.Module):
    """ConvNeXt block of the memory encoder. Its layer scale is `weight` in EVF-SAM2's files, `gamma` in SAM-2's own.

    Source:
        ConvNeXt, arXiv:2201.03545.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 1e-6))
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = LayerNorm2d(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) to (B, C, h, w)."""
        inner = self.norm(self.dwconv(features)).permute(0, 2, 3, 1)
        scaled: torch.Tensor = self.weight * self.pwconv2(F.gelu(self.pwconv1(inner)))
        return features + scaled.permute(0, 3, 1, 2)


class _RealNumbers(TorchFunctionMode):
    """Makes ranges on the CPU: Hiera reads its drop rates out of one, which the meta device cannot give."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        options = kwargs or {}
        return func(*args, **({"device": "cpu"} | options if func is torch.linspace else options))


def build_sam2(config: Sam2Config) -> "SAM2Base":
    """Build a SAM-2 with fresh weights, in eval mode.

    Source:
        SAM 2, arXiv:2408.00714, section 4 and appendix D.
    """
    from sam2.modeling.sam2_base import SAM2Base

    sam = SAM2Base(
        image_encoder=_image_encoder(config),
        memory_attention=_memory_attention(config),
        memory_encoder=_memory_encoder(config),
        num_maskmem=config.memory_frame_count,
        image_size=config.image_size,
        backbone_stride=_STRIDE,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        binarize_mask_from_pts_for_mem_enc=True,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        max_obj_ptrs_in_encoder=config.object_pointer_count,
        add_tpos_enc_to_obj_ptrs=False,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        use_mlp_for_obj_ptr_proj=True,
        sam_mask_decoder_extra_args={
            "dynamic_multimask_via_stability": True,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    )
    return sam.eval()


def _image_encoder(config: Sam2Config) -> nn.Module:
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder

    with _RealNumbers():
        trunk = Hiera(
            embed_dim=config.trunk_embed_dim,
            num_heads=config.trunk_num_heads,
            stages=config.trunk_stages,
            global_att_blocks=config.trunk_global_blocks,
            window_pos_embed_bkg_spatial_size=(config.trunk_position_grid, config.trunk_position_grid),
            window_spec=config.trunk_window_sizes,
        )
    neck = FpnNeck(
        position_encoding=_sine_positions(config.prompt_embed_dim),
        d_model=config.prompt_embed_dim,
        backbone_channel_list=trunk.channel_list,
        fpn_top_down_levels=[2, 3],
        fpn_interp_model="nearest",
    )
    encoder: nn.Module = ImageEncoder(trunk=trunk, neck=neck, scalp=1)
    return encoder


def _memory_attention(config: Sam2Config) -> nn.Module:
    from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer

    layer = MemoryAttentionLayer(
        activation="relu",
        d_model=config.prompt_embed_dim,
        dim_feedforward=config.memory_attention_mlp_dim,
        dropout=0.1,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=_rotary_attention(config, kv_in_dim=config.prompt_embed_dim),
        cross_attention=_rotary_attention(config, kv_in_dim=config.memory_dim),
    )
    reader: nn.Module = MemoryAttention(
        d_model=config.prompt_embed_dim, pos_enc_at_input=True, layer=layer, num_layers=config.memory_attention_depth
    )
    return reader


def _rotary_attention(config: Sam2Config, kv_in_dim: int) -> nn.Module:
    """Build sam2's rotary attention without its constructor, which moves a table to a CUDA device of its own choice.

    The table is a plain tensor, neither parameter nor buffer: it is made on the CPU even where weights are only planned
    (the meta device), and follows the queries' device at every call.
    """
    from sam2.modeling.sam.transformer import Attention, RoPEAttention, compute_axial_cis

    attention: Any = RoPEAttention.__new__(RoPEAttention)
    Attention.__init__(attention, config.prompt_embed_dim, num_heads=1, dropout=0.1, kv_in_dim=kv_in_dim)
    attention.compute_cis = partial(compute_axial_cis, dim=config.prompt_embed_dim, theta=10000.0)
    height, width = config.embedding_size
    with torch.device("cpu"):
        attention.freqs_cis = attention.compute_cis(end_x=width, end_y=height)
    attention.rope_k_repeat = True
    return attention  # type: ignore[no-any-return]


def _memory_encoder(config: Sam2Config) -> nn.Module:
    from sam2.modeling.memory_encoder import Fuser, MaskDownSampler, MemoryEncoder

    channels = config.prompt_embed_dim
    encoder: nn.Module = MemoryEncoder(
        out_dim=config.memory_dim,
        in_dim=channels,
        mask_downsampler=MaskDownSampler(embed_dim=channels, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(_FuserBlock(channels), num_layers=2),
        position_encoding=_sine_positions(config.memory_dim),
    )
    return encoder


def _sine_positions(channels: int) -> nn.Module:
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    # Its cache is filled at the first use, never on a device that nobody chose.
    positions: nn.Module = PositionEmbeddingSine(num_pos_feats=channels, normalize=True, warmup_cache=False)
    return positions


def run_sam2_decoder(
    sam: "SAM2Base",
    image_embeddings: torch.Tensor,
    sparse_prompt_embeddings: torch.Tensor,
    *,
    multimask: bool,
    high_res_features: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run SAM-2's mask decoder with each prompt on its own image, or all on one. Gradients flow.

    Asked for one mask in eval mode, SAM-2 gives the best of the three where the single one is unstable.

    Args:
        sam: the decoder's owner.
        image_embeddings: (P, C, h, w), or (1, C, h, w) shared by all prompts.
        sparse_prompt_embeddings: (P, N, C).
        multimask: whether to return the three candidates instead of the single mask.
        high_res_features: the finer levels of `Sam2MaskBackbone.encode`, one an image.

    Returns:
        (P, M, 4h, 4w) low-resolution logits and (P, M) predicted IoUs, in the decoder's type. What tracking needs: the
        candidates' output tokens (P, M, C), and (P, 1) object scores, above 0 where the object is visible.

    Raises:
        GeometryError: the number of images is neither 1 nor the number of prompts, or finer levels are missing.
    """
    prompt_count = len(sparse_prompt_embeddings)
    check_image_count(len(image_embeddings), prompt_count)
    if len(high_res_features) != 2:
        raise GeometryError(
            "SAM-2 decodes from the embedding and 2 finer levels, got {count}; pass the high_res_features that "
            "encoding returned",
            count=len(high_res_features),
        )
    dtype = sam.no_mem_embed.dtype
    with torch.autocast(sparse_prompt_embeddings.device.type, enabled=False):
        dense_pe = sam.sam_prompt_encoder.get_dense_pe()
    dense = sam.sam_prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1).to(dtype)
    answer: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor] = sam.sam_mask_decoder(
        image_embeddings=image_embeddings.to(dtype).expand(prompt_count, -1, -1, -1),
        image_pe=dense_pe.to(dtype),
        sparse_prompt_embeddings=sparse_prompt_embeddings.to(dtype),
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
        repeat_image=False,
        high_res_features=[level.to(dtype) for level in high_res_features],
    )
    return answer


class Sam2MaskBackbone(BaseMaskBackbone["SAM2Base", Sam2Config]):
    """SAM-2 on still images; see `BaseMaskBackbone`. A prompt's box comes before its points.

    SAM-2 sees a box as two points with labels of their own, and closes every list of points with an empty one.
    """

    model_type = "sam2"
    architecture = "EvfSam2Model"
    title = "EVF-SAM2"
    mark = "visual_model.sam_mask_decoder."
    config_type = Sam2Config
    scales = MappingProxyType(
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
    )
    build = staticmethod(build_sam2)
    is_stretched = True
    multimask = True
    mask_decoder = "sam_mask_decoder"
    prompt_encoder = "sam_prompt_encoder"
    float32_parts = ("sam_prompt_encoder",)

    @staticmethod
    def encode(sam: "SAM2Base", pixel_values: torch.Tensor) -> EncodedImages:
        """Do as `BaseMaskBackbone.encode` says, as for an image without memory."""
        dtype = sam.no_mem_embed.dtype
        *finer, coarsest = sam.forward_image(pixel_values.to(dtype))["backbone_fpn"]
        embeddings = coarsest + sam.no_mem_embed.view(1, -1, 1, 1)
        return EncodedImages(embeddings.to(dtype), tuple(level.to(dtype) for level in finer))

    @staticmethod
    def decode_features(
        sam: "SAM2Base", features: EncodedImages, prompts: torch.Tensor, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Do as `BaseMaskBackbone.decode_features` says; see `run_sam2_decoder`."""
        finer = features.high_res_features
        return run_sam2_decoder(sam, features.image_embeddings, prompts, multimask=multimask, high_res_features=finer)[
            :2
        ]

    def _identity_facts(self) -> tuple[object, ...]:
        return (
            "sam2",
            self.config.image_size,
            self.config.trunk_num_heads,
            self.config.trunk_stages,
            self.config.trunk_global_blocks,
            self.config.trunk_window_sizes,
            self.sam.no_mem_embed.dtype,
        )

    def _encoder_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.sam.image_encoder.state_dict().items()
        for name in ("conv_s0", "conv_s1"):
            for key, value in getattr(self.sam.sam_mask_decoder, name).state_dict().items():
                yield f"{name}.{key}", value
        yield "no_mem_embed", self.sam.no_mem_embed

    def _embed_marks(self, prompt: SamPrompt, frame: Frame) -> torch.Tensor:
        prompt_encoder = self.sam.sam_prompt_encoder
        device = prompt_encoder.not_a_point_embed.weight.device
        box, points = prompt_box(prompt, frame, device), prompt_points(prompt, frame, device)
        if box is not None:
            corners = box.view(1, 2, 2), torch.tensor([[_TOP_LEFT, _BOTTOM_RIGHT]], device=device)
            if points is None:
                points = corners
            else:
                points = torch.cat([corners[0], points[0]], 1), torch.cat([corners[1], points[1]], 1)
        with torch.autocast(device.type, enabled=False):
            sparse, _ = prompt_encoder(points=points, boxes=None, masks=None)
        return torch.as_tensor(sparse)
