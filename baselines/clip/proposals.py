"""SAM's automatic proposals: a grid of points over the image, every mask that SAM trusts, without near copies.

Source: SAM, arXiv:2304.02643, section 4 and appendix B (data engine, fully automatic stage). Departures: one layer
without crops, boxes and stability taken at the decoder's resolution, no holes filled.

Shapes: P prompts, M candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evfsam.sam.backbone import BaseMaskBackbone
from evfsam.types import BoxXyxy, ImageEmbedding, MaskPrediction, PromptPoint, SamPrompt

_STABILITY_OFFSET = 1.0


@dataclass(frozen=True)
class ProposalSettings:
    """What becomes a proposal.

    Attributes:
        points_per_side: of the grid.
        pred_iou_threshold: masks of which SAM guesses a lower IoU are dropped.
        stability_threshold: masks that change more when the logits' border moves by 1 are dropped, in [0, 1].
        nms_threshold: of two boxes that overlap more (IoU), the one SAM trusts less is dropped.
        largest_count: proposals kept, the most trusted first.
        batch_size: points a decoder pass.
    """

    points_per_side: int = 32
    pred_iou_threshold: float = 0.88
    stability_threshold: float = 0.95
    nms_threshold: float = 0.7
    largest_count: int = 64
    batch_size: int = 64


@dataclass(frozen=True, eq=False)
class Proposal:
    """A mask that SAM trusts.

    Attributes:
        prediction: the mask alone, without the decoder's other candidates.
        stability: IoU of the masks at logits +1 and -1, in [0, 1].
        box: around the mask, pixels of the original image.
        point: the point that prompted it.
    """

    prediction: MaskPrediction
    stability: float
    box: BoxXyxy
    point: PromptPoint


@dataclass(frozen=True, eq=False)
class Proposals:
    """The proposals of an image and what was dropped on the way.

    Attributes:
        kept: the most trusted first.
        candidate_count: masks that SAM drew.
        trusted_count: of them, those that passed both filters.
    """

    kept: tuple[Proposal, ...]
    candidate_count: int
    trusted_count: int


def point_grid(size: tuple[int, int], points_per_side: int) -> tuple[PromptPoint, ...]:
    """Return the centres of points_per_side x points_per_side equal cells of an (H, W) image, row by row."""
    height, width = size
    shares = [(index + 0.5) / points_per_side for index in range(points_per_side)]
    return tuple(PromptPoint(u * width, v * height, 1) for v in shares for u in shares)


def propose(backbone: BaseMaskBackbone[Any, Any], embedding: ImageEmbedding, settings: ProposalSettings) -> Proposals:
    """Draw masks over the whole image and keep those that SAM trusts."""
    points = point_grid(embedding.original_size, settings.points_per_side)
    prompts = [SamPrompt(points=(point,)) for point in points]
    boxes, trusts, steadiness, owners, masks = [], [], [], [], []
    candidate_count = 0
    for batch_index, batch in enumerate(
        decode_in_batches(backbone, embedding, prompts, batch_size=settings.batch_size)
    ):
        stability = stability_scores(batch.logits)
        candidate_count += stability.numel()
        kept = (batch.pred_ious >= settings.pred_iou_threshold) & (stability >= settings.stability_threshold)
        kept &= (batch.logits > 0).any(-1).any(-1)
        rows, columns = torch.nonzero(kept, as_tuple=True)
        boxes.append(mask_boxes(batch.logits[rows, columns] > 0))
        trusts.append(batch.pred_ious[rows, columns])
        steadiness.append(stability[rows, columns])
        owners += (rows + batch_index * settings.batch_size).tolist()
        masks.append(batch.low_res_logits[rows, columns])
    all_boxes, all_trusts = torch.cat(boxes), torch.cat(trusts)
    order = box_nms(all_boxes, all_trusts, settings.nms_threshold)[: settings.largest_count]
    height, width = embedding.original_size
    scale = all_boxes.new_tensor([width, height, width, height])
    low_res, stable = torch.cat(masks)[order], torch.cat(steadiness)[order].tolist()
    kept_boxes = (all_boxes[order] * scale).tolist()
    frame = backbone.frame(embedding)
    proposals = (
        Proposal(MaskPrediction(low[None], trust[None], 0, frame), steady, (x1, y1, x2, y2), points[owners[index]])
        for low, trust, steady, (x1, y1, x2, y2), index in zip(
            low_res, all_trusts[order], stable, kept_boxes, order.tolist(), strict=True
        )
    )
    # A mask thinner than a pixel can vanish on its way to the image's size.
    drawn = tuple(each for each in proposals if bool((each.prediction.mask_logits > 0).any()))
    return Proposals(drawn, candidate_count, len(owners))


def stability_scores(logits: torch.Tensor) -> torch.Tensor:
    """Return the IoU of each mask of (..., h, w) with itself when the logits' border moves from +1 to -1.

    Source: SAM, arXiv:2304.02643, appendix B. A mask that is empty even at -1 counts as 0.
    """
    inner = (logits > _STABILITY_OFFSET).sum((-1, -2))
    outer = (logits > -_STABILITY_OFFSET).sum((-1, -2))
    return inner / outer.clamp(min=1)


def mask_boxes(masks: torch.Tensor) -> torch.Tensor:
    """Return (N, 4) XYXY around (N, h, w) non-empty masks, as shares of width and height."""
    height, width = masks.shape[-2:]
    columns, rows = masks.any(-2).int(), masks.any(-1).int()
    left, top = columns.argmax(-1), rows.argmax(-1)
    right, bottom = width - columns.flip(-1).argmax(-1), height - rows.flip(-1).argmax(-1)
    return torch.stack([left / width, top / height, right / width, bottom / height], -1)


def box_nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return indices of boxes to keep, best score first; of two that overlap more than `threshold`, the better stays.

    Args:
        boxes: (N, 4) XYXY.
        scores: (N,).
        threshold: IoU, in [0, 1].
    """
    order = scores.argsort(descending=True, stable=True)
    kept: list[int] = []
    overlaps = box_ious(boxes, boxes)
    for index in order.tolist():
        if not any(float(overlaps[index, other]) > threshold for other in kept):
            kept.append(index)
    return torch.tensor(kept, dtype=torch.long, device=boxes.device)


