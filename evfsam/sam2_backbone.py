"""SAM-2 on still images behind the `MaskBackbone` protocol.

Shapes: C channels of a prompt, (h, w) the embedding grid, P prompts, M candidate masks.
"""

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from evfsam.checkpoints import load_strictly, read_config, read_weights, save_weights, write_config
from evfsam.errors import GeometryError
from evfsam.geometry import Frame, stretched_frame
from evfsam.preprocess import stretched_pixels
from evfsam.prompts import (
    best_prediction,
    check_embedding,
    check_image_count,
    check_prompt,
    prompt_box,
    prompt_points,
    stacked_prompts,
    weights_digest,
)
from evfsam.sam2_modules import Sam2Config, build_sam2
from evfsam.types import ImageEmbedding, MaskPrediction, RgbImage, SamPrompt

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


class Sam2MaskBackbone:
    """SAM-2 on still images: a slow half that sees the image, a fast half that sees the prompt. Read-only once built.

    Args:
        sam: the model, in eval mode.
        config: its sizes.
    """

    def __init__(self, sam: "SAM2Base", config: Sam2Config) -> None:
        self.sam = sam
        self.config = config
        # Coordinates and their frequencies need float32; the module is tiny.
        self.sam.sam_prompt_encoder.float()

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> "Sam2MaskBackbone":
        """Load what `save_pretrained` wrote, converting stored weights to `dtype`.

        Raises:
            CheckpointError: files are missing or damaged, or keys or shapes do not fit.
            ConfigurationError: the configuration has unknown fields.
        """
        directory = Path(directory)
        values = read_config(directory)
        values.pop("model_type", None)
        config = Sam2Config.from_dict(values)
        sam = build_sam2(config)
        load_strictly(sam, read_weights(directory), str(directory))
        return cls(sam.to(device=device, dtype=dtype).requires_grad_(False), config)

    def save_pretrained(self, directory: str | Path, *, storage_dtype: torch.dtype | None = None) -> None:
        """Write `config.json` and `model.safetensors`; `storage_dtype` as in `checkpoints.save_weights`."""
        write_config(Path(directory), {"model_type": "sam2", **self.config.to_dict()})
        save_weights(Path(directory), self.sam.state_dict(), storage_dtype)

    @cached_property
    def encoder_identity(self) -> str:
        """SHA-256 over what makes an embedding: weights as float32, their type in use, and sizes that shape it."""
        facts = (
            "sam2",
            self.config.image_size,
            self.config.trunk_num_heads,
            self.config.trunk_stages,
            self.config.trunk_global_blocks,
            self.config.trunk_window_sizes,
            self.sam.no_mem_embed.dtype,
        )
        return weights_digest(facts, self._encoder_weights())

    def _encoder_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.sam.image_encoder.state_dict().items()
        for name in ("conv_s0", "conv_s1"):
            for key, value in getattr(self.sam.sam_mask_decoder, name).state_dict().items():
                yield f"{name}.{key}", value
        yield "no_mem_embed", self.sam.no_mem_embed

    @torch.no_grad()
    def encode_image(self, image: RgbImage) -> ImageEmbedding:
        """Compute SAM-2's features of one image.

        Args:
            image: (H, W, 3) uint8.
        """
        start = time.perf_counter()
        pixels, frame = stretched_pixels(image, self.config.image_size)
        embeddings, finer = encode_sam2_pixels(self.sam, pixels[None].to(self.sam.device))
        return ImageEmbedding(
            image_embeddings=embeddings,
            original_size=frame.original_size,
            input_size=frame.input_size,
            encoder_identity=self.encoder_identity,
            seconds=time.perf_counter() - start,
            high_res_features=finer,
        )

    @torch.no_grad()
    def decode(self, embedding: ImageEmbedding, prompt: SamPrompt, *, multimask: bool) -> MaskPrediction:
        """Turn one prompt into masks.

        Args:
            embedding: of this backbone's encoder.
            prompt: box, kept points and text embeddings, in any combination but none at all.
            multimask: whether to ask for three candidates instead of one.

        Raises:
            GeometryError: the prompt is empty or leaves the image, or the embedding is another encoder's.
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
        low_res_logits, pred_ious = decode_sam2_prompts(
            self.sam,
            embedding.image_embeddings,
            sparse,
            multimask=multimask,
            high_res_features=embedding.high_res_features,
        )
        answers = zip(low_res_logits, pred_ious, strict=True)
        return tuple(best_prediction(logits, ious, frame) for logits, ious in answers)

    def sparse_prompt_embeddings(self, prompt: SamPrompt, frame: Frame) -> torch.Tensor:
        """Embed a prompt given in original pixels: (1, N, C) float32, box corners, then points, then text.

        SAM-2 sees a box as two points with labels of their own, and closes every list of points with an empty one.

        Raises:
            GeometryError: the prompt is empty, leaves the image, or its text embeddings have another width.
        """
        check_prompt(prompt, self.config.prompt_embed_dim)
        prompt_encoder, text = self.sam.sam_prompt_encoder, prompt.text_prompt_embeddings
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
        return torch.as_tensor(sparse) if text is None else torch.cat([sparse, text[None].to(sparse)], dim=1)
