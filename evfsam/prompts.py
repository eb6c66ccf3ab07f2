"""What every mask backbone does alike: prompts in pixels made ready, the choice among masks, the identity digest.

Shapes: N prompt tokens, C their channels, M candidate masks, (h, w) the embedding grid.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from evfsam.errors import GeometryError
from evfsam.geometry import Frame, check_box, check_point, upsample_logits
from evfsam.types import ImageEmbedding, MaskBackbone, MaskPrediction, SamPrompt

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
            f"expected text embeddings (N, {channels}), got {tuple(text.shape)}; use the projector trained for this SAM"
        )


@runtime_checkable
class BatchingBackbone(Protocol):
    """A mask backbone that decodes several prompts on one image in one pass."""

    def decode_many(
        self, embedding: ImageEmbedding, prompts: Sequence[SamPrompt], *, multimask: bool
    ) -> Sequence[MaskPrediction]:
        """Decode prompts of one length."""
        ...


def decode_together(
    backbone: MaskBackbone, embedding: ImageEmbedding, prompts: Sequence[SamPrompt], *, multimask: bool
) -> tuple[MaskPrediction, ...]:
    """Decode several prompts on one image: in one pass where the backbone can, else one after the other.

    Args:
        backbone: any.
        embedding: of its encoder.
        prompts: of one length.
        multimask: whether to ask for three candidates instead of one.

    Raises:
        GeometryError: as the backbone's `decode`.
    """
    if isinstance(backbone, BatchingBackbone):
        return tuple(backbone.decode_many(embedding, prompts, multimask=multimask))
    return tuple(backbone.decode(embedding, prompt, multimask=multimask) for prompt in prompts)


def stacked_prompts(sparse: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put P embedded prompts (1, N, C) into one batch (P, N, C).

    Raises:
        GeometryError: there is none, or they differ in N.
    """
    lengths = sorted({prompt.shape[1] for prompt in sparse})
    if len(lengths) != 1:
        raise GeometryError(f"expected prompts of one length to decode together, got lengths {lengths}")
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
        raise GeometryError(f"expected 1 or {prompt_count} image embeddings, got {image_count}")


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
    """Choose the candidate with the highest predicted IoU and bring it to the original size.

    Args:
        low_res_logits: (M, 4h, 4w).
        pred_ious: (M,).
        frame: where the image lies in SAM's input.
    """
    chosen = int(pred_ious.argmax())
    mask_logits = upsample_logits(low_res_logits[None, chosen : chosen + 1], frame)[0, 0]
    return MaskPrediction(low_res_logits.float(), pred_ious.float(), chosen, mask_logits)


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
