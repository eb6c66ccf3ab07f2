"""EfficientSAM behind the `MaskBackbone` protocol.

Shapes: C channels of a prompt, (h, w) the embedding grid, P prompts, M candidate masks.
Source: EfficientSAM, arXiv:2312.00863.
"""

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import torch
from torch.nn import functional as F

from evfsam.checkpoints import load_strictly, read_config, read_weights, save_weights, write_config
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
from evfsam.prompts import (
    best_prediction,
    check_embedding,
    check_image_count,
    check_prompt,
    place_module,
    prompt_box,
    prompt_points,
    stacked_prompts,
    weights_digest,
)
from evfsam.types import ImageEmbedding, MaskPrediction, RgbImage, SamPrompt

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


class EfficientSamMaskBackbone:
    """EfficientSAM: a slow half that sees the image, a fast half that sees the prompt. Read-only after it is built.

    Args:
        sam: the model, in eval mode.
        config: its sizes.
    """

    def __init__(self, sam: EfficientSam, config: EfficientSamConfig) -> None:
        self.sam = sam
        self.config = config
        for part in FLOAT32_PARTS:
            self.sam.get_submodule(part).float()

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> "EfficientSamMaskBackbone":
        """Load what `save_pretrained` wrote, converting stored weights to `dtype`.

        Raises:
            CheckpointError: files are missing or damaged, or keys or shapes do not fit.
            ConfigurationError: the configuration has unknown fields.
        """
        directory = Path(directory)
        values = read_config(directory)
        values.pop("model_type", None)
        config = EfficientSamConfig.from_dict(values)
        sam = build_efficient_sam(config)
        load_strictly(sam, read_weights(directory), str(directory))
        place_module(sam, device=device, dtype=dtype, float32_parts=FLOAT32_PARTS)
        return cls(sam.requires_grad_(False), config)

    def save_pretrained(self, directory: str | Path, *, storage_dtype: torch.dtype | None = None) -> None:
        """Write `config.json` and `model.safetensors`; `storage_dtype` as in `checkpoints.save_weights`."""
        write_config(Path(directory), {"model_type": "efficient_sam", **self.config.to_dict()})
        save_weights(Path(directory), self.sam.state_dict(), storage_dtype)

    @cached_property
    def encoder_identity(self) -> str:
        """SHA-256 over the image encoder's weights as float32, its type in use, and what shapes its computation."""
        dtype = self.sam.image_encoder.pos_embed.dtype
        facts = ("efficient_sam", self.config.image_size, self.config.encoder_num_heads, dtype)
        return weights_digest(facts, self.sam.image_encoder.state_dict().items())

    @torch.no_grad()
    def encode_image(self, image: RgbImage) -> ImageEmbedding:
        """Compute the features of one image.

        Args:
            image: (H, W, 3) uint8.
        """
        start = time.perf_counter()
        parameter = self.sam.image_encoder.pos_embed
        pixels, frame = stretched_pixels(image, self.config.image_size)
        embeddings = self.sam.image_encoder(pixels[None].to(parameter.device, parameter.dtype))
        return ImageEmbedding(
            image_embeddings=embeddings,
            original_size=frame.original_size,
            input_size=frame.input_size,
            encoder_identity=self.encoder_identity,
            seconds=time.perf_counter() - start,
        )

    @torch.no_grad()
    def decode(self, embedding: ImageEmbedding, prompt: SamPrompt, *, multimask: bool) -> MaskPrediction:
        """Turn one prompt into masks.

        Args:
            embedding: of this backbone's encoder.
            prompt: box, kept points on the object and text embeddings, in any combination but none at all.
            multimask: whether to ask for three candidates instead of one.

        Raises:
            GeometryError: the prompt is empty, leaves the image or holds a point off the object, or the embedding is
                another encoder's.
        """
        return self.decode_many(embedding, (prompt,), multimask=multimask)[0]

    @torch.no_grad()
    def decode_many(
        self, embedding: ImageEmbedding, prompts: Sequence[SamPrompt], *, multimask: bool
    ) -> tuple[MaskPrediction, ...]:
        """Turn several prompts on one image into masks, in one pass of the decoder.

        Args:
            embedding: as in `decode`.
            prompts: as in `decode`, each with as many points, boxes and text tokens as the others.
            multimask: as in `decode`.

        Raises:
            GeometryError: as in `decode`, or the prompts differ in length.
        """
        check_embedding(embedding, self.encoder_identity)
        frame = stretched_frame(embedding.original_size, self.config.image_size)
        sparse = stacked_prompts([self.sparse_prompt_embeddings(prompt, frame) for prompt in prompts])
        low_res_logits, pred_ious = decode_efficient_prompts(
            self.sam, embedding.image_embeddings, sparse, multimask=multimask
        )
        answers = zip(low_res_logits, pred_ious, strict=True)
        return tuple(best_prediction(logits, ious, frame) for logits, ious in answers)

    def sparse_prompt_embeddings(self, prompt: SamPrompt, frame: Frame) -> torch.Tensor:
        """Embed a prompt given in original pixels: (1, N, C) float32, box, then points, then text.

        Text stands alone as EVF-SAM trained it: only prompts without text are filled up with invalid points.

        Raises:
            GeometryError: the prompt is empty, leaves the image, holds a point off the object, or its text embeddings
                have another width.
        """
        check_prompt(prompt, self.config.prompt_embed_dim)
        prompt_encoder, text = self.sam.prompt_encoder, prompt.text_prompt_embeddings
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
        if text is None:
            missing = max(0, _PROMPT_TOKENS - labels.shape[1])
            coords, labels = F.pad(coords, (0, 0, 0, missing), value=-1.0), F.pad(labels, (0, missing), value=INVALID)
        with torch.autocast(device.type, enabled=False):
            sparse = prompt_encoder(coords, labels)
        return torch.as_tensor(sparse) if text is None else torch.cat([sparse, text[None].to(sparse)], dim=1)
