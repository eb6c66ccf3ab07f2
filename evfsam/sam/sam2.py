"""SAM-2 on still images behind the `MaskBackbone` protocol.

Shapes: C channels of a prompt, (h, w) the embedding grid, P prompts, M candidate masks.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from evfsam.errors import GeometryError
from evfsam.geometry import Frame, stretched_frame
from evfsam.preprocess import stretched_pixels
from evfsam.prompts import check_image_count, prompt_box, prompt_points
from evfsam.sam.backbone import BaseMaskBackbone
from evfsam.sam2_modules import Sam2Config, build_sam2
from evfsam.types import ImageEmbedding, RgbImage, SamPrompt

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

_TOP_LEFT, _BOTTOM_RIGHT = 2, 3  # labels of box corners


def encode_sam2_pixels(sam: "SAM2Base", pixel_values: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Run the image encoder as for an image without memory.

    Args:
        sam: the encoder's owner.
        pixel_values: (B, 3, side, side).

    Returns:
        (B, C, h, w) embeddings, and the finer levels (B, C/8, 4h, 4w) and (B, C/4, 2h, 2w); all in the model's type.
    """
    dtype = sam.no_mem_embed.dtype
    *finer, coarsest = sam.forward_image(pixel_values.to(dtype))["backbone_fpn"]
    embeddings = coarsest + sam.no_mem_embed.view(1, -1, 1, 1)
    return embeddings.to(dtype), tuple(level.to(dtype) for level in finer)


def decode_sam2_prompts(
    sam: "SAM2Base",
    image_embeddings: torch.Tensor,
    sparse_prompt_embeddings: torch.Tensor,
    *,
    multimask: bool,
    high_res_features: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run SAM-2's mask decoder with each prompt on its own image, or all on one. Gradients flow.

    Asked for one mask in eval mode, SAM-2 gives the best of the three where the single one is unstable.

    Args:
        sam: the decoder's owner.
        image_embeddings: (P, C, h, w), or (1, C, h, w) shared by all prompts.
        sparse_prompt_embeddings: (P, N, C).
        multimask: whether to return the three candidates instead of the single mask.
        high_res_features: the finer levels of `encode_sam2_pixels`, one an image.

    Returns:
        (P, M, 4h, 4w) low-resolution logits and (P, M) predicted IoUs, in the decoder's type.

    Raises:
        GeometryError: the number of images is neither 1 nor the number of prompts, or finer levels are missing.
    """
    low_res_logits, pred_ious, _, _ = run_sam2_decoder(
        sam, image_embeddings, sparse_prompt_embeddings, multimask=multimask, high_res_features=high_res_features
    )
    return low_res_logits, pred_ious


def run_sam2_decoder(
    sam: "SAM2Base",
    image_embeddings: torch.Tensor,
    sparse_prompt_embeddings: torch.Tensor,
    *,
    multimask: bool,
    high_res_features: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Do as `decode_sam2_prompts`, and also return what tracking needs.

    Returns:
        Logits and IoUs as there, the candidates' output tokens (P, M, C), and (P, 1) object scores, above 0 where the
        object is visible.

    Raises:
        GeometryError: as there.
    """
    prompt_count = len(sparse_prompt_embeddings)
    check_image_count(len(image_embeddings), prompt_count)
    if len(high_res_features) != 2:
        raise GeometryError(
            f"SAM-2 decodes from the embedding and 2 finer levels, got {len(high_res_features)}; "
            "pass the high_res_features that encoding returned"
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
    float32_parts = ("sam_prompt_encoder",)

    def frame(self, embedding: ImageEmbedding) -> Frame:
        """Return where the image lies in SAM-2's input: stretched over all of it."""
        return stretched_frame(embedding.original_size, self.config.image_size)

    @classmethod
    def _build(cls, values: Mapping[str, object]) -> "tuple[SAM2Base, Sam2Config]":
        config = Sam2Config.from_dict(values)
        return build_sam2(config), config

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

    def _pixels(self, image: RgbImage) -> tuple[torch.Tensor, Frame]:
        return stretched_pixels(image, self.config.image_size)

    def _encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        return encode_sam2_pixels(self.sam, pixels.to(self.sam.device))

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

    def _decode(
        self, embedding: ImageEmbedding, sparse: torch.Tensor, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        finer = embedding.high_res_features
        return decode_sam2_prompts(
            self.sam, embedding.image_embeddings, sparse, multimask=multimask, high_res_features=finer
        )
