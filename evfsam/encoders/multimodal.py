"""The multimodal encoders of the paper's ablations, behind one protocol: BEiT-3, ViLT and CLIP, fused early or not.

How we read the paper where it leaves room:

- "early" fuses in self-attention: every token attends to every token of both modalities.
- Early fusion in the first k layers (table 3, L1 to L12 of 24): all layers run, the first k with joint attention, each
  later one with attention inside each modality only. The [CLS] read at the end has met the phrase in the first k.
- "late" (figure 3b) encodes image and phrase apart in all layers and concatenates the two [CLS] tokens before the
  projector, whose input and inner layer are then twice as wide.
- "text" (figure 3a) reads the phrase alone. The vision half is not built: of BEiT-3 large remain 370M of 673M
  parameters, the sizes that table 3 gives.
- Average pool (table 5) is the mean over the image's patches; [CLS] is not one of them.

Shapes: B phrases, N vision tokens ([CLS] and h x w patches), T text tokens, S = N + T, D the encoder's width, F the
width of the feature that goes to the projector.

Source: EVF-SAM, arXiv:2406.20076, sections 3.1 and 4.4, figure 3, tables 1, 3 and 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

import torch
from torch import nn

from evfsam.encoders.beit3 import Beit3Config, Beit3Encoder, Beit3Output, parted_attention_mask
from evfsam.encoders.sizes import ClipSizes, EncoderSizes, ViltSizes, check_inputs, checked_layers
from evfsam.errors import ConfigurationError

EncoderName = Literal["beit3", "vilt", "clip"]
Fusion = Literal["early", "late", "text"]
Feature = Literal["cls", "text_cls", "mean", "concat"]

_FEATURES: Final[Mapping[Fusion, tuple[Feature, ...]]] = {
    "early": get_args(Feature),
    "late": ("concat",),
    "text": ("text_cls",),
}
"""The features each kind of fusion has, its default first."""


@dataclass(frozen=True)
class EncoderChoice:
    """Which encoder reads image and phrase, where they meet, and what of it prompts SAM.

    Attributes:
        encoder: "beit3", "vilt" or "clip".
        fusion: "early", "late" or "text"; CLIP's halves never attend to each other, so it has no "early".
        fused_layers: with early fusion, in how many of the first layers image and phrase meet; None for all.
        feature: "cls" and "text_cls" are the first image and the first text token (of CLIP's text, the last), "mean"
            the patches' mean, "concat" both [CLS] beside each other. None takes the fusion's own.

    Raises:
        ConfigurationError: a value is unknown, or the values do not fit together.
    """

    encoder: EncoderName = "beit3"
    fusion: Fusion = "early"
    fused_layers: int | None = None
    feature: Feature | None = None

    def __post_init__(self) -> None:
        _check_known("encoder", self.encoder, get_args(EncoderName))
        _check_known("fusion", self.fusion, get_args(Fusion))
        if self.encoder == "clip" and self.fusion == "early":
            raise ConfigurationError(
                "CLIP has no early fusion: its halves never attend to each other; use late or text"
            )
        if self.feature is None:
            object.__setattr__(self, "feature", _FEATURES[self.fusion][0])
        if self.feature not in _FEATURES[self.fusion]:
            raise ConfigurationError(
                "expected feature to be one of {features} with fusion {fusion!r}, got {feature!r}",
                features=", ".join(_FEATURES[self.fusion]),
                fusion=self.fusion,
                feature=self.feature,
            )
        if self.fused_layers is None:
            return
        if self.fusion != "early":
            raise ConfigurationError(
                "fused_layers is for early fusion, got fusion {fusion!r}; leave it out", fusion=self.fusion
            )
        if isinstance(self.fused_layers, bool) or not isinstance(self.fused_layers, int) or self.fused_layers < 1:
            raise ConfigurationError(
                "expected fused_layers of 1 or more, got {fused_layers!r}; without any, use fusion 'late'",
                fused_layers=self.fused_layers,
            )

    def check_layers(self, layer_count: int) -> None:
        """Refuse to fuse more layers than there are.

        Raises:
            ConfigurationError: `fused_layers` is above the encoder's layer count.
        """
        if self.fused_layers is not None and self.fused_layers > layer_count:
            raise ConfigurationError(
                "expected fused_layers up to {layer_count}, the encoder's layers, got {fused_layers}",
                layer_count=layer_count,
                fused_layers=self.fused_layers,
            )

    @property
    def is_fused(self) -> bool:
        """Whether image and phrase attend to each other anywhere."""
        return self.fusion == "early"

    @property
    def joint_layers(self) -> int | None:
        """How many of the first layers attend jointly; None for all."""
        return self.fused_layers if self.is_fused else 0

    def feature_width(self, sizes: EncoderSizes) -> int:
        """F, the width of the projector's input."""
        vision, text = sizes.feature_widths
        return {"cls": vision, "mean": vision, "text_cls": text, "concat": vision + text}[str(self.feature)]


@dataclass(frozen=True, eq=False)
class EncoderOutput:
    """What an encoder made of images and phrases.

    Attributes:
        feature: (B, F), what the projector reads.
        vision_states: (B, N, D) after the encoder's last LayerNorm; N is 0 where no image was read.
        text_states: (B, T, D).
        hidden_states: embeddings and every layer's output, (B, S, D) each; empty unless asked for.
        attentions: probabilities (B, A, S, S) float32 of the layers asked for; empty where nothing is fused.
    """

    feature: torch.Tensor
    vision_states: torch.Tensor
    text_states: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...]
    attentions: Mapping[int, torch.Tensor]

    @property
    def last_hidden_state(self) -> torch.Tensor:
        """(B, S, D): all tokens, vision first."""
        return torch.cat([self.vision_states, self.text_states], dim=1)


