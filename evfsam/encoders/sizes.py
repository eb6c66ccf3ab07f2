"""Sizes of the encoders that transformers builds, in the words of `Beit3Config`; what all of them check alike."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Protocol, Self

import torch

from evfsam.errors import ConfigurationError
from evfsam.weights.checkpoint_files import with_known_fields


class EncoderSizes(Protocol):
    """What the rest of the model needs to know of an encoder's sizes."""

    @property
    def image_size(self) -> int:
        """Side of the square input image, pixels."""
        ...

    @property
    def vocab_size(self) -> int:
        """Rows of the word embedding."""
        ...

    @property
    def layer_count(self) -> int:
        """Layers in which image and phrase could meet."""
        ...

    @property
    def patch_grid(self) -> tuple[int, int]:
        """(h, w) of the patch grid."""
        ...

    @property
    def max_text_tokens(self) -> int:
        """Longest phrase, specials included."""
        ...

    @property
    def feature_widths(self) -> tuple[int, int]:
        """Widths of an image token and of a text token."""
        ...


@dataclass(frozen=True)
class CheckedSizes:
    """Checks and JSON form of sizes, of which `image_size` is a multiple of `patch_size`."""

    image_size: int
    patch_size: int

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not isinstance(value, str) and not value > 0:
                raise ConfigurationError(
                    "{title}: expected {name} above 0, got {value!r}; correct config.json",
                    title=self.title(),
                    name=entry.name,
                    value=value,
                )
        for whole, part in self._divisions():
            if getattr(self, whole) % getattr(self, part):
                raise ConfigurationError(
                    "{title}: {whole} {size} is not a multiple of {part} {unit}; change one of them",
                    title=self.title(),
                    whole=whole,
                    size=getattr(self, whole),
                    part=part,
                    unit=getattr(self, part),
                )

    @classmethod
    def title(cls) -> str:
        """What it is called."""
        return cls.__name__.removesuffix("Sizes")

    def _divisions(self) -> tuple[tuple[str, str], ...]:
        return ("image_size", "patch_size"), ("embed_dim", "head_count")

    @property
    def patch_grid(self) -> tuple[int, int]:
        """(h, w) of the patch grid."""
        side = self.image_size // self.patch_size
        return side, side

    def to_dict(self) -> dict[str, int | float | str]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Build from plain values.

        Raises:
            ConfigurationError: a field is unknown or a value out of range.
        """
        return with_known_fields(cls, values, cls.title())


@dataclass(frozen=True)
class ViltSizes(CheckedSizes):
    """Sizes of a ViLT; the defaults are ViLT-B/32.

    Attributes:
        image_size, patch_size: side of the square input image and of a patch, pixels.
        vocab_size: rows of the word embedding.
        embed_dim, head_count, ffn_dim, layer_count: width, attention heads, feed-forward width, layers.
        text_position_count: longest phrase, specials included.

    Raises:
        ConfigurationError: a size is not positive, or one does not divide the other.

    Source:
        ViLT, arXiv:2102.03334, section 4.2.
    """

    image_size: int = 384
    patch_size: int = 32
    vocab_size: int = 30522
    embed_dim: int = 768
    head_count: int = 12
    ffn_dim: int = 3072
    layer_count: int = 12
    text_position_count: int = 40

    @property
    def max_text_tokens(self) -> int:
        """Longest phrase, specials included."""
        return self.text_position_count

    @property
    def feature_widths(self) -> tuple[int, int]:
        """Widths of an image token and of a text token."""
        return self.embed_dim, self.embed_dim

    def transformers_fields(self) -> dict[str, int]:
        """Return the arguments of transformers' `ViltConfig`."""
        return {
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "vocab_size": self.vocab_size,
            "hidden_size": self.embed_dim,
            "num_attention_heads": self.head_count,
            "intermediate_size": self.ffn_dim,
            "num_hidden_layers": self.layer_count,
            "max_position_embeddings": self.text_position_count,
        }


