"""EVF-SAM: image and phrase fused by BEiT-3, the fused [CLS] projected to one prompt token for SAM.

Module names are those of the released weights, so their keys are ours.
Source: EVF-SAM, arXiv:2406.20076, section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from evfsam.encoders.beit3 import FrozenConvolutions
from evfsam.encoders.multimodal import EncoderOutput, MultimodalEncoder, build_encoder
from evfsam.errors import ConfigurationError, GeometryError
from evfsam.geometry import Frame, upsample_logits
from evfsam.model.configuration import EvfSamConfig, refuse_options
from evfsam.model.losses import MaskLoss, batch_mask_loss
from evfsam.model.processing import EvfSamBatch
from evfsam.model.released_layout import check_family, read_model_weights
from evfsam.sam.backbone import BaseMaskBackbone, EncodedImages
from evfsam.sam.families import Family
from evfsam.weights.checkpoint_files import CONFIG_NAME, save_weights
from evfsam.weights.hub import local_checkpoint
from evfsam.weights.loading import assign_strictly, build_without_storage


@dataclass(frozen=True, eq=False)
class LossWeights:
    """Factors of the two losses. The released code publishes no values, so there are no defaults.

    Attributes:
        bce: of the cross-entropy.
        dice: of the dice loss.
    """

    bce: float
    dice: float


@dataclass(frozen=True, eq=False)
class EvfSamOutput:
    """What a batch of images and phrases gave; entry i belongs to image i.

    Attributes:
        mask_logits: (P_i, H_i, W_i) float32 at the original sizes.
        low_res_logits: (P_i, M, 4h, 4w), every candidate.
        pred_ious: (P_i, M).
        text_prompt_embeddings: (P, 1, C) of all prompts.
        loss: None without targets.
    """

    mask_logits: tuple[torch.Tensor, ...]
    low_res_logits: tuple[torch.Tensor, ...]
    pred_ious: tuple[torch.Tensor, ...]
    text_prompt_embeddings: torch.Tensor
    loss: MaskLoss | None = None


class EvfSamModel(PreTrainedModel):  # type: ignore[misc]
    """EVF-SAM on SAM, SAM-2 or EfficientSAM, as the configuration says.

    Args:
        config: sizes.
    """

    config_class = EvfSamConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"

    def __init__(self, config: EvfSamConfig) -> None:
        super().__init__(config)
        self.visual_model = config.visual_family.build(config.sam_config)
        self.mm_extractor = build_encoder(config.encoder_choice, config.encoder_sizes)
        width = config.hidden_size
        projector = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.out_dim))
        self.text_hidden_fcs = nn.ModuleList([projector])
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave fresh weights as the modules' own constructors made them."""

    @classmethod
    def from_pretrained(  # type: ignore[no-untyped-def]
        cls,
        id_or_dir: str | Path,
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        config: EvfSamConfig | None = None,
        **options,
    ) -> "EvfSamModel":
        """Load a checkpoint of ours or a released one strictly, in eval mode; stored weights become `dtype`.

        The weights are in memory once, and mapped from their file where they need no conversion. transformers' own
        loader would draw missing weights anew and leave SAM's unsaved buffers without values.

        Args:
            id_or_dir: a directory, or as text a Hub id; see `hub.local_checkpoint`.
            revision: branch, tag or commit of a Hub id.
            device: where the model goes.
            dtype: type of its weights; some small parts of SAM stay float32, see `BaseMaskBackbone`.
            config: as `AutoModel` gives it; the checkpoint's own is read anyway, since weights tell the family.
            **options: those that only `AutoModel` gives; any other is an error.

        Raises:
            CheckpointError: files are missing or damaged, of another family, or keys or shapes do not fit; names them.
            ConfigurationError: the configuration does not fit, or an option is unknown.
        """
        refuse_options(options, "revision, device and dtype")
        del config
        path = local_checkpoint(id_or_dir, revision)
        config, weights = EvfSamConfig.load(path), read_model_weights(path)
        check_family(config.visual_family, weights.keys(), str(path))
        model = build_without_storage(lambda: cls(config), str(path / CONFIG_NAME))
        exact = tuple(f"visual_model.{part}." for part in model.family.float32_parts)
        assign_strictly(model, weights, str(path), device=device, dtype=dtype, float32_parts=exact)
        model.eval()
        return model

    def save_pretrained(  # type: ignore[no-untyped-def]
        self,
        directory: str | Path,
        *,
        storage_dtype: torch.dtype | None = None,
        max_shard_bytes: int | None = None,
        **options,
    ) -> None:
        """Write `config.json` and `model.safetensors`.

        Args:
            directory: made if missing.
            storage_dtype: as in `evfsam.weights.checkpoint_files.save_weights`.
            max_shard_bytes: likewise.
            **options: none are known; any is an error.

        Raises:
            CheckpointError: a weight is not finite.
            ConfigurationError: an option is unknown.
        """
        if options:
            raise ConfigurationError(
                "EVF-SAM: unknown options {options}; expected only storage_dtype and max_shard_bytes",
                options=sorted(options),
            )
        self.config.architectures = [self.family.architecture]
        save_weights(Path(directory), self.state_dict(), storage_dtype, max_shard_bytes)
        self.config.save_pretrained(directory)

    @property
    def family(self) -> Family:
        """Which SAM segments, and what follows from that."""
        return self.config.visual_family  # type: ignore[no-any-return]

    def mask_backbone(self) -> BaseMaskBackbone[Any, Any]:
        """Return this model's SAM for prompts of any kind."""
        return self.family(self.visual_model, self.config.sam_config)

    def set_trainable(self, *, mask_decoder: bool, no_mask_embedding: bool, encoder: bool = True) -> None:
        """Freeze everything but the parts named and the projector, which always trains.

        Args:
            mask_decoder: SAM's.
            no_mask_embedding: all that SAM's prompt encoder itself adds to a phrase's prompt.
            encoder: the multimodal encoder.

        Raises:
            ConfigurationError: EfficientSAM has no embedding for "no mask given".
        """
        if no_mask_embedding and not self.family.learns_no_mask:
            raise ConfigurationError("{title} has no no-mask embedding to train; leave it out", title=self.family.title)
        self.requires_grad_(True)
        self.mm_extractor.requires_grad_(encoder)
        for module in self.mm_extractor.modules():
            if isinstance(module, FrozenConvolutions):
                module.requires_grad_(False)
        self.visual_model.requires_grad_(False)
        getattr(self.visual_model, self.family.mask_decoder).requires_grad_(mask_decoder)
        if no_mask_embedding:
            getattr(self.visual_model, self.family.prompt_encoder).no_mask_embed.requires_grad_(True)

    def look(self, encoder_pixel_values: torch.Tensor) -> torch.Tensor:
        """Return what no phrase changes of images (B, 3, side, side), which `fuse` takes in their place."""
        pixels = encoder_pixel_values.to(next(self.text_hidden_fcs.parameters()).dtype)
        return cast(MultimodalEncoder, self.mm_extractor).look(pixels)

    def fuse(
        self,
        encoder_pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        attention_layers: Sequence[int] = (),
        *,
        mask_padding: bool = True,
        output_hidden_states: bool = False,
    ) -> tuple[torch.Tensor, EncoderOutput]:
        """Turn images and phrases into prompts, all in one pass of the encoder.

        Args:
            encoder_pixel_values: (B, 3, side, side) for the encoder, or (1, 3, side, side) for all phrases; or what
                `look` made of them.
            input_ids: (B, T).
            attention_mask: (B, T), true on words; None takes every id but the padding's.
            attention_layers: layers whose attention to return; asking changes no output, and where image and phrase
                are not fused there is none.
            mask_padding: False lets padding count as words, as the reference's inference does; only for comparison.
            output_hidden_states: whether to keep every layer's output.

        Returns:
            (B, 1, C) prompt embeddings and the encoder's output.
        """
        words = input_ids != self.config.pad_token_id if attention_mask is None else attention_mask.bool()
        padding_mask = ~words if mask_padding and not bool(words.all()) else None
        pixels = encoder_pixel_values.to(next(self.text_hidden_fcs.parameters()).dtype)
        output = self.mm_extractor(pixels, input_ids, padding_mask, output_hidden_states, attention_layers)
        return self.text_hidden_fcs[0](output.feature[:, None]), output

    def decode(
        self,
        image_embeddings: torch.Tensor,
        text_prompt_embeddings: torch.Tensor,
        multimask: bool = False,
        high_res_features: Sequence[torch.Tensor] = (),
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn prompts into low-resolution logits (P, M, 4h, 4w) and predicted IoUs (P, M); gradients flow.

        Args:
            image_embeddings: (P, C, h, w), or (1, C, h, w) for all prompts.
            text_prompt_embeddings: (P, 1, C).
            multimask: whether to return three candidates instead of one mask.
            high_res_features: SAM-2's finer levels, from `encode_image_features`, as many images as the embeddings.
        """
        features = EncodedImages(image_embeddings, tuple(high_res_features))
        return self.family.decode_features(self.visual_model, features, text_prompt_embeddings, multimask=multimask)

    @torch.no_grad()
    def encode_image_features(self, pixel_values: torch.Tensor) -> EncodedImages:
        """Run SAM's frozen image encoder on (B, 3, side, side), one image at a time to bound memory."""
        encoded = [self.family.encode(self.visual_model, pixels[None]) for pixels in pixel_values]
        levels = zip(*(features.high_res_features for features in encoded), strict=True)
        return EncodedImages(
            torch.cat([features.image_embeddings for features in encoded]), tuple(torch.cat(level) for level in levels)
        )

    @torch.inference_mode()
    def segment(self, batch: EvfSamBatch, *, multimask: bool | None = None) -> EvfSamOutput:
        """Segment what each phrase of a batch names, on the model's device.

        Args:
            batch: from `EvfSamProcessor.batch`.
            multimask: as in `forward`.
        """
        features = self.encode_image_features(batch.pixel_values.to(self.device))
        output: EvfSamOutput = self(
            features.image_embeddings,
            batch.encoder_pixel_values.to(self.device),
            batch.input_ids.to(self.device),
            batch.frames,
            offset=batch.offset,
            attention_mask=batch.attention_mask.to(self.device),
            multimask=multimask,
            high_res_features=features.high_res_features,
        )
        return output

    def forward(
        self,
        image_embeddings: torch.Tensor,
        encoder_pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        frames: Sequence[Frame],
        *,
        offset: Sequence[int] | None = None,
        attention_mask: torch.Tensor | None = None,
        targets: Sequence[torch.Tensor] | None = None,
        loss_weights: LossWeights | None = None,
        multimask: bool | None = None,
        mask_padding: bool = True,
        high_res_features: Sequence[torch.Tensor] = (),
    ) -> EvfSamOutput:
        """Segment B images with P phrases in all: the path of `segment` and of training on real data.

        The strategy, videos and the mini suite's training take the same first step, `fuse`, and the same SAM.

        Args:
            image_embeddings: (B, C, h, w) from `encode_image_features`.
            encoder_pixel_values: (B, 3, side, side).
            input_ids: (P, T), the phrases of image 0 first.
            frames: B frames.
            offset: B + 1 numbers: phrases offset[i]..offset[i + 1] belong to image i. None: one image, or one each.
            attention_mask: as in `fuse`.
            targets: (P_i, H_i, W_i) for each image, or None.
            loss_weights: needed with targets.
            multimask: whether SAM picks the best of three candidates; None does as the family was released.
            mask_padding: as in `fuse`.
            high_res_features: SAM-2's finer levels (B, ...), from `encode_image_features`.

        Raises:
            GeometryError: batch sizes do not fit together.
            ConfigurationError: targets come without loss weights.
        """
        if targets is not None and loss_weights is None:
            raise ConfigurationError("targets need loss_weights=LossWeights(bce=..., dice=...); there are no defaults")
        counts = _prompt_counts(len(frames), len(input_ids), offset)
        if not len(image_embeddings) == len(encoder_pixel_values) == len(frames):
            raise GeometryError(
                "expected {images} image embeddings and encoder images, got {embeddings} and {encoded}",
                images=len(frames),
                embeddings=len(image_embeddings),
                encoded=len(encoder_pixel_values),
            )
        repeats = torch.tensor(counts, device=encoder_pixel_values.device)
        prompts, _ = self.fuse(
            encoder_pixel_values.repeat_interleave(repeats, dim=0), input_ids, attention_mask, mask_padding=mask_padding
        )
        wants_three = self.family.multimask if multimask is None else multimask
        decoded = [
            self.decode(
                image_embeddings[i : i + 1], of_image, wants_three, [level[i : i + 1] for level in high_res_features]
            )
            for i, of_image in enumerate(torch.split(prompts, counts))
        ]
        mask_logits = tuple(
            upsample_logits(_best(*answer), frame)[:, 0] for answer, frame in zip(decoded, frames, strict=True)
        )
        loss = None
        if targets is not None and loss_weights is not None:
            loss = batch_mask_loss(mask_logits, targets, bce_weight=loss_weights.bce, dice_weight=loss_weights.dice)
        low_res_logits, pred_ious = zip(*decoded, strict=True)
        return EvfSamOutput(mask_logits, low_res_logits, pred_ious, prompts, loss)


def _best(low_res_logits: torch.Tensor, pred_ious: torch.Tensor) -> torch.Tensor:
    """(P, 1, 4h, 4w): each prompt's candidate with the highest predicted IoU."""
    prompts = torch.arange(len(pred_ious), device=pred_ious.device)
    return low_res_logits[prompts, pred_ious.argmax(dim=1)][:, None]


def _prompt_counts(image_count: int, prompt_count: int, offset: Sequence[int] | None) -> list[int]:
    if offset is None:
        offset = [0, prompt_count] if image_count == 1 else range(image_count + 1)
    bounds = [int(bound) for bound in offset]
    counts = [end - start for start, end in pairwise(bounds)]
    if len(counts) != image_count or bounds[0] != 0 or bounds[-1] != prompt_count or min(counts, default=0) < 1:
        raise GeometryError(
            "expected an offset of {numbers} rising numbers from 0 to {last}, got {bounds}; give "
            "every image at least one phrase",
            numbers=image_count + 1,
            last=prompt_count,
            bounds=bounds,
        )
    return counts
