"""EfficientSAM behind the `MaskBackbone` protocol.

Shapes: C channels of a prompt, (h, w) the embedding grid, P prompts, M candidate masks.
Source: EfficientSAM, arXiv:2312.00863.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import torch
from torch.nn import functional as F

from evfsam.efficient_sam_modules import (
    BOTTOM_RIGHT,
    INVALID,
    POINT,
    TOP_LEFT,
    EfficientSam,
    EfficientSamConfig,
    build_efficient_sam,
)
from evfsam.errors import GeometryError
from evfsam.geometry import Frame, stretched_frame
from evfsam.preprocess import stretched_pixels
from evfsam.prompts import check_image_count, prompt_box, prompt_points
from evfsam.sam.backbone import BaseMaskBackbone
from evfsam.types import ImageEmbedding, RgbImage, SamPrompt

_PROMPT_TOKENS = 6  # as trained: fewer points and box corners are filled up with invalid ones

FLOAT32_PARTS: Final[tuple[str, ...]] = ("prompt_encoder", "mask_decoder")
"""What computes in float32 whatever the model's type; see `families.Family`."""


def decode_efficient_prompts(
    sam: EfficientSam, image_embeddings: torch.Tensor, sparse_prompt_embeddings: torch.Tensor, *, multimask: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the mask decoder with each prompt on its own image, or all on one. Gradients flow.

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
    prompt_count = len(sparse_prompt_embeddings)
    check_image_count(len(image_embeddings), prompt_count)
    dtype = sam.mask_decoder.iou_token.weight.dtype
    with torch.autocast(sparse_prompt_embeddings.device.type, enabled=False):
        dense_pe = sam.prompt_encoder.get_dense_pe()
    low_res_logits, pred_ious = sam.mask_decoder(
        image_embeddings.to(dtype).expand(prompt_count, -1, -1, -1),
        dense_pe.to(dtype).expand(prompt_count, -1, -1, -1),
        sparse_prompt_embeddings.to(dtype),
    )
    candidates = slice(1, None) if multimask else slice(0, 1)
    return low_res_logits[:, candidates], pred_ious[:, candidates]


class EfficientSamMaskBackbone(BaseMaskBackbone[EfficientSam, EfficientSamConfig]):
    """EfficientSAM; see `BaseMaskBackbone`. A prompt's box comes before its points, which must lie on the object.

    Text stands alone as EVF-SAM trained it: only prompts without text are filled up with invalid points.
    """

    model_type = "efficient_sam"
    float32_parts = FLOAT32_PARTS

    def frame(self, embedding: ImageEmbedding) -> Frame:
        """Return where the image lies in the encoder's input: stretched over all of it."""
        return stretched_frame(embedding.original_size, self.config.image_size)

    @classmethod
    def _build(cls, values: Mapping[str, object]) -> tuple[EfficientSam, EfficientSamConfig]:
        config = EfficientSamConfig.from_dict(values)
        return build_efficient_sam(config), config

    def _identity_facts(self) -> tuple[object, ...]:
        dtype = self.sam.image_encoder.pos_embed.dtype
        return ("efficient_sam", self.config.image_size, self.config.encoder_num_heads, dtype)

    def _encoder_weights(self) -> Iterable[tuple[str, torch.Tensor]]:
        return self.sam.image_encoder.state_dict().items()

    def _pixels(self, image: RgbImage) -> tuple[torch.Tensor, Frame]:
        return stretched_pixels(image, self.config.image_size)

    def _encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        parameter = self.sam.image_encoder.pos_embed
        return self.sam.image_encoder(pixels.to(parameter.device, parameter.dtype)), ()

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

    def _decode(
        self, embedding: ImageEmbedding, sparse: torch.Tensor, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return decode_efficient_prompts(self.sam, embedding.image_embeddings, sparse, multimask=multimask)