@dataclass(frozen=True)
class ClipSizes(CheckedSizes):
    """Sizes of a CLIP; the defaults are OpenAI's ViT-L/14.

    Attributes:
        image_size, patch_size: side of the square input image and of a patch, pixels.
        vocab_size: rows of the word embedding.
        text_position_count: longest phrase, specials included.
        text_embed_dim, text_head_count, text_ffn_dim, text_layer_count: of the text half.
        vision_embed_dim, vision_head_count, vision_ffn_dim, vision_layer_count: of the image half.
        hidden_act: "quick_gelu" as OpenAI's, or "gelu" as OpenCLIP's.

    Raises:
        ConfigurationError: a size is not positive, or one does not divide the other.

    Source:
        CLIP, arXiv:2103.00020, section 2.4.
    """

    image_size: int = 224
    patch_size: int = 14
    vocab_size: int = 49408
    text_position_count: int = 77
    text_embed_dim: int = 768
    text_head_count: int = 12
    text_ffn_dim: int = 3072
    text_layer_count: int = 12
    vision_embed_dim: int = 1024
    vision_head_count: int = 16
    vision_ffn_dim: int = 4096
    vision_layer_count: int = 24
    hidden_act: str = "quick_gelu"

    def _divisions(self) -> tuple[tuple[str, str], ...]:
        return (
            ("image_size", "patch_size"),
            ("text_embed_dim", "text_head_count"),
            ("vision_embed_dim", "vision_head_count"),
        )

    @property
    def layer_count(self) -> int:
        """Layers in which image and phrase could meet: none."""
        return 0

    @property
    def max_text_tokens(self) -> int:
        """Longest phrase, specials included."""
        return self.text_position_count

    @property
    def feature_widths(self) -> tuple[int, int]:
        """Widths of an image token and of a text token."""
        return self.vision_embed_dim, self.text_embed_dim

    def text_fields(self) -> dict[str, int | str]:
        """Return the arguments of transformers' `CLIPTextConfig`."""
        return {
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.text_position_count,
            "hidden_size": self.text_embed_dim,
            "num_attention_heads": self.text_head_count,
            "intermediate_size": self.text_ffn_dim,
            "num_hidden_layers": self.text_layer_count,
            "hidden_act": self.hidden_act,
        }

    def vision_fields(self) -> dict[str, int | str]:
        """Return the arguments of transformers' `CLIPVisionConfig`."""
        return {
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "hidden_size": self.vision_embed_dim,
            "num_attention_heads": self.vision_head_count,
            "intermediate_size": self.vision_ffn_dim,
            "num_hidden_layers": self.vision_layer_count,
            "hidden_act": self.hidden_act,
        }


def check_inputs(
    name: str,
    sizes: EncoderSizes,
    pixel_values: torch.Tensor | None,
    input_ids: torch.Tensor,
    *,
    is_grouped: bool = False,
    tokens: tuple[int, int] | None = None,
) -> None:
    """Refuse what an encoder of these sizes cannot read.

    Args:
        name: of the encoder, for the message.
        sizes: its own.
        pixel_values: (B, 3, side, side), or (1, 3, side, side) for all rows of ids; None for text alone.
        input_ids: (B, T).
        is_grouped: whether (B / k, 3, side, side) will do, for k phrases each.
        tokens: (N, D) of an image's tokens where those, (B, N, D), will do in place of pixels.

    Raises:
        ConfigurationError: see above.
    """
    side = sizes.image_size
    if pixel_values is not None and pixel_values.shape[1:] not in ((3, side, side), tokens):
        raise ConfigurationError(
            "{name}: expected images (B, 3, {side}, {side}), got {got}; make them with EvfSamProcessor.encoder_pixels",
            name=name,
            side=side,
            got=tuple(pixel_values.shape),
        )
    fitting: tuple[int, ...] = (1, len(input_ids))
    if is_grouped and pixel_values is not None and len(pixel_values) and len(input_ids) % len(pixel_values) == 0:
        fitting = (len(pixel_values),)
    if pixel_values is not None and (input_ids.ndim != 2 or len(pixel_values) not in fitting):
        raise ConfigurationError(
            "{name}: expected token ids ({count}, T), got {got}; give one row of ids for each image, or one "
            "image for all rows",
            name=name,
            count=len(pixel_values),
            got=tuple(input_ids.shape),
        )
    if input_ids.shape[1] > sizes.max_text_tokens:
        raise ConfigurationError(
            "{name}: expected at most {most} tokens, got {got}; shorten the phrase",
            name=name,
            most=sizes.max_text_tokens,
            got=input_ids.shape[1],
        )


def checked_layers(name: str, layers: Sequence[int], count: int) -> frozenset[int]:
    """Return the layers meant, counted from 0 where they were counted from the end.

    Raises:
        ConfigurationError: one is not among the encoder's.
    """
    outside = [layer for layer in layers if not -count <= layer < count]
    if outside:
        raise ConfigurationError(
            "{name}: expected layers from {first} to {last}, got {outside}",
            name=name,
            first=-count,
            last=count - 1,
            outside=outside,
        )
    return frozenset(layer % count for layer in layers)
