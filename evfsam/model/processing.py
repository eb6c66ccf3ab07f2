"""Images and phrases to tensors, for `EvfSamModel.segment`, the strategy and training."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch

from evfsam.encoders.tokenizers import PhraseTokenizer, PretrainedPhraseTokenizer
from evfsam.errors import CheckpointError, GeometryError
from evfsam.geometry import Frame
from evfsam.model.configuration import EvfSamConfig, refuse_options
from evfsam.phrases import check_phrases, split_phrases
from evfsam.preprocess import LITE_MEAN, LITE_STD, beit3_pixels, clip_pixels
from evfsam.types import RgbImage
from evfsam.weights.hub import local_checkpoint

AnyTokenizer = PhraseTokenizer | PretrainedPhraseTokenizer
"""BEiT-3 reads sentencepiece's ids, ViLT and CLIP those of their own tokenizers."""


@dataclass(frozen=True, eq=False)
class EvfSamBatch:
    """B images and P phrases, those of image 0 first.

    Attributes:
        pixel_values: (B, 3, side, side) for SAM.
        encoder_pixel_values: (B, 3, side, side) for the multimodal encoder.
        input_ids: (P, T) int64.
        attention_mask: (P, T) bool, True on words.
        offset: B + 1 numbers: phrases offset[i]..offset[i + 1] belong to image i.
        frames: where each image lies in SAM's input.
    """

    pixel_values: torch.Tensor
    encoder_pixel_values: torch.Tensor
    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    offset: tuple[int, ...]
    frames: tuple[Frame, ...]


class EvfSamProcessor:
    """Prepares inputs. Read-only, safe to share.

    Args:
        tokenizer: for phrases.
        config: the model's; gives both image sizes.
        encoder_antialias: as `antialias` of `evfsam.preprocess.beit3_pixels`; for comparison with the reference.

    Raises:
        CheckpointError: the tokenizer has ids that the model has no embedding for.
    """

    def __init__(self, tokenizer: AnyTokenizer, config: EvfSamConfig, *, encoder_antialias: bool = False) -> None:
        rows = config.encoder_sizes.vocab_size
        if tokenizer.vocab_size > rows:
            raise CheckpointError(
                "the tokenizer has {vocab_size} ids, but the model only {rows} word embeddings; use the "
                "tokenizer that the model was trained with",
                vocab_size=tokenizer.vocab_size,
                rows=rows,
            )
        self.tokenizer = tokenizer
        self.config = config
        self.sam_image_size = config.sam_config.image_size
        self.encoder_antialias = encoder_antialias
        self.encoder_image_size = config.encoder_sizes.image_size

    @classmethod
    def from_pretrained(  # type: ignore[no-untyped-def]
        cls, id_or_dir: str | Path, *, revision: str | None = None, **options
    ) -> "EvfSamProcessor":
        """Load what `save_pretrained` wrote, or a released checkpoint.

        Args:
            id_or_dir: a directory, or as text a Hub id.
            revision: branch, tag or commit of a Hub id.
            **options: those that only `AutoProcessor` gives; any other is an error.

        Raises:
            CheckpointError: a file is missing or damaged.
            ConfigurationError: the configuration does not fit, or an option is unknown.
        """
        refuse_options(options, "revision")
        directory = local_checkpoint(id_or_dir, revision)
        config = EvfSamConfig.load(directory)
        kind = PhraseTokenizer if config.encoder == "beit3" else PretrainedPhraseTokenizer
        return cls(kind.from_pretrained(directory, config.encoder_sizes.max_text_tokens), config)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write `config.json` and the tokenizer."""
        self.config.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)

    def __call__(self, image: RgbImage, phrases: str | Sequence[str]) -> EvfSamBatch:
        """Prepare one image and one or several phrases; see `batch`.

        Args:
            image: (H, W, 3) uint8 from `evfsam.preprocess.load_image`.
            phrases: what to segment: a list of phrases taken as they are, or one text with ";" between phrases.

        Raises:
            PhraseError: a phrase is empty or too long.
        """
        return self.batch([image], [phrases])

    def batch(self, images: Sequence[RgbImage], phrases: Sequence[str | Sequence[str]]) -> EvfSamBatch:
        """Prepare several images with their phrases, for `EvfSamModel.segment`.

        Args:
            images: (H, W, 3) uint8 each, of any sizes.
            phrases: of each image, as in a call for one.

        Raises:
            PhraseError: a phrase is empty or too long.
            GeometryError: there are not as many entries of phrases as images, or none.
        """
        if len(images) != len(phrases) or not images:
            raise GeometryError(
                "expected phrases for each of {images} images, got {entries} entries",
                images=len(images),
                entries=len(phrases),
            )
        of_image = [split_phrases(each) if isinstance(each, str) else check_phrases(each) for each in phrases]
        ids, attention_mask = self.tokenizer.encode_batch([phrase for each in of_image for phrase in each])
        pixels, frames = zip(
            *(self.config.visual_family.pixels(image, self.sam_image_size) for image in images), strict=True
        )
        return EvfSamBatch(
            torch.stack(pixels),
            torch.cat([self.encoder_pixels(image) for image in images]),
            ids,
            attention_mask,
            tuple(accumulate((len(each) for each in of_image), initial=0)),
            frames,
        )

    def encoder_pixels(self, image: RgbImage) -> torch.Tensor:
        """Prepare only the multimodal encoder's half of an image: (1, 3, side, side) float32.

        ViLT was trained with BEiT-3's mean and deviation, CLIP and frozen convolutions with their own.
        """
        if self.config.encoder == "beit3" and self.config.beit3_config.convolutions:
            return clip_pixels(image, self.encoder_image_size, LITE_MEAN, LITE_STD)[None]
        if self.config.encoder == "clip":
            return clip_pixels(image, self.encoder_image_size)[None]
        return beit3_pixels(image, self.encoder_image_size, antialias=self.encoder_antialias)[None]
