"""CLIP-ranked proposals: SAM proposes masks of everything, CLIP says which of them the phrase describes.

The zero-shot form of CLIP-prompted SAM: nothing is trained. Each proposal is cut out, freed of its surroundings and
compared with the phrase; the ranking is kept as evidence. Shapes: N proposals, E the width of CLIP's common space.

Source: SAM, arXiv:2304.02643, section 7.5 (proposals labelled by CLIP); CLIP, arXiv:2103.00020.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPModel

from baselines.clip.projector import load_clip
from baselines.clip.proposals import Proposal, Proposals, ProposalSettings, propose
from baselines.strategy_cards import CLIP_RANKING
from baselines.strategy_options import changed, check_number
from baselines.weights import load_mask_backbone
from evfsam.errors import ConfigurationError, Sentence
from evfsam.phrases import check_phrase, in_words, refuse_control_tokens
from evfsam.preprocess import CLIP_MEAN, clip_pixels
from evfsam.sam.backbone import BaseMaskBackbone
from evfsam.types import (
    ImageView,
    RgbImage,
    SamPrompt,
    Segmentation,
    StrategyCard,
    TraceEntry,
    Verdict,
)
from evfsam.weights.hub import weights_directory

Crop = Literal["masked", "plain"]

CROPS_A_BATCH: Final = 32
SHOWN_RANKS: Final = 20
_TEMPLATE: Final = "a photo of {}"
_MARGIN: Final = 0.1


@dataclass(frozen=True)
class ClipRankingOptions:
    """How proposals are made and chosen.

    Attributes:
        points_per_side: of the grid of points, 1..64.
        pred_iou_threshold: SAM's own guess below which a mask is dropped, in [0, 1].
        stability_threshold: stability below which a mask is dropped, in [0, 1].
        top_count: masks chosen from the top of the ranking, 1..16; they are joined.
        crop: "masked" hides what lies around the mask from CLIP, "plain" shows the whole cut-out.

    Raises:
        ConfigurationError: a value is out of range or of the wrong kind.
    """

    points_per_side: int = 32
    pred_iou_threshold: float = 0.88
    stability_threshold: float = 0.95
    top_count: int = 1
    crop: Crop = "masked"

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise ConfigurationError("expected crop of {choices}, got {crop!r}", choices=get_args(Crop), crop=self.crop)
        check_number(self, "points_per_side", 1, 64, is_whole=True)
        check_number(self, "top_count", 1, 16, is_whole=True)
        check_number(self, "pred_iou_threshold", 0, 1)
        check_number(self, "stability_threshold", 0, 1)


@dataclass(frozen=True)
class ClipRankingStrategy:
    """Proposals from SAM, the choice from CLIP.

    Args:
        clip: in evaluation mode.
        tokenizer: CLIP's.
        backbone: the SAM that proposes.
        options: see `ClipRankingOptions`.
    """

    clip: CLIPModel
    tokenizer: Any
    backbone: BaseMaskBackbone[Any, Any]
    options: ClipRankingOptions = field(default_factory=ClipRankingOptions)

    @property
    def card(self) -> StrategyCard:
        """What it is."""
        return CLIP_RANKING

    def with_options(self, /, **options: object) -> "ClipRankingStrategy":
        """Return a copy with other options and the same weights.

        Raises:
            ConfigurationError: an option is unknown or out of range.
        """
        return replace(self, options=changed(self.options, options, "CLIP ranking"))

    @torch.no_grad()
    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        """Choose the proposals that CLIP finds most like the phrase.

        Raises:
            PhraseError: the phrase is empty, too long, or spells a control token of the tokenizer.
        """
        phrase = in_words(check_phrase(phrase), "{}")
        refuse_control_tokens(self.tokenizer, phrase)
        start = time.perf_counter()
        embedding, was_cached = view.embedding(self.backbone)
        encoded_at = time.perf_counter()
        settings = ProposalSettings(
            self.options.points_per_side, self.options.pred_iou_threshold, self.options.stability_threshold
        )
        proposals = propose(self.backbone, embedding, settings)
        proposed_at = time.perf_counter()
        seconds = {"encode image": encoded_at - start, "decode": proposed_at - encoded_at}
        step = self._proposal_step(proposals)
        reason = "SAM proposed no mask that it trusts; lower pred_iou_threshold or stability_threshold."
        none = Verdict("failed", reason)
        if not proposals.kept:
            return Segmentation.undrawn(
                none, view.size, trace=(step,), seconds=seconds, embedding_was_cached=was_cached
            )
        similarities = self._similarities(view.image, proposals.kept, phrase)
        seconds["rank by CLIP"] = time.perf_counter() - proposed_at
        order = similarities.argsort(descending=True, stable=True).tolist()
        chosen = [proposals.kept[index] for index in order[: self.options.top_count]]
        return Segmentation.drawn(
            tuple(SamPrompt(points=(proposal.point,)) for proposal in chosen),
            tuple(proposal.prediction for proposal in chosen),
            none,
            trace=(step, self._ranking_step(phrase, proposals.kept, similarities, order)),
            seconds=seconds,
            embedding_was_cached=was_cached,
        )

    def _similarities(self, image: RgbImage, proposals: Sequence[Proposal], phrase: str) -> torch.Tensor:
        """Return (N,) float32 cosines of cut-outs and phrase."""
        device, dtype = self.clip.device, self.clip.dtype
        limit = self.clip.config.text_config.max_position_embeddings
        tokens = self.tokenizer(_TEMPLATE.format(phrase), truncation=True, max_length=limit, return_tensors="pt")
        text = self.clip.get_text_features(
            input_ids=tokens["input_ids"].to(device), attention_mask=tokens["attention_mask"].to(device)
        ).pooler_output
        side = self.clip.config.vision_config.image_size
        parts = []
        for start in range(0, len(proposals), CROPS_A_BATCH):
            batch = proposals[start : start + CROPS_A_BATCH]
            pixels = torch.stack([clip_pixels(self._cut_out(image, proposal), side) for proposal in batch])
            parts.append(self.clip.get_image_features(pixel_values=pixels.to(device, dtype)).pooler_output)
        features = torch.nn.functional.normalize(torch.cat(parts).float(), dim=-1)
        cosines: torch.Tensor = (features @ torch.nn.functional.normalize(text.float(), dim=-1)[0]).cpu()
        return cosines

    def _cut_out(self, image: RgbImage, proposal: Proposal) -> RgbImage:
        """Return the square around a proposal, its surroundings grey where the options say so."""
        mask = (proposal.prediction.mask_logits > 0).cpu().numpy() if self.options.crop == "masked" else None
        return square_cut_out(image, mask, proposal.box)

    def _proposal_step(self, proposals: Proposals) -> TraceEntry:
        side = self.options.points_per_side
        said = Sentence(
            "{candidates} masks from {side} x {side} points; {trusted} passed the filters, {left} are left without "
            "near copies.",
            candidates=proposals.candidate_count,
            side=side,
            trusted=proposals.trusted_count,
            left=len(proposals.kept),
        )
        values = {
            "candidates": proposals.candidate_count,
            "trusted": proposals.trusted_count,
            "proposals": len(proposals.kept),
            "pred_iou_threshold": self.options.pred_iou_threshold,
            "stability_threshold": self.options.stability_threshold,
        }
        return TraceEntry("propose masks", "", said, values)

    def _ranking_step(
        self, phrase: str, proposals: Sequence[Proposal], similarities: torch.Tensor, order: Sequence[int]
    ) -> TraceEntry:
        shares = (similarities * float(self.clip.logit_scale.exp())).softmax(0)
        ranking = [
            {
                "similarity": float(similarities[index]),
                "share": float(shares[index]),
                "box": list(proposals[index].box),
                "pred_iou": proposals[index].prediction.pred_iou,
                "stability": proposals[index].stability,
                "is_chosen": rank < self.options.top_count,
            }
            for rank, index in enumerate(order[:SHOWN_RANKS])
        ]
        best = order[0]
        said = f"The first of {len(order)} has similarity {similarities[best]:.3f} and share {shares[best]:.0%}."
        values: Mapping[str, object] = {"ranking": ranking, "crop": self.options.crop}
        return TraceEntry("rank by CLIP", _TEMPLATE.format(phrase), said, values)


def square_cut_out(image: RgbImage, mask: NDArray[np.bool_] | None, box: tuple[float, ...]) -> RgbImage:
    """Return the square around a box with a margin; what lies outside image or mask has CLIP's mean colour.

    Args:
        image: (H, W, 3).
        mask: (H, W), or None to keep the surroundings.
        box: XYXY pixels.
    """
    x1, y1, x2, y2 = box
    side = max(1, round(max(x2 - x1, y2 - y1) * (1 + 2 * _MARGIN)))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    mean = np.round(np.array(CLIP_MEAN) * 255).astype(np.uint8)
    square = np.broadcast_to(mean, (side, side, 3)).copy()
    rows = slice(max(top, 0), min(top + side, image.shape[0]))
    columns = slice(max(left, 0), min(left + side, image.shape[1]))
    cut = image[rows, columns]
    if mask is not None:
        cut = np.where(mask[rows, columns, None], cut, mean)
    square[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = cut
    return square


def load_strategy(
    weights: Mapping[str, str | Path], *, device: str | torch.device, dtype: torch.dtype
) -> ClipRankingStrategy:
    """Load CLIP and SAM.

    Args:
        weights: directories or Hub ids: "clip" and "sam".
        device: where both run.
        dtype: of the weights in memory.

    Raises:
        CheckpointError: weights are missing, incomplete, or do not fit.
    """
    clip, tokenizer = load_clip(weights["clip"], device=device, dtype=dtype)
    backbone = load_mask_backbone(weights_directory(weights["sam"]), device=device, dtype=dtype)
    return ClipRankingStrategy(clip, tokenizer, backbone)
