"""Many prompts on one image embedding in few decoder passes, over any mask backbone.

The contract decodes one prompt at a time. SAM's and SAM-2's decoders take a batch; a backbone of another kind is asked
prompt by prompt and gives the same answers. Shapes: P prompts, M candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from evfsam.geometry import Frame, stretched_frame, upsample_logits
from evfsam.mask_backbones import SamMaskBackbone, decode_prompts
from evfsam.sam2_backbone import Sam2MaskBackbone, decode_sam2_prompts
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
    return upsample_logits(low_res_logits[None], _frame(backbone, embedding))[0]


@torch.no_grad()
def _decode(backbone: MaskBackbone, embedding: ImageEmbedding, prompts: Sequence[SamPrompt]) -> Candidates:
    if not isinstance(backbone, (SamMaskBackbone, Sam2MaskBackbone)):
        return _one_by_one(backbone, embedding, prompts)
    frame = _frame(backbone, embedding)
    sparse = torch.cat([backbone.sparse_prompt_embeddings(prompt, frame) for prompt in prompts])
    if isinstance(backbone, SamMaskBackbone):
        logits, pred_ious = decode_prompts(backbone.sam, embedding.image_embeddings, sparse, multimask=True)
    else:
        logits, pred_ious = decode_sam2_prompts(
            backbone.sam,
            embedding.image_embeddings,
            sparse,
            multimask=True,
            high_res_features=embedding.high_res_features,
        )
    logits = logits.float()
    side = logits.shape[-1]
    height, width = (max(1, round(part * side / frame.target)) for part in frame.input_size)
    return Candidates(logits[..., :height, :width], pred_ious.float(), logits)


def _frame(backbone: SamMaskBackbone | Sam2MaskBackbone, embedding: ImageEmbedding) -> Frame:
    """Return where the image lies in the encoder's input: SAM pads it, SAM-2 stretches it."""
    if isinstance(backbone, Sam2MaskBackbone):
        return stretched_frame(embedding.original_size, backbone.config.image_size)
    return Frame(embedding.original_size, embedding.input_size, backbone.config.image_size)


def _one_by_one(backbone: MaskBackbone, embedding: ImageEmbedding, prompts: Sequence[SamPrompt]) -> Candidates:
    predictions = [backbone.decode(embedding, prompt, multimask=True) for prompt in prompts]
    logits = torch.stack([prediction.mask_logits[None] for prediction in predictions])
    pred_ious = torch.tensor([[prediction.pred_iou] for prediction in predictions])
    return Candidates(logits, pred_ious, logits)
