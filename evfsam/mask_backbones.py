"""SAM behind the `MaskBackbone` protocol, at any image size, built from the modules of `segment_anything`.

Shapes: C channels of a prompt, (h, w) the embedding grid, P prompts, M candidate masks.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Final

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from evfsam.checkpoints import load_strictly, read_config, read_weights, save_weights, write_config
from evfsam.errors import ConfigurationError
from evfsam.geometry import Frame
from evfsam.image_encoder import ImageEncoder
from evfsam.preprocess import sam_pixels
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

FLOAT32_PARTS: Final[tuple[str, ...]] = ("prompt_encoder", "mask_decoder", "image_encoder.neck")
"""What computes in float32 whatever the model's type; see `families.Family`."""


@dataclass(frozen=True)
class SamConfig:
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

    Raises:
        ConfigurationError: sizes do not fit together.
    """

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoder_global_attn_indexes", tuple(self.encoder_global_attn_indexes))
        divisions = {
            "image_size": (self.image_size, self.vit_patch_size),
            "encoder_embed_dim": (self.encoder_embed_dim, self.encoder_num_heads),
            "prompt_embed_dim": (self.prompt_embed_dim, 8),
            "half of prompt_embed_dim": (self.prompt_embed_dim // 2, self.decoder_num_heads),
            "mask_in_chans": (self.mask_in_chans, 4),
        }
        for name, (whole, part) in divisions.items():
            if whole < 1 or part < 1 or whole % part:
                raise ConfigurationError(
                    f"SAM: {name} {whole} is not a positive multiple of {part}; change one of them"
                )
        outside = [index for index in self.encoder_global_attn_indexes if not 0 <= index < self.encoder_depth]
        if outside:
            raise ConfigurationError(f"SAM: expected global blocks below {self.encoder_depth}, got {outside}")

    @property
    def embedding_size(self) -> tuple[int, int]:
        """(h, w) of the image embedding."""
        side = self.image_size // self.vit_patch_size
        return side, side

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain JSON values."""
        return asdict(self) | {"encoder_global_attn_indexes": list(self.encoder_global_attn_indexes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> "SamConfig":
        """Build from plain values.

        Raises:
            ConfigurationError: a field is unknown, or sizes do not fit together.
        """
        known = {entry.name for entry in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigurationError(f"SAM: unknown fields {unknown}; known are {sorted(known)}")
        return cls(**values)  # type: ignore[arg-type]


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
            transformer=TwoWayTransformer(
                depth=config.decoder_depth,
                embedding_dim=channels,
                mlp_dim=config.decoder_mlp_dim,
                num_heads=config.decoder_num_heads,
            ),
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
    source = (image_embeddings.to(dtype) + dense).expand(prompt_count, -1, -1, -1)
    position = dense_pe.to(dtype).expand(prompt_count, -1, -1, -1)

    states, keys = decoder.transformer(source, position, tokens)
    upscaled = decoder.output_upscaling(keys.transpose(1, 2).unflatten(2, source.shape[-2:]))
    mask_states = states[:, 1 : 1 + decoder.num_mask_tokens]
    weights = torch.stack([mlp(mask_states[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1)
    low_res_logits = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
    pred_ious = decoder.iou_prediction_head(states[:, 0])
    candidates = slice(1, None) if multimask else slice(0, 1)
    return low_res_logits[:, candidates], pred_ious[:, candidates]


class SamMaskBackbone:
    """SAM as a slow half that sees the image and a fast half that sees the prompt. Read-only after it is built.

    Args:
        sam: the model, in eval mode.
        config: its sizes.
    """

    def __init__(self, sam: Sam, config: SamConfig) -> None:
        self.sam = sam
        self.config = config
        for part in FLOAT32_PARTS:
            self.sam.get_submodule(part).float()

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> "SamMaskBackbone":
        """Load what `save_pretrained` wrote, converting stored weights to `dtype`.

        Raises:
            CheckpointError: files are missing or damaged, or keys or shapes do not fit.
            ConfigurationError: the configuration has unknown fields.
        """
        directory = Path(directory)
        values = read_config(directory)
        values.pop("model_type", None)
        config = SamConfig.from_dict(values)
        sam = build_sam(config)
        load_strictly(sam, read_weights(directory), str(directory))
        place_module(sam, device=device, dtype=dtype, float32_parts=FLOAT32_PARTS)
        return cls(sam.requires_grad_(False), config)

    def save_pretrained(self, directory: str | Path, *, storage_dtype: torch.dtype | None = None) -> None:
        """Write `config.json` and `model.safetensors`; `storage_dtype` as in `checkpoints.save_weights`."""
        write_config(Path(directory), {"model_type": "sam", **self.config.to_dict()})
        save_weights(Path(directory), self.sam.state_dict(), storage_dtype)

    @cached_property
    def encoder_identity(self) -> str:
        """SHA-256 over the image encoder's weights as float32, its type in use, and what shapes its computation."""
        dtype = next(self.sam.image_encoder.parameters()).dtype
        heads_and_windows = (
            self.config.encoder_num_heads,
            self.config.encoder_global_attn_indexes,
            self.config.window_size,
        )
        facts = (self.config.image_size, *heads_and_windows, dtype)
        return weights_digest(facts, self.sam.image_encoder.state_dict().items())

    @torch.no_grad()
    def encode_image(self, image: RgbImage) -> ImageEmbedding:
        """Compute SAM's features of one image.

        Args:
            image: (H, W, 3) uint8.
        """
        start = time.perf_counter()
        parameter = next(self.sam.image_encoder.parameters())
        pixels, frame = sam_pixels(image, self.config.image_size)
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
        frame = Frame(embedding.original_size, embedding.input_size, self.config.image_size)
        sparse = stacked_prompts([self.sparse_prompt_embeddings(prompt, frame) for prompt in prompts])
        low_res_logits, pred_ious = decode_prompts(self.sam, embedding.image_embeddings, sparse, multimask=multimask)
        answers = zip(low_res_logits, pred_ious, strict=True)
        return tuple(best_prediction(logits, ious, frame) for logits, ious in answers)

    def sparse_prompt_embeddings(self, prompt: SamPrompt, frame: Frame) -> torch.Tensor:
        """Embed a prompt given in original pixels: (1, N, C) float32, points, then box, then text.

        Raises:
            GeometryError: the prompt is empty, leaves the image, or its text embeddings have another width.
        """
        check_prompt(prompt, self.config.prompt_embed_dim)
        prompt_encoder, text = self.sam.prompt_encoder, prompt.text_prompt_embeddings
        device = prompt_encoder.not_a_point_embed.weight.device
        points, box = prompt_points(prompt, frame, device), prompt_box(prompt, frame, device)
        with torch.autocast(device.type, enabled=False):
            sparse, _ = prompt_encoder(points=points, boxes=box, masks=None)
        return torch.as_tensor(sparse) if text is None else torch.cat([sparse, text[None].to(sparse)], dim=1)