class MultimodalEncoder(Protocol):
    """Reads images and phrases, and hands out one feature a phrase."""

    def look(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return what no phrase changes of images (B, 3, side, side), to be given in their place; itself if nothing."""
        ...

    def __call__(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        attention_layers: Sequence[int] = (),
    ) -> EncoderOutput:
        """Encode.

        Args:
            pixel_values: (B, 3, side, side), or (1, 3, side, side) for all phrases, or what `look` made of them;
                ignored by fusion "text".
            input_ids: (B, T), right-padded.
            padding_mask: (B, T) bool, True on padding; None where nothing is padded or padding shall count as words.
            output_hidden_states: whether to keep every layer's output; CLIP has none to give.
            attention_layers: layers whose probabilities to return. Ignored where nothing is fused.

        Raises:
            ConfigurationError: images, ids or layers do not fit the configuration.
        """
        ...


def build_encoder(choice: EncoderChoice, sizes: EncoderSizes) -> nn.Module:
    """Build the encoder of a choice with fresh weights; it keeps `MultimodalEncoder`.

    Raises:
        ConfigurationError: the sizes are of another encoder, or have fewer layers than are fused.
    """
    choice.check_layers(sizes.layer_count)
    if choice.encoder == "beit3" and isinstance(sizes, Beit3Config):
        return Beit3Multimodal(choice, sizes)
    if choice.encoder == "vilt" and isinstance(sizes, ViltSizes):
        return ViltMultimodal(choice, sizes)
    if choice.encoder == "clip" and isinstance(sizes, ClipSizes):
        return ClipMultimodal(choice, sizes)
    raise ConfigurationError(
        "expected sizes of {encoder}, got {kind}", encoder=choice.encoder, kind=type(sizes).__name__
    )


class Beit3Multimodal(nn.Module):
    """BEiT-3 under its released name `beit3`.

    Args:
        choice: fusion and feature.
        sizes: of BEiT-3.
    """

    def __init__(self, choice: EncoderChoice, sizes: Beit3Config) -> None:
        super().__init__()
        self.choice = choice
        self.beit3 = Beit3Encoder(sizes, has_vision=choice.fusion != "text")

    def look(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Embed patches; see `MultimodalEncoder`."""
        return pixel_values if self.choice.fusion == "text" else self.beit3.look(pixel_values)

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        attention_layers: Sequence[int] = (),
    ) -> EncoderOutput:
        """Encode; see `MultimodalEncoder`."""
        output: Beit3Output = self.beit3(
            None if self.choice.fusion == "text" else pixel_values,
            input_ids,
            padding_mask,
            output_hidden_states,
            attention_layers if self.choice.is_fused else (),
            fused_layers=self.choice.joint_layers,
        )
        vision_count = output.last_hidden_state.shape[1] - input_ids.shape[1]
        vision, text = output.last_hidden_state.tensor_split((vision_count,), dim=1)
        feature = _feature(self.choice, vision, text)
        return EncoderOutput(feature, vision, text, output.hidden_states, output.attentions)


