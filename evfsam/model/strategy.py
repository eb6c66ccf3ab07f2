"""EVF-SAM as a strategy: phrase and image fused to one prompt for SAM, with the attention behind it."""

import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Final
from uuid import uuid4

import torch

from evfsam.encoders.multimodal import EncoderChoice, EncoderOutput
from evfsam.errors import Sentence
from evfsam.late_attention import LateAttention, LateAttentionRecord
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.phrases import check_phrases
from evfsam.sam.closer_look import Region, decode_marked, seen_closer
from evfsam.strategy_cards import EVF_SAM
from evfsam.types import (
    AttentionRecord,
    BoxXyxy,
    ImageView,
    PromptPoint,
    SamPrompt,
    Segmentation,
    StrategyCard,
    TraceEntry,
    Verdict,
)

_LONG_PHRASE: Final = 64
"""Tokens of a phrase that few exceed."""
_ENCODER_TITLES: Final[Mapping[str, str]] = {"beit3": "BEiT-3", "vilt": "ViLT", "clip": "CLIP"}
_SUMMARIES: Final[Mapping[str, str]] = {
    "early": "{encoder} reads image and phrase together; one of its tokens becomes one prompt for SAM.",
    "late": "{encoder} reads image and phrase apart; both [CLS] tokens side by side become one prompt for SAM.",
    "text": "{encoder} reads the phrase alone; its [CLS] token becomes one prompt for SAM.",
}


