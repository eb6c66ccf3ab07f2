"""The CLIP projectors on real data: what EVF-SAM's tables compare it with, by the same loss on the same images.

Source: EVF-SAM, arXiv:2406.20076, figure 3 (a) and (b), table 1: text alone, and text beside the image's feature.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from baselines.clip.projector import save_projector
from baselines.clip.text import ClipTextSamModel
from evfsam.geometry import upsample_logits
from evfsam.model.modeling import LossWeights
from evfsam.phrases import in_words
from evfsam.preprocess import clip_pixels, sam_pixels
from training.res_data import DrawnImage
from training.res_objectives import PAPER_WEIGHTS, PhraseImages, counted_mask_loss, stacked_references


class ClipTextLoss(nn.Module):
    """Both CLIP projectors as a function from a batch to the mean of their losses.

    Args:
        model: CLIP, projectors and SAM.
        weights: of the two losses.
        is_mixed: whether products are taken in bfloat16.
    """

    def __init__(self, model: ClipTextSamModel, weights: LossWeights, *, is_mixed: bool) -> None:
        super().__init__()
        self.model, self.weights, self.is_mixed = model, weights, is_mixed

    def train(self, mode: bool = True) -> Self:
        """Leave SAM as it is at inference."""
        super().train(mode)
        self.model.sam.eval()
        return self

    def forward(self, batch: PhraseImages) -> torch.Tensor:
        """Return the loss."""
        device = self.model.sam.device
        image_of = torch.arange(len(batch.counts), device=device).repeat_interleave(
            torch.tensor(batch.counts, device=device)
        )
        ids, words = batch.input_ids.to(device), batch.words.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.is_mixed):
            with torch.no_grad():
                embeddings = torch.cat([self.model.sam.image_encoder(each[None]) for each in batch.pixels.to(device)])[
                    image_of
                ]
            answers = [
                self.model.decode(embeddings, self.model.prompt_embeddings(ids, words, seen, image_of))[0]
                for seen in (None, batch.reader_pixels.to(device))
            ]
        mask_logits = [
            upsample_logits(of_image, frame)[:, 0]
            for answer in answers
            for of_image, frame in zip(torch.split(answer, list(batch.counts)), batch.frames, strict=True)
        ]
        return counted_mask_loss(mask_logits, batch.references * len(answers), self.weights)


class ClipTextObjective:
    """The CLIP projectors and SAM's mask decoder; see `Objective`.

    Args:
        model: to train on; only projectors and mask decoder take gradients.
        tokenizer: CLIP's.
        parts: what CLIP and SAM were, where the model was put together of released ones; then only what was trained is
            kept. None keeps the whole model.
        weights: of the two losses.
        is_mixed: whether products are taken in bfloat16.
    """

    def __init__(
        self,
        model: ClipTextSamModel,
        tokenizer: Any,
        *,
        parts: tuple[str, str] | None = None,
        weights: LossWeights = PAPER_WEIGHTS,
        is_mixed: bool = True,
    ) -> None:
        self.tokenizer, self.parts = tokenizer, parts
        self.module = ClipTextLoss(model, weights, is_mixed=is_mixed)

    def check_phrase(self, phrase: str) -> object:
        """Any phrase will do: CLIP cuts off what is too long."""
        return phrase

    def prepare(self, drawn: Sequence[DrawnImage], rng: np.random.Generator) -> PhraseImages:
        """Make the inputs as inference makes them."""
        del rng
        config = self.module.model.config
        pixels, frames = zip(*(sam_pixels(each.image, config.sam.image_size) for each in drawn), strict=True)
        tokens = self.tokenizer(
            [in_words(phrase) for each in drawn for phrase in each.phrases],
            padding=True,
            truncation=True,
            max_length=config.text.max_position_embeddings,
            return_tensors="pt",
        )
        return PhraseImages(
            torch.stack(pixels),
            torch.stack([clip_pixels(each.image, config.vision.image_size) for each in drawn]),
            tokens["input_ids"],
            tokens["attention_mask"],
            tuple(len(each.phrases) for each in drawn),
            frames,
            tuple(stacked_references(each) for each in drawn),
        )

    def save(self, directory: Path) -> None:
        """Write the model and its tokenizer, or the trained parts beside the names of the others."""
        if self.parts is not None:
            save_projector(self.module.model, directory, clip=self.parts[0], sam=self.parts[1])
            return
        self.module.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
