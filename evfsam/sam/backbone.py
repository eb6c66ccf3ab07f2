"""What SAM, SAM-2 and EfficientSAM do alike as a `MaskBackbone`; a family adds its frame, its encoder and its decoder.

Shapes: C channels of a prompt, (h, w) the embedding grid, P prompts, M candidate masks.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Generic, Protocol, Self, TypeVar

import torch
from torch import nn

from evfsam.geometry import Frame
from evfsam.prompts import (
    best_prediction,
    check_embedding,
    check_prompt,
    place_module,
    stacked_prompts,
    weights_digest,
)
from evfsam.types import ImageEmbedding, MaskPrediction, RgbImage, SamPrompt
from evfsam.weights.files import read_config, read_weights, save_weights, write_config
from evfsam.weights.loading import load_strictly


class VisualConfig(Protocol):
    """Sizes of a SAM of any family."""

    @property
    def image_size(self) -> int:
        """Side of the square input, pixels."""
        ...

    @property
    def prompt_embed_dim(self) -> int:
        """C."""
        ...

    @property
    def embedding_size(self) -> tuple[int, int]:
        """(h, w)."""
        ...

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain JSON values."""
        ...

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Build from plain values, strictly."""
        ...


SamT = TypeVar("SamT", bound=nn.Module)
ConfigT = TypeVar("ConfigT", bound=VisualConfig)


class BaseMaskBackbone(ABC, Generic[SamT, ConfigT]):
    """A slow half that sees the image and a fast half that sees the prompt. Read-only after it is built.

    Args:
        sam: the model, in eval mode.
        config: its sizes.

    Attributes:
        model_type: of the configuration that `save_pretrained` writes.
        float32_parts: what computes in float32 whatever the model's type; see `families.Family`.
    """

    model_type: ClassVar[str]
    float32_parts: ClassVar[tuple[str, ...]]

    def __init__(self, sam: SamT, config: ConfigT) -> None:
        self.sam = sam
        self.config = config
        for part in self.float32_parts:
            self.sam.get_submodule(part).float()

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> Self:
        """Load what `save_pretrained` wrote, converting stored weights to `dtype`.

        Raises:
            CheckpointError: files are missing or damaged, or keys or shapes do not fit.
            ConfigurationError: the configuration has unknown fields.
        """
        directory = Path(directory)
        values = read_config(directory)
        values.pop("model_type", None)
        sam, config = cls._build(values)
        load_strictly(sam, read_weights(directory), str(directory))
        place_module(sam, device=device, dtype=dtype, float32_parts=cls.float32_parts)
        return cls(sam.requires_grad_(False), config)

    def save_pretrained(self, directory: str | Path, *, storage_dtype: torch.dtype | None = None) -> None:
        """Write `config.json` and `model.safetensors`; `storage_dtype` as in `checkpoints.save_weights`."""
        write_config(Path(directory), {"model_type": self.model_type, **self.config.to_dict()})
        save_weights(Path(directory), self.sam.state_dict(), storage_dtype)

    @cached_property
    def encoder_identity(self) -> str:
        """SHA-256 over what makes an embedding: weights as float32, their type in use, and sizes that shape it."""
        return weights_digest(self._identity_facts(), self._encoder_weights())

    @torch.no_grad()
    def encode_image(self, image: RgbImage) -> ImageEmbedding:
        """Compute the features of one image.

        Args:
            image: (H, W, 3) uint8.
        """
        start = time.perf_counter()
        pixels, frame = self._pixels(image)
        embeddings, finer = self._encode(pixels[None])
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
            GeometryError: the prompt is empty, leaves the image or holds what the family does not know, or the
                embedding is another encoder's.
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
        answers = zip(*self.decode_low_res(embedding, prompts, multimask=multimask), strict=True)
        frame = self.frame(embedding)
        return tuple(best_prediction(logits, ious, frame) for logits, ious in answers)

    @torch.no_grad()
    def decode_low_res(
        self, embedding: ImageEmbedding, prompts: Sequence[SamPrompt], *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return every candidate of several prompts as the decoder gave it: (P, M, 4h, 4w) logits, (P, M) IoUs.

        Raises:
            GeometryError: a prompt is empty, leaves the image, or the prompts differ in length.
        """
        frame = self.frame(embedding)
        sparse = stacked_prompts([self.sparse_prompt_embeddings(prompt, frame) for prompt in prompts])
        return self._decode(embedding, sparse, multimask=multimask)

    def sparse_prompt_embeddings(self, prompt: SamPrompt, frame: Frame) -> torch.Tensor:
        """Embed a prompt given in original pixels: (1, N, C) float32, points and box in the family's order, then text.

        Raises:
            GeometryError: the prompt is empty, leaves the image or holds what the family does not know, or its text
                embeddings have another width.
        """
        check_prompt(prompt, self.config.prompt_embed_dim)
        marks, text = self._embed_marks(prompt, frame), prompt.text_prompt_embeddings
        return marks if text is None else torch.cat([marks, text[None].to(marks)], dim=1)

    @abstractmethod
    def frame(self, embedding: ImageEmbedding) -> Frame:
        """Return where the image lies in the encoder's input."""

    @classmethod
    @abstractmethod
    def _build(cls, values: Mapping[str, object]) -> tuple[SamT, ConfigT]:
        """Build a fresh model from the plain values of its sizes."""

    @abstractmethod
    def _identity_facts(self) -> tuple[object, ...]:
        """Return what shapes an embedding beside the weights, the type in use included."""

    @abstractmethod
    def _encoder_weights(self) -> Iterable[tuple[str, torch.Tensor]]:
        """Return the weights that an embedding depends on."""

    @abstractmethod
    def _pixels(self, image: RgbImage) -> tuple[torch.Tensor, Frame]:
        """Return the encoder's input (3, side, side) and where the image lies in it."""

    @abstractmethod
    def _encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Run the encoder on (1, 3, side, side), on the CPU: embeddings and finer levels."""

    @abstractmethod
    def _embed_marks(self, prompt: SamPrompt, frame: Frame) -> torch.Tensor:
        """Embed the points and the box: (1, N, C) float32, where N may be 0."""

    @abstractmethod
    def _decode(
        self, embedding: ImageEmbedding, sparse: torch.Tensor, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the mask decoder on (P, N, C) prompts of one image."""