class EvfSamStrategy:
    """Segments what phrases name. Read-only after it is built: safe to share between visitors.

    Args:
        model: in eval mode.
        processor: of the same configuration.
    """

    def __init__(self, model: EvfSamModel, processor: EvfSamProcessor) -> None:
        self.model = model
        self.processor = processor
        self.backbone = model.mask_backbone()
        self._identity = uuid4().hex
        self._refinement = SamPrompt()

    @property
    def card(self) -> StrategyCard:
        """What it is."""
        return replace(_card(self.model.config.encoder_choice), title=self.model.family.title)

    @property
    def attention_bytes(self) -> int:
        """What the attention behind an answer to a long phrase takes; 0 where image and phrase are not fused."""
        if not self.model.config.encoder_choice.is_fused:
            return 0
        sizes = self.model.config.encoder_sizes
        tokens: int = 1 + sizes.patch_grid[0] * sizes.patch_grid[1] + min(_LONG_PHRASE, sizes.max_text_tokens)
        heads = int(getattr(sizes, "head_count", 0))
        return int(sizes.layer_count * heads * tokens**2 * 4)

    def with_prompt(self, points: Sequence[PromptPoint] = (), box: BoxXyxy | None = None) -> "EvfSamStrategy":
        """Return a strategy on the same weights that gives SAM these clicks and this box beside each phrase.

        SAM's prompt encoder embeds points, then the box; the text follows (SAM-2 and EfficientSAM take the box first).

        Args:
            points: pixels of the original image.
            box: XYXY, pixels of the original image.
        """
        refined = copy(self)
        refined._refinement = SamPrompt(box, tuple(points))
        return refined

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        """Segment what the phrase names.

        Args:
            view: the image; its embedding is shared with other strategies.
            phrase: referring expression; "[semantic] " before a category asks for all of its instances.

        Raises:
            PhraseError: the phrase is empty or too long.
            GeometryError: a click or the box of `with_prompt` leaves the image.
        """
        return self.segment_many(view, (phrase,))[0]

    @torch.no_grad()
    def segment_many(self, view: ImageView, phrases: Sequence[str]) -> list[Segmentation]:
        """Segment what each phrase names: the image is encoded once, all phrases are fused and decoded in one pass.

        Args:
            view: as in `segment`.
            phrases: as in `segment`, 16 at most.

        Returns:
            One answer a phrase, in their order. The time of the joint passes is shared out evenly, the image encoder's
            is the first answer's.

        Raises:
            PhraseError: a phrase is empty or too long, or there are none or too many.
            GeometryError: as in `segment`.
        """
        phrases = check_phrases(phrases)
        input_ids, attention_mask = self.processor.tokenizer.encode_batch(phrases)
        start = time.perf_counter()
        embedding, was_cached = view.embedding(self.backbone)
        encoded = time.perf_counter()
        prompt_embeddings, output = self._fuse(view, input_ids, attention_mask)
        fused = time.perf_counter()
        prompts = [replace(self._refinement, text_prompt_embeddings=one.float()) for one in prompt_embeddings]
        multimask = self.model.family.multimask
        predictions, region = decode_marked(
            self.backbone, view.image, embedding, prompts, self._refinement, multimask=multimask
        )
        count, decoded = len(phrases), time.perf_counter()
        answers = []
        for index, (phrase, prompt, prediction) in enumerate(zip(phrases, prompts, predictions, strict=True)):
            words = input_ids[index][attention_mask[index]].tolist()
            tokens = self.processor.tokenizer.tokens(words)
            attention = self._attention(output, index, tokens, view.size)
            seconds = {
                "encode image": 0.0 if index else encoded - start,
                "fuse": (fused - encoded) / count,
                "decode": (decoded - fused) / count,
            }
            answers.append(
                Segmentation.drawn(
                    (prompt,),
                    (prediction,),
                    Verdict("absent", "No pixel of the mask is above the threshold."),
                    attention=attention,
                    trace=self._trace(phrase, tokens, prompt, region, is_fused=attention is not None),
                    seconds=seconds,
                    embedding_was_cached=was_cached or index > 0,
                )
            )
        return answers

    def _fuse(
        self, view: ImageView, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, EncoderOutput]:
        device = self.model.device
        seen, _ = view.seen(
            self._identity, lambda: self.model.look(self.processor.encoder_pixels(view.image).to(device))
        )
        return self.model.fuse(
            seen,
            input_ids.to(device),
            attention_mask.to(device),
            attention_layers=range(self.model.config.encoder_sizes.layer_count),
        )

    def _attention(
        self, output: EncoderOutput, index: int, tokens: tuple[str, ...], size: tuple[int, int]
    ) -> AttentionRecord | None:
        """Cut one phrase's attention out of the batch, without the padding of shorter phrases."""
        if not output.attentions:
            return None
        grid = self.model.config.encoder_sizes.patch_grid
        length = 1 + grid[0] * grid[1] + len(tokens)
        if isinstance(output.attentions, LateAttention):
            return LateAttentionRecord(output.attentions.of_pair(index), length, grid, size, tokens)
        layers = [output.attentions[layer][index, :, :length, :length] for layer in sorted(output.attentions)]
        return AttentionRecord(torch.stack(layers).cpu(), grid, size, tokens)

    def _trace(
        self, phrase: str, tokens: tuple[str, ...], prompt: SamPrompt, region: Region | None, *, is_fused: bool
    ) -> tuple[TraceEntry, ...]:
        assert prompt.text_prompt_embeddings is not None
        height, width = self.model.config.encoder_sizes.patch_grid
        is_image_read = self.model.config.fusion != "text"
        steps = {True: "fuse image and phrase", False: "read image and phrase apart"}
        values = {"tokens": list(tokens), "patches": height * width if is_image_read else 0}
        read = TraceEntry(
            step=steps[is_fused] if is_image_read else "read the phrase alone", asked=phrase, values=values
        )
        token = self.model.config.feature
        projected = TraceEntry(
            step=Sentence("project {token} to a prompt for SAM", token="[CLS]" if token == "cls" else token),
            values={
                "channels": prompt.text_prompt_embeddings.shape[-1],
                "norm": float(prompt.text_prompt_embeddings.norm()),
            },
        )
        if prompt.box is None and not prompt.points:
            return read, projected
        given = {"box": prompt.box, "points": [(point.x, point.y, point.label) for point in prompt.points]}
        added = TraceEntry(step="add the given box and points", values=given)
        if region is None:
            return read, projected, added
        return read, projected, added, seen_closer(region)


def _card(choice: EncoderChoice) -> StrategyCard:
    if choice == EncoderChoice():
        return EVF_SAM
    summary = Sentence(_SUMMARIES[choice.fusion], encoder=_ENCODER_TITLES[choice.encoder])
    if choice.is_fused:
        return replace(EVF_SAM, summary=summary)
    return replace(
        EVF_SAM,
        summary=summary,
        can="Finds things by their name and colour.",
        cannot="Tell the left one from the right one: phrase and image do not meet before SAM is asked.",
    )


def load_strategy(directory: str | Path, *, device: str | torch.device, dtype: torch.dtype) -> EvfSamStrategy:
    """Build the strategy from a checkpoint directory.

    Args:
        directory: what `EvfSamModel.save_pretrained` and `EvfSamProcessor.save_pretrained` wrote.
        device: where the model runs.
        dtype: type of its weights; stored weights are converted.

    Raises:
        CheckpointError: files are missing or damaged, or do not fit together.
        ConfigurationError: the configuration does not fit.
    """
    return EvfSamStrategy(
        EvfSamModel.from_pretrained(directory, device=device, dtype=dtype), EvfSamProcessor.from_pretrained(directory)
    )
