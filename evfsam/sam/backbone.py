"""What SAM, SAM-2 and EfficientSAM do alike as a `MaskBackbone`; a family adds its frame, its encoder and its decoder.

Shapes: C channels of a prompt, (h, w) the embedding grid, P prompts, M candidate masks.
"""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, Unpack

import torch
from torch import nn

from evfsam.errors import ConfigurationError, GeometryError
from evfsam.geometry import Frame, check_box, check_point
from evfsam.preprocess import sam_pixels, stretched_pixels
from evfsam.types import ImageEmbedding, MaskPrediction, RgbImage, SamPrompt
from evfsam.weights.checkpoint_files import (
    Storage,
    read_config,
    read_weights,
    save_weights,
    with_known_fields,
    write_config,
)
from evfsam.weights.loading import load_strictly

_PIXEL_CENTRE = 0.5  # SAM's prompt encoders add it to what they are given; our coordinates hold it already


def prompt_points(prompt: SamPrompt, frame: Frame, device: torch.device) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the kept points for a prompt encoder: (1, N, 2) XY in its input's pixels and (1, N) labels; None without.

    Raises:
        GeometryError: a point lies outside the image.
    """
    kept = [point for point in prompt.points if point.is_kept]
    if not kept:
        return None
    for point in kept:
        check_point(point.x, point.y, frame.original_size)
    xy = torch.tensor([[[point.x, point.y] for point in kept]], dtype=torch.float32, device=device)
    coords = frame.points_to_input(xy)
    return coords - _PIXEL_CENTRE, torch.tensor([[point.label for point in kept]], device=device)


def prompt_box(prompt: SamPrompt, frame: Frame, device: torch.device) -> torch.Tensor | None:
    """Return the box for a prompt encoder: (1, 4) XYXY in its input's pixels; None without.

    Raises:
        GeometryError: the box is empty or leaves the image.
    """
    if prompt.box is None:
        return None
    check_box(prompt.box, frame.original_size)
    return torch.tensor([frame.box_to_input(prompt.box)], dtype=torch.float32, device=device) - _PIXEL_CENTRE


def check_prompt(prompt: SamPrompt, channels: int) -> None:
    """Refuse a prompt that says nothing, or whose text embeddings have another width.

    Raises:
        GeometryError: see above.
    """
    text = prompt.text_prompt_embeddings
    if text is None:
        if prompt.box is None and not any(point.is_kept for point in prompt.points):
            raise GeometryError("expected a box, a kept point or text embeddings, got an empty prompt")
    elif text.ndim != 2 or text.shape[1] != channels:
        raise GeometryError(
            "expected text embeddings (N, {channels}), got {got}; use the projector trained for this SAM",
            channels=channels,
            got=tuple(text.shape),
        )


def stacked_prompts(sparse: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put P embedded prompts (1, N, C) into one batch (P, N, C).

    Raises:
        GeometryError: there is none, or they differ in N.
    """
    lengths = sorted({prompt.shape[1] for prompt in sparse})
    if len(lengths) != 1:
        raise GeometryError("expected prompts of one length to decode together, got lengths {lengths}", lengths=lengths)
    return torch.cat(list(sparse))


def check_embedding(embedding: ImageEmbedding, encoder_identity: str) -> None:
    """Refuse features of another encoder.

    Raises:
        GeometryError: the identities differ.
    """
    if embedding.encoder_identity != encoder_identity:
        raise GeometryError("the image embedding is another encoder's; take it from view.embedding(backbone)")


def check_image_count(image_count: int, prompt_count: int) -> None:
    """Refuse image embeddings that are neither one for all prompts nor one a prompt.

    Raises:
        GeometryError: see above.
    """
    if image_count not in (1, prompt_count):
        raise GeometryError(
            "expected 1 or {prompts} image embeddings, got {images}", prompts=prompt_count, images=image_count
        )


def place_module(
    module: nn.Module, *, device: str | torch.device, dtype: torch.dtype, float32_parts: Sequence[str] = ()
) -> None:
    """Move a module, converting its floating-point weights but those of some parts.

    Args:
        module: changed in place.
        device: where it goes.
        dtype: type of its weights.
        float32_parts: names of parts that become float32 instead, unrounded.
    """
    module.to(device=device)
    kept = tuple(f"{part}." for part in float32_parts)
    for name, weight in module.named_parameters():
        if weight.is_floating_point():
            weight.data = weight.data.to(torch.float32 if name.startswith(kept) else dtype)
    for part in float32_parts:
        module.get_submodule(part).float()


def best_prediction(low_res_logits: torch.Tensor, pred_ious: torch.Tensor, frame: Frame) -> MaskPrediction:
    """Choose the candidate with the highest predicted IoU; it is brought to the original size when it is read.

    Args:
        low_res_logits: (M, 4h, 4w).
        pred_ious: (M,).
        frame: where the image lies in SAM's input.
    """
    chosen = int(pred_ious.argmax())
    return MaskPrediction(low_res_logits.float(), pred_ious.float(), chosen, frame)


