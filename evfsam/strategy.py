"""EVF-SAM as a strategy: phrase and image fused to one prompt for SAM, with the attention behind it."""

import time
from pathlib import Path

import torch

from evfsam.modeling import EvfSamModel
from evfsam.preprocess import check_phrase
from evfsam.processing import EvfSamProcessor
from evfsam.types import (
    AttentionRecord,
    ImageView,
    SamPrompt,
    Segmentation,
    StrategyCard,
    TraceEntry,
    Verdict,
)

_CARD = StrategyCard(
    key="evf-sam",
    title="EVF-SAM",
    summary="BEiT-3 reads image and phrase together; its [CLS] token becomes one prompt for SAM.",
    paper="EVF-SAM: Early Vision-Language Fusion for Text-Prompted Segment Anything Model, arXiv:2406.20076",
    licence="Apache-2.0",
    can="Understands positions, relations and attributes, since the phrase meets the image before SAM is asked.",
    cannot="Say for sure that something is absent: it has no rejection head, only an empty mask.",
)


class EvfSamStrategy:
    """Segments with one phrase at a time. Read-only after it is built: safe to share between visitors.

    Args:
        model: in eval mode.
        processor: of the same configuration.
    """

    def __init__(self, model: EvfSamModel, processor: EvfSamProcessor) -> None:
        self.model = model
        self.processor = processor
        self.backbone = model.mask_backbone()

    @property
    def card(self) -> StrategyCard:
        """What it is."""
        return _CARD

    @torch.no_grad()
    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        """Segment what the phrase names.

        Args:
            view: the image; its embedding is shared with other strategies.
            phrase: referring expression; "[semantic] " before a category asks for all of its instances.

        Raises:
            PhraseError: the phrase is empty or too long.
        """
        phrase = check_phrase(phrase)
        input_ids, attention_mask = self.processor.tokenizer.encode_batch([phrase])
        start = time.perf_counter()
        embedding, was_cached = view.embedding(self.backbone)
        encoded = time.perf_counter()
        prompt_embeddings, attention = self._fuse(view, input_ids, attention_mask)
        fused = time.perf_counter()
        prompt = SamPrompt(text_prompt_embeddings=prompt_embeddings[0].float())
        prediction = self.backbone.decode(embedding, prompt, multimask=False)
        decoded = time.perf_counter()
        is_found = bool((prediction.mask_logits > 0).any())
        return Segmentation(
            verdict=Verdict("found") if is_found else Verdict("absent", "No pixel of the mask is above the threshold."),
            mask_logits=prediction.mask_logits if is_found else torch.full_like(prediction.mask_logits, -torch.inf),
            pred_iou=prediction.pred_iou,
            prompts=(prompt,),
            predictions=(prediction,),
            attention=attention,
            trace=self._trace(phrase, attention, prompt),
            seconds={"encode image": encoded - start, "fuse": fused - encoded, "decode": decoded - fused},
            embedding_was_cached=was_cached,
        )

    def _fuse(
        self, view: ImageView, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, AttentionRecord]:
        device = self.model.device
        sizes = self.model.config.beit3_config
        prompt_embeddings, output = self.model.fuse(
            self.processor.encoder_pixels(view.image).to(device),
            input_ids.to(device),
            attention_mask.to(device),
            attention_layers=range(sizes.layer_count),
        )
        probabilities = torch.stack([output.attentions[layer][0] for layer in range(sizes.layer_count)])
        tokens = self.processor.tokenizer.tokens(input_ids[0].tolist())
        return prompt_embeddings, AttentionRecord(probabilities.cpu(), sizes.patch_grid, view.size, tokens)

    def _trace(self, phrase: str, attention: AttentionRecord, prompt: SamPrompt) -> tuple[TraceEntry, ...]:
        assert prompt.text_prompt_embeddings is not None
        height, width = attention.patch_grid
        fused = TraceEntry(
            step="fuse image and phrase",
            asked=phrase,
            values={"tokens": list(attention.text_tokens), "patches": height * width},
        )
        projected = TraceEntry(
            step="project [CLS] to a prompt for SAM",
            values={
                "channels": prompt.text_prompt_embeddings.shape[-1],
                "norm": float(prompt.text_prompt_embeddings.norm()),
            },
        )
        return fused, projected


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