def box_ious(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return (N, K) IoUs of (N, 4) and (K, 4) XYXY boxes; empty boxes overlap nothing."""
    corner = torch.maximum(first[:, None, :2], second[None, :, :2])
    opposite = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (opposite - corner).clamp(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return torch.where(union > 0, shared / union.clamp(min=torch.finfo(union.dtype).tiny), torch.zeros_like(union))


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the decoder answered to some prompts.

    Attributes:
        logits: (P, M, h, w) float32 over the image alone at the decoder's size, padding cut away.
        pred_ious: (P, M) float32.
        low_res_logits: (P, M, 4h, 4w) float32 as the decoder gave them, padding included.
    """

    logits: torch.Tensor
    pred_ious: torch.Tensor
    low_res_logits: torch.Tensor


@torch.no_grad()
def decode_in_batches(
    backbone: BaseMaskBackbone[Any, Any], embedding: ImageEmbedding, prompts: Sequence[SamPrompt], *, batch_size: int
) -> Iterator[Candidates]:
    """Decode prompts of equal shape, three candidates each, a batch at a time.

    Args:
        backbone: that made the embedding.
        embedding: of one image.
        prompts: with the same number of points, and all with a box or none.
        batch_size: prompts a decoder pass.
    """
    frame = backbone.frame(embedding)
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        logits, pred_ious = (answer.float() for answer in backbone.decode_low_res(embedding, batch, multimask=True))
        height, width = (max(1, round(part * logits.shape[-1] / frame.target)) for part in frame.input_size)
        yield Candidates(logits[..., :height, :width], pred_ious, logits)