def weights_digest(facts: tuple[object, ...], tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """SHA-256 over facts and named weights; weights count as float32, so storage in float16 changes nothing.

    Args:
        facts: what shapes the computation beside the weights; their `repr` must be stable.
        tensors: names and values; the order does not matter.
    """
    digest = hashlib.sha256(repr(facts).encode())
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class VisualConfig(ABC):
    """Sizes of a SAM of any family, which fit together.

    Attributes:
        title: what messages call it.

    Raises:
        ConfigurationError: they do not.
    """

    title: ClassVar[str]

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            object.__setattr__(self, entry.name, tuple(value) if isinstance(value, list) else value)
        self._check()

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side of the square input, pixels."""

    @property
    @abstractmethod
    def prompt_embed_dim(self) -> int:
        """C."""

    @property
    @abstractmethod
    def embedding_size(self) -> tuple[int, int]:
        """(h, w)."""

    @abstractmethod
    def _check(self) -> None:
        """Refuse sizes that do not fit together, with the help of the two below."""

    def _check_multiples(self, divisions: Mapping[str, tuple[int, int]]) -> None:
        for name, (whole, part) in divisions.items():
            if whole < 1 or part < 1 or whole % part:
                raise ConfigurationError(
                    "{title}: {name} {whole} is not a positive multiple of {part}; change one of them",
                    title=self.title,
                    name=name,
                    whole=whole,
                    part=part,
                )

    def _check_blocks(self, blocks: Sequence[int], depth: int) -> None:
        outside = [index for index in blocks if not 0 <= index < depth]
        if outside:
            raise ConfigurationError(
                "{title}: expected global blocks below {depth}, got {outside}",
                title=self.title,
                depth=depth,
                outside=outside,
            )

    def to_dict(self) -> dict[str, object]:
        """Return the fields as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Build from plain values.

        Raises:
            ConfigurationError: a field is unknown, or sizes do not fit together.
        """
        return with_known_fields(cls, values, cls.title)


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Features of B images.

    Attributes:
        image_embeddings: (B, C, h, w).
        high_res_features: SAM-2's finer levels (B, C/8, 4h, 4w) and (B, C/4, 2h, 2w); empty for the others.
    """

    image_embeddings: torch.Tensor
    high_res_features: tuple[torch.Tensor, ...] = ()


SamT = TypeVar("SamT", bound=nn.Module)
ConfigT = TypeVar("ConfigT", bound=VisualConfig)


class BaseMaskBackbone(ABC, Generic[SamT, ConfigT]):
    """One kind of SAM: a slow half that sees the image and a fast half that sees the prompt. Read-only once built.

    The class says all that follows from the kind, so that EVF-SAM asks it too (`EvfSamModel.family`).

    Args:
        sam: the model, in eval mode.
        config: its sizes.

    Attributes:
        model_type: the kind's name in configurations.
        architecture: class of the released EVF-SAM on it, as its `config.json` has it.
        title: of that EVF-SAM, for people.
        mark: beginning of a key that only such an EVF-SAM has.
        config_type: sizes.
        scales: the released words for sizes; the first is the default.
        is_stretched: whether an image is stretched over the square input, or padded to it at the right and bottom.
        multimask: whether the released EVF-SAM takes the best of three masks unless told otherwise.
        mask_decoder, prompt_encoder: names of those parts in the SAM.
        float32_parts: parts that compute in float32 whatever type the model is loaded in: coordinates and their
            frequencies, SAM's neck, whose squares overflow float16, and the small mask decoder, where bfloat16 costs
            2 % of the mask. SAM-2's decoder shares convolutions with its image encoder and keeps the model's.
        learns_no_mask: whether there is an embedding for "no mask given" that a recipe may train.
    """

    model_type: ClassVar[str]
    architecture: ClassVar[str]
    title: ClassVar[str]
    mark: ClassVar[str]
    config_type: ClassVar[type[VisualConfig]]
    scales: ClassVar[Mapping[str, VisualConfig]]
    is_stretched: ClassVar[bool]
    multimask: ClassVar[bool] = False
    mask_decoder: ClassVar[str] = "mask_decoder"
    prompt_encoder: ClassVar[str] = "prompt_encoder"
    float32_parts: ClassVar[tuple[str, ...]]
    learns_no_mask: ClassVar[bool] = True

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
        config: Any = cls.config_type.from_dict(values)
        sam = cls.build(config)
        load_strictly(sam, read_weights(directory), str(directory))
        place_module(sam, device=device, dtype=dtype, float32_parts=cls.float32_parts)
        return cls(sam.requires_grad_(False), config)

    def save_pretrained(self, directory: str | Path, **storage: Unpack[Storage]) -> None:
        """Write `config.json` and `model.safetensors`; see `evfsam.weights.checkpoint_files.save_weights`."""
        save_weights(Path(directory), self.sam.state_dict(), **storage)
        write_config(Path(directory), {"model_type": self.model_type, **self.config.to_dict()})

    @property
    def looks_closer(self) -> bool:
        """Whether a small thing in a person's box is to be seen alone; see `evfsam.sam.closer_look`."""
        return False

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
        pixels, frame = self.pixels(image, self.config.image_size)
        device = next(self.sam.parameters()).device
        features = self.encode(self.sam, pixels[None].to(device))
        return ImageEmbedding(
            image_embeddings=features.image_embeddings,
            original_size=frame.original_size,
            input_size=frame.input_size,
            encoder_identity=self.encoder_identity,
            seconds=time.perf_counter() - start,
            high_res_features=features.high_res_features,
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
        """Turn several prompts on one image into masks, those of one length in one pass of the decoder.

        Args:
            embedding: as in `decode`.
            prompts: as in `decode`.
            multimask: as in `decode`.

        Raises:
            GeometryError: as in `decode`.
        """
        check_embedding(embedding, self.encoder_identity)
        frame = self.frame(embedding)
        sparse = [self.sparse_prompt_embeddings(prompt, frame) for prompt in prompts]
        predictions: dict[int, MaskPrediction] = {}
        for length in {each.shape[1] for each in sparse}:
            alike = [index for index, each in enumerate(sparse) if each.shape[1] == length]
            answers = self._decoded(embedding, torch.cat([sparse[index] for index in alike]), multimask=multimask)
            for index, logits, ious in zip(alike, *answers, strict=True):
                predictions[index] = best_prediction(logits, ious, frame)
        return tuple(predictions[index] for index in range(len(prompts)))

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
        return self._decoded(embedding, sparse, multimask=multimask)

    def _decoded(
        self, embedding: ImageEmbedding, sparse: torch.Tensor, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        features = EncodedImages(embedding.image_embeddings, embedding.high_res_features)
        return self.decode_features(self.sam, features, sparse, multimask=multimask)

    def sparse_prompt_embeddings(self, prompt: SamPrompt, frame: Frame) -> torch.Tensor:
        """Embed a prompt given in original pixels: (1, N, C) float32, points and box in the family's order, then text.

        Raises:
            GeometryError: the prompt is empty, leaves the image or holds what the family does not know, or its text
                embeddings have another width.
        """
        check_prompt(prompt, self.config.prompt_embed_dim)
        marks, text = self._embed_marks(prompt, frame), prompt.text_prompt_embeddings
        return marks if text is None else torch.cat([marks, text[None].to(marks)], dim=1)

    def frame(self, embedding: ImageEmbedding) -> Frame:
        """Return where the image lies in the encoder's input."""
        return Frame(embedding.original_size, embedding.input_size, self.config.image_size, self.is_stretched)

    @classmethod
    def pixels(cls, image: RgbImage, side: int) -> tuple[torch.Tensor, Frame]:
        """Return the encoder's input (3, side, side) on the CPU, and where the image lies in it."""
        return stretched_pixels(image, side) if cls.is_stretched else sam_pixels(image, side)

    @staticmethod
    @abstractmethod
    def build(config: Any) -> Any:
        """Build a SAM with fresh weights, in eval mode."""

    @staticmethod
    @abstractmethod
    def encode(sam: Any, pixel_values: torch.Tensor) -> EncodedImages:
        """Run a SAM's image encoder on (B, 3, side, side) of its device; the features have the weights' type."""

    @staticmethod
    @abstractmethod
    def decode_features(
        sam: Any, features: EncodedImages, prompts: torch.Tensor, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run a SAM's mask decoder with each prompt on its own image, or all on one. Gradients flow.

        Args:
            sam: the decoder's owner.
            features: of one image, shared by all prompts, or of one image a prompt.
            prompts: (P, N, C).
            multimask: whether to return the three candidates instead of the single mask.

        Returns:
            (P, M, 4h, 4w) low-resolution logits and (P, M) predicted IoUs, in the decoder's type.

        Raises:
            GeometryError: the number of images is neither 1 nor the number of prompts, or finer levels are missing.
        """

    @abstractmethod
    def _identity_facts(self) -> tuple[object, ...]:
        """Return what shapes an embedding beside the weights, the type in use included."""

    @abstractmethod
    def _encoder_weights(self) -> Iterable[tuple[str, torch.Tensor]]:
        """Return the weights that an embedding depends on."""

    @abstractmethod
    def _embed_marks(self, prompt: SamPrompt, frame: Frame) -> torch.Tensor:
        """Embed the points and the box: (1, N, C) float32, where N may be 0."""
