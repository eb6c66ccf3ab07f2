"""What is learned from real data, and from which loss: EVF-SAM by BCE + dice.

Source: EVF-SAM, arXiv:2406.20076, sections 3.3 and 4.1: both losses weigh 1, at the image's own size; the image encoder
is frozen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import nn

from evfsam.geometry import Frame
from evfsam.model.losses import batch_mask_loss
from evfsam.model.modeling import EvfSamModel, LossWeights
from evfsam.model.processing import EvfSamProcessor
from training.res_data import DrawnImage, object_pixels
from workbench.metrics.masks import IGNORED_LABEL

PAPER_WEIGHTS = LossWeights(bce=1.0, dice=1.0)
_SURELY_OUTSIDE = -50.0


class Objective(Protocol):
    """What the loop needs to know of a model: how a batch is made, its loss, and how the result is kept."""

    @property
    def module(self) -> nn.Module:
        """Called with a batch, returns the scalar loss. Parameters that are trained require gradients."""
        ...

    def check_phrase(self, phrase: str) -> object:
        """Raise what the model's tokenizer has against a phrase."""
        ...

    def prepare(self, drawn: Sequence[DrawnImage], rng: np.random.Generator) -> Any:
        """Make a batch on the CPU; runs in several threads at once."""
        ...

    def save(self, directory: Path) -> None:
        """Write what a strategy loads."""
        ...


@dataclass(frozen=True, eq=False)
class PhraseImages:
    """B images and P phrases, those of image 0 first.

    Attributes:
        pixels: (B, 3, s, s) for SAM.
        reader_pixels: (B, 3, e, e) for the encoder that reads the phrase.
        input_ids, words: (P, T) int64, and which of them are words.
        counts: phrases of each image.
        frames: of each image in `pixels`.
        references: (P_i, H_i, W_i) uint8 of each image: 1 the object, 255 what does not count.
    """

    pixels: torch.Tensor
    reader_pixels: torch.Tensor
    input_ids: torch.Tensor
    words: torch.Tensor
    counts: tuple[int, ...]
    frames: tuple[Frame, ...]
    references: tuple[torch.Tensor, ...]


def stacked_references(drawn: DrawnImage) -> torch.Tensor:
    """(P, H, W) uint8: 1 the object, 255 what does not count."""
    rows = []
    for reference in drawn.references:
        labels = object_pixels(reference).astype(np.uint8)
        if reference.dtype == np.uint8:
            labels[reference == IGNORED_LABEL] = IGNORED_LABEL
        rows.append(labels)
    return torch.from_numpy(np.stack(rows))


def counted_mask_loss(
    mask_logits: Sequence[torch.Tensor], references: Sequence[torch.Tensor], weights: LossWeights
) -> torch.Tensor:
    """BCE + dice over the pixels that count: the others are given the right answer, which costs and teaches nothing.

    Args:
        mask_logits: (P_i, H_i, W_i) of each image.
        references: (P_i, H_i, W_i) uint8 of each image, as `stacked_references` makes them.
        weights: factors of the two.
    """
    references = [each.to(logits.device) for logits, each in zip(mask_logits, references, strict=True)]
    counted = [
        logits.float().masked_fill(each == IGNORED_LABEL, _SURELY_OUTSIDE)
        for logits, each in zip(mask_logits, references, strict=True)
    ]
    targets = [each == 1 for each in references]
    return batch_mask_loss(counted, targets, bce_weight=weights.bce, dice_weight=weights.dice).loss


class EvfSamLoss(nn.Module):
    """EVF-SAM as a function from a batch to its loss.

    Args:
        model: with the parts to train set free.
        weights: of the two losses.
        is_mixed: whether products are taken in bfloat16.
    """

    def __init__(self, model: EvfSamModel, weights: LossWeights, *, is_mixed: bool) -> None:
        super().__init__()
        self.model, self.weights, self.is_mixed = model, weights, is_mixed

    def train(self, mode: bool = True) -> Self:
        """Leave SAM as it is at inference."""
        super().train(mode)
        self.model.visual_model.eval()
        return self

    def forward(self, batch: PhraseImages) -> torch.Tensor:
        """Return the loss."""
        device = self.model.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.is_mixed):
            features = self.model.encode_image_features(batch.pixels.to(device))
            output = self.model(
                features.image_embeddings,
                batch.reader_pixels.to(device),
                batch.input_ids.to(device),
                batch.frames,
                offset=[0, *np.cumsum(batch.counts).tolist()],
                attention_mask=batch.words.to(device),
                high_res_features=features.high_res_features,
            )
        return counted_mask_loss(output.mask_logits, batch.references, self.weights)


class EvfSamObjective:
    """EVF-SAM: encoder and projector learn, of SAM what the recipe frees; see `Objective`.

    Args:
        model: to train on.
        processor: its own.
        mask_decoder, no_mask_embedding: parts of SAM to train along.
        weights: of the two losses.
        is_mixed: whether products are taken in bfloat16.
    """

    def __init__(
        self,
        model: EvfSamModel,
        processor: EvfSamProcessor,
        *,
        mask_decoder: bool,
        no_mask_embedding: bool,
        weights: LossWeights = PAPER_WEIGHTS,
        is_mixed: bool = True,
    ) -> None:
        model.set_trainable(mask_decoder=mask_decoder, no_mask_embedding=no_mask_embedding)
        self.processor = processor
        self.module = EvfSamLoss(model, weights, is_mixed=is_mixed)

    def check_phrase(self, phrase: str) -> object:
        """Raise a PhraseError where the phrase is empty or too long."""
        return self.processor.tokenizer.encode_batch([phrase])

    def prepare(self, drawn: Sequence[DrawnImage], rng: np.random.Generator) -> PhraseImages:
        """Make the inputs as inference makes them."""
        del rng  # nothing is left to chance: a flipped image would make "left" a lie
        config = self.processor.config
        pixels, frames = zip(
            *(config.visual_family.pixels(each.image, config.sam_config.image_size) for each in drawn), strict=True
        )
        ids, words = self.processor.tokenizer.encode_batch([phrase for each in drawn for phrase in each.phrases])
        return PhraseImages(
            torch.stack(pixels),
            torch.cat([self.processor.encoder_pixels(each.image) for each in drawn]),
            ids,
            words,
            tuple(len(each.phrases) for each in drawn),
            frames,
            tuple(stacked_references(each) for each in drawn),
        )

    def save(self, directory: Path) -> None:
        """Write model and tokenizer."""
        self.module.model.save_pretrained(directory)
        self.processor.tokenizer.save_pretrained(directory)