class ViltMultimodal(nn.Module):
    """ViLT from the modules of transformers' `ViltModel`, its tokens put in our order: image, then text.

    The class's own forward samples patches at random and knows one attention mask for all layers; its modules do not
    care for the order of tokens, so the result is the same.

    Args:
        choice: fusion and feature.
        sizes: of ViLT.
    """

    def __init__(self, choice: EncoderChoice, sizes: ViltSizes) -> None:
        super().__init__()
        from transformers import ViltConfig, ViltModel

        self.choice, self.sizes = choice, sizes
        self.vilt = ViltModel(ViltConfig(**sizes.transformers_fields()), add_pooling_layer=False)
        if choice.fusion == "text":
            del self.vilt.embeddings.patch_embeddings, self.vilt.embeddings.position_embeddings
            del self.vilt.embeddings.cls_token

    def look(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return the images; see `MultimodalEncoder`."""
        return pixel_values

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        attention_layers: Sequence[int] = (),
    ) -> EncoderOutput:
        """Encode; see `MultimodalEncoder`."""
        check_inputs("ViLT", self.sizes, pixel_values, input_ids)
        kept_layers = checked_layers("ViLT", attention_layers, self.sizes.layer_count) if self.choice.is_fused else ()
        text = self._embedded_text(input_ids)
        vision = text[:, :0] if self.choice.fusion == "text" else self._embedded_image(pixel_values, len(input_ids))
        joint, parted = self._masks(vision.shape[1], text, padding_mask)
        fused_count = self.sizes.layer_count if self.choice.joint_layers is None else self.choice.joint_layers
        tokens = torch.cat([vision, text], dim=1)
        states, attentions = [tokens], {}
        for index, layer in enumerate(self.vilt.encoder.layer):
            mask = joint if index < fused_count else parted
            tokens, *probabilities = layer(tokens, mask, output_attentions=index in kept_layers)
            states.append(tokens)
            if probabilities:
                attentions[index] = probabilities[0].detach().float()
        normalised = self.vilt.layernorm(tokens)
        vision, text = normalised.tensor_split((vision.shape[1],), dim=1)
        hidden_states = tuple(states) if output_hidden_states else ()
        return EncoderOutput(_feature(self.choice, vision, text), vision, text, hidden_states, attentions)

    def _embedded_text(self, input_ids: torch.Tensor) -> torch.Tensor:
        parts = self.vilt.embeddings
        embedded: torch.Tensor = parts.text_embeddings(input_ids) + parts.token_type_embeddings.weight[0]
        return embedded

    def _embedded_image(self, pixel_values: torch.Tensor, count: int) -> torch.Tensor:
        parts = self.vilt.embeddings
        patches = parts.patch_embeddings(pixel_values).flatten(2).transpose(1, 2)
        cls_token = parts.cls_token.expand(len(patches), -1, -1)
        kind = parts.token_type_embeddings.weight[1]
        embedded: torch.Tensor = torch.cat([cls_token, patches], dim=1) + parts.position_embeddings + kind
        return embedded.expand(count, -1, -1)

    def _masks(
        self, vision_count: int, text: torch.Tensor, padding_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return what transformers adds to the scores of joint and of parted layers: 0, or the type's least value."""
        least = torch.finfo(text.dtype).min
        may = None
        if padding_mask is not None:
            may = nn.functional.pad(~padding_mask, (vision_count, 0), value=True)[:, None, None]
        parted = parted_attention_mask(vision_count, text.shape[1], may, text.device)
        added = [
            None if mask is None else torch.zeros_like(mask, dtype=text.dtype).masked_fill(~mask, least)
            for mask in (may, parted)
        ]
        return added[0], added[1]


class ClipMultimodal(nn.Module):
    """CLIP's text half, with its image half beside it for late fusion; both without CLIP's own projections.

    The text feature is the last word piece, which is the only one that has read the whole phrase.

    Args:
        choice: "text" or "late".
        sizes: of both halves.
    """

    def __init__(self, choice: EncoderChoice, sizes: ClipSizes) -> None:
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModel

        self.choice, self.sizes = choice, sizes
        self.text_model = CLIPTextModel(CLIPTextConfig(**sizes.text_fields()))
        self.vision_model = (
            None if choice.fusion == "text" else CLIPVisionModel(CLIPVisionConfig(**sizes.vision_fields()))
        )

    def look(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return the images; see `MultimodalEncoder`."""
        return pixel_values

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        output_hidden_states: bool = False,  # noqa: ARG002 - nothing of it is fused
        attention_layers: Sequence[int] = (),  # noqa: ARG002
    ) -> EncoderOutput:
        """Encode; see `MultimodalEncoder`."""
        check_inputs("CLIP", self.sizes, pixel_values, input_ids)
        words = torch.ones_like(input_ids, dtype=torch.bool) if padding_mask is None else ~padding_mask
        text = self.text_model(input_ids=input_ids, attention_mask=words.long()).last_hidden_state
        last_word = words.sum(dim=1) - 1
        text_feature = text[torch.arange(len(text), device=text.device), last_word]
        if self.vision_model is None:
            return EncoderOutput(text_feature, text[:, :0], text, (), {})
        output = self.vision_model(pixel_values=pixel_values)
        vision = output.last_hidden_state.expand(len(text), -1, -1)
        feature = torch.cat([output.pooler_output.expand(len(text), -1), text_feature], dim=1)
        return EncoderOutput(feature, vision, text, (), {})


def _feature(choice: EncoderChoice, vision: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    if choice.feature == "cls":
        return vision[:, 0]
    if choice.feature == "text_cls":
        return text[:, 0]
    if choice.feature == "mean":
        return vision[:, 1:].mean(dim=1)
    return torch.cat([vision[:, 0], text[:, 0]], dim=1)


def _check_known(field: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigurationError(
            "expected {field} to be one of {known}, got {value!r}", field=field, known=", ".join(known), value=value
        )
