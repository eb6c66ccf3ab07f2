"""Many prompts on one image embedding in few decoder passes, over any mask backbone.

The contract decodes one prompt at a time. SAM's and SAM-2's decoders take a batch; a backbone of another kind is asked
prompt by prompt and gives the same answers. Shapes: P prompts, M candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from evfsam.geometry import upsample_logits
from evfsam.sam.sam import SamMaskBackbone
from evfsam.sam.sam2 import Sam2MaskBackbone
from evfsam.types import ImageEmbedding, MaskBackbone, SamPrompt


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the decoder answered to some prompts.

    Attributes:
        logits: (P, M, h, w) float32 over the image alone, padding cut away; at the decoder's size or the image's.
        pred_ious: (P, M) float32.
        low_res_logits: (P, M, 4h, 4w) float32 as the decoder gave them, padding included.
    """

    logits: torch.Tensor
    pred_ious: torch.Tensor
    low_res_logits: torch.Tensor


def decode_in_batches(
    backbone: MaskBackbone, embedding: ImageEmbedding, prompts: Sequence[SamPrompt], *, batch_size: int
) -> Iterator[Candidates]:
    """Decode prompts of equal shape, three candidates each, a batch at a time.

    Args:
        backbone: that made the embedding.
        embedding: of one image.
        prompts: with the same number of points, and all with a box or none.
        batch_size: prompts a decoder pass.
    """
    for start in range(0, len(prompts), batch_size):
        yield _decode(backbone, embedding, prompts[start : start + batch_size])


def at_original_size(backbone: MaskBackbone, embedding: ImageEmbedding, low_res_logits: torch.Tensor) -> torch.Tensor:
    """Bring (N, 4h, 4w) decoder logits to (N, H, W), exactly as `decode` does."""
    if not isinstance(backbone, (SamMaskBackbone, Sam2MaskBackbone)):
        return low_res_logits
    return upsample_logits(low_res_logits[None], backbone.frame(embedding))[0]


@torch.no_grad()
def _decode(backbone: MaskBackbone, embedding: ImageEmbedding, prompts: Sequence[SamPrompt]) -> Candidates:
    if not isinstance(backbone, (SamMaskBackbone, Sam2MaskBackbone)):
        return _one_by_one(backbone, embedding, prompts)
    logits, pred_ious = backbone.decode_low_res(embedding, prompts, multimask=True)
    logits = logits.float()
    frame, side = backbone.frame(embedding), logits.shape[-1]
    height, width = (max(1, round(part * side / frame.target)) for part in frame.input_size)
    return Candidates(logits[..., :height, :width], pred_ious.float(), logits)


def _one_by_one(backbone: MaskBackbone, embedding: ImageEmbedding, prompts: Sequence[SamPrompt]) -> Candidates:
    predictions = [backbone.decode(embedding, prompt, multimask=True) for prompt in prompts]
    logits = torch.stack([prediction.mask_logits[None] for prediction in predictions])
    pred_ious = torch.tensor([[prediction.pred_iou] for prediction in predictions])
    return Candidates(logits, pred_ious, logits)
