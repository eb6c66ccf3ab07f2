"""CLIP-text-prompted SAM: a frozen CLIP, a trained projector, and SAM's mask decoder.

The paper's own baselines. "text" projects CLIP's text feature alone; "late-concat" projects the text feature with
CLIP's image feature beside it, so that text and image meet only there. One checkpoint holds both: two projectors over
one CLIP and one mask decoder. Shapes: B phrases, T tokens, C the width of SAM's prompts.

Source: EVF-SAM, arXiv:2406.20076, figure 3 (a) and (b).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Unpack, get_args

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast

from baselines.strategy_cards import CLIP_TEXT, CLIP_TEXT_AND_IMAGE
from baselines.strategy_options import changed
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.phrases import check_phrases, in_words, refuse_control_tokens
from evfsam.preprocess import clip_pixels
from evfsam.sam.backbone import place_module
from evfsam.sam.sam import SamConfig, SamMaskBackbone, build_sam, decode_prompts
from evfsam.types import (
    BoxXyxy,
    ImageView,
    MaskBackbone,
    PromptPoint,
    SamPrompt,
    Segmentation,
    StrategyCard,
    TraceEntry,
    Verdict,
)
from evfsam.weights.checkpoint_files import Storage, read_config, read_weights, save_weights, write_config
from evfsam.weights.loading import load_strictly

Variant = Literal["text", "late-concat"]
VARIANTS: Final[tuple[Variant, ...]] = get_args(Variant)

_MODEL_TYPE: Final = "clip-text-sam"


@dataclass(frozen=True)
class ClipTextSamConfig:
    """Sizes of the whole model.

    Attributes:
        text: of CLIP's text half; `eos_token_id` must be the tokenizer's, the text feature is taken there.
        vision: of CLIP's image half.
        sam: of SAM.
    """

    text: CLIPTextConfig
    vision: CLIPVisionConfig
    sam: SamConfig

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {
            "model_type": _MODEL_TYPE,
            "text": self.text.to_diff_dict(),
            "vision": self.vision.to_diff_dict(),
            "sam": self.sam.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ClipTextSamConfig":
        """Build from plain values.

        Raises:
            ConfigurationError: fields are missing or unknown, or the values are of another model.
        """
        expected = {"model_type", "text", "vision", "sam"}
        if set(values) != expected or values["model_type"] != _MODEL_TYPE:
            raise ConfigurationError(
                "expected a {kind} configuration with {fields}, got model_type {other!r} with {others}",
                kind=_MODEL_TYPE,
                fields=sorted(expected),
                other=values.get("model_type"),
                others=sorted(values),
            )
        return cls(
            CLIPTextConfig.from_dict(values["text"]),
            CLIPVisionConfig.from_dict(values["vision"]),
            SamConfig.from_dict(values["sam"]),
        )


class ClipTextSamModel(nn.Module):
    """CLIP, two projectors and SAM; only the projectors and SAM's mask decoder take gradients.

    Args:
        config: sizes.
    """

    def __init__(self, config: ClipTextSamConfig) -> None:
        super().__init__()
        self.config = config
        self.text_encoder = CLIPTextModel(config.text)
        self.image_encoder = CLIPVisionModel(config.vision)
        text_width, image_width = config.text.hidden_size, config.vision.hidden_size
        self.projectors = nn.ModuleDict(
            {
                "text": _projector(text_width, config.sam.prompt_embed_dim),
                "late-concat": _projector(text_width + image_width, config.sam.prompt_embed_dim),
            }
        )
        self.sam = build_sam(config.sam)
        self.requires_grad_(False)
        self.projectors.requires_grad_(True)
        self.sam.mask_decoder.requires_grad_(True)
        self.eval()

    def prompt_embeddings(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        clip_pixel_values: torch.Tensor | None = None,
        image_of: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Project phrases, alone or each beside its image, to one prompt token each. Gradients reach the projector.

        Args:
            input_ids: (B, T), right-padded.
            attention_mask: (B, T), 1 on real tokens.
            clip_pixel_values: (I, 3, s, s) as `evfsam.preprocess.clip_pixels` makes them, for late concat; None for
                text alone.
            image_of: (B,) rows of the images that the phrases stand beside; None where there is one image for all, or
                one for each.

        Returns:
            (B, 1, C).
        """
        features = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask).pooler_output
        if clip_pixel_values is not None:
            image_features = self.image_encoder(pixel_values=clip_pixel_values).pooler_output
            beside = image_features.expand(len(features), -1) if image_of is None else image_features[image_of]
            features = torch.cat([features, beside], dim=-1)
        variant: Variant = "text" if clip_pixel_values is None else "late-concat"
        prompts: torch.Tensor = self.projectors[variant](features)
        return prompts[:, None]

    def decode(self, image_embeddings: torch.Tensor, prompts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw one mask a prompt. Gradients reach the mask decoder and the prompts.

        Args:
            image_embeddings: (B, C, h, w), or (1, C, h, w) shared by all prompts.
            prompts: (B, 1, C).

        Returns:
            (B, 1, 4h, 4w) low-resolution logits and (B, 1) predicted IoUs.
        """
        return decode_prompts(self.sam, image_embeddings, prompts, multimask=False)

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> "ClipTextSamModel":
        """Load what `save_pretrained` wrote.

        Raises:
            CheckpointError: files are missing or damaged, or a key is missing, unexpected or misshapen.
            ConfigurationError: the configuration is another model's.
        """
        directory = Path(directory)
        model = cls(ClipTextSamConfig.from_dict(read_config(directory)))
        load_strictly(model, read_weights(directory), str(directory))
        model.place(device, dtype)
        return model

    def place(self, device: str | torch.device, dtype: torch.dtype) -> None:
        """Move to a device and number type, but for the parts of SAM that compute in float32."""
        exact = [f"sam.{part}" for part in SamMaskBackbone.float32_parts]
        place_module(self, device=device, dtype=dtype, float32_parts=exact)

    def save_pretrained(self, directory: str | Path, **storage: Unpack[Storage]) -> None:
        """Write `config.json` and `model.safetensors`; see `evfsam.weights.checkpoint_files.save_weights`."""
        save_weights(Path(directory), self.state_dict(), **storage)
        write_config(Path(directory), self.config.to_dict())


@dataclass(frozen=True)
class ClipTextStrategy:
    """The phrase as CLIP reads it, given to SAM as a prompt.

    Args:
        model: CLIP, projectors and SAM.
        tokenizer: CLIP's, of transformers.
        backbone: the model's SAM as `SamMaskBackbone`.
        variant: "text" or "late-concat".
        refinement: box and points that SAM sees beside each phrase.
    """

    model: ClipTextSamModel
    tokenizer: Any
    backbone: MaskBackbone
    variant: Variant = "text"
    refinement: SamPrompt = field(default_factory=SamPrompt)

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ConfigurationError(
                "expected a variant of {choices}, got {variant!r}", choices=", ".join(VARIANTS), variant=self.variant
            )

    @property
    def card(self) -> StrategyCard:
        """What it is."""
        return CLIP_TEXT if self.variant == "text" else CLIP_TEXT_AND_IMAGE

    def with_options(self, /, **options: object) -> "ClipTextStrategy":
        """Return a copy with another `variant` and the same weights.

        Raises:
            ConfigurationError: an option is unknown or out of range.
        """
        return changed(self, options, "CLIP text", known=("variant",))

    def with_prompt(self, points: Sequence[PromptPoint] = (), box: BoxXyxy | None = None) -> "ClipTextStrategy":
        """Return a copy that gives SAM these points and this box, in original pixels, beside each phrase."""
        return replace(self, refinement=SamPrompt(box, tuple(points)))

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        """Segment what the phrase names; a mask without a pixel counts as absent.

        Raises:
            PhraseError: the phrase is empty, too long, or spells a control token of the tokenizer.
        """
        return self.segment_many(view, (phrase,))[0]

    @torch.no_grad()
    def segment_many(self, view: ImageView, phrases: Sequence[str]) -> list[Segmentation]:
        """Do as `segment` for several phrases: all are read and decoded in one pass.

        Args:
            view: the image; its embedding is shared with other strategies.
            phrases: 16 at most.

        Returns:
            One answer a phrase, in their order; the time of joint passes is shared out evenly, the image encoder's is
            the first answer's.

        Raises:
            PhraseError: as in `segment`, or there are none or too many.
        """
        phrases = [in_words(phrase) for phrase in check_phrases(phrases)]
        for phrase in phrases:
            refuse_control_tokens(self.tokenizer, phrase)
        start = time.perf_counter()
        embedding, was_cached = view.embedding(self.backbone)
        encoded_at = time.perf_counter()
        prompt_embeddings, steps = self._read(view, phrases)
        read_at = time.perf_counter()
        prompts = [replace(self.refinement, text_prompt_embeddings=one.float()) for one in prompt_embeddings]
        predictions = self.backbone.decode_many(embedding, prompts, multimask=False)
        decoded_at, count = time.perf_counter(), len(phrases)
        answers = []
        for index, (prompt, prediction, step) in enumerate(zip(prompts, predictions, steps, strict=True)):
            answers.append(
                Segmentation.drawn(
                    (prompt,),
                    (prediction,),
                    Verdict("absent", "SAM drew no pixel for this phrase."),
                    trace=(step,),
                    seconds={
                        "encode image": 0.0 if index else encoded_at - start,
                        "read the phrase": (read_at - encoded_at) / count,
                        "decode": (decoded_at - read_at) / count,
                    },
                    embedding_was_cached=was_cached or index > 0,
                )
            )
        return answers

    def _read(self, view: ImageView, phrases: Sequence[str]) -> tuple[torch.Tensor, list[TraceEntry]]:
        """Return (B, 1, C) prompt embeddings and what was read of each phrase."""
        weight = next(self.model.projectors.parameters())
        limit = self.model.config.text.max_position_embeddings
        # Not by the tokenizer's own `truncation`: that changes it, and other visitors ask it meanwhile.
        whole = self.tokenizer(phrases)["input_ids"]
        read = [ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]] for ids in whole]
        rows = [torch.tensor(ids) for ids in read]
        input_ids = pad_sequence(rows, batch_first=True, padding_value=self.tokenizer.pad_token_id)
        attention_mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        pixels = None
        if self.variant == "late-concat":
            pixels = clip_pixels(view.image, self.model.config.vision.image_size)[None].to(weight.device, weight.dtype)
        prompts = self.model.prompt_embeddings(input_ids.to(weight.device), attention_mask.to(weight.device), pixels)
        steps = []
        for phrase, ids, kept in zip(phrases, whole, read, strict=True):
            values = {
                "variant": self.variant,
                "tokens": self.tokenizer.convert_ids_to_tokens(kept),
                "tokens_cut_off": len(ids) - len(kept),
            }
            steps.append(TraceEntry("read the phrase", phrase, "", values))
        return prompts, steps


def load_strategy(directory: Path, *, device: str | torch.device, dtype: torch.dtype) -> ClipTextStrategy:
    """Load a checkpoint: `config.json`, `model.safetensors` and the tokenizer's files.

    Raises:
        CheckpointError: a file is missing, or the weights do not fit their configuration.
        ConfigurationError: the configuration is another model's.
    """
    model = ClipTextSamModel.from_pretrained(directory, device=device, dtype=dtype)
    if not (directory / "tokenizer.json").is_file():
        raise CheckpointError(
            "expected tokenizer.json in {directory}, found none; save CLIP's tokenizer beside it", directory=directory
        )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory)
    return ClipTextStrategy(model, tokenizer, SamMaskBackbone(model.sam, model.config.sam))


def _projector(width: int, prompt_width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, prompt_width))
