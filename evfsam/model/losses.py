"""The one mask loss of this project: binary cross-entropy plus dice, as EVF-SAM trains with.

Shapes: P masks of one image, (P, H, W) each. Targets are 0 or 1; overlapping polygons of some data sets add up to 2,
which the formulas take as it comes.

Source: EVF-SAM, arXiv:2406.20076, section 3.3 (training losses).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from evfsam.errors import GeometryError

_COUNT_EPS = 1e-8
_DICE_SCALE = 1000.0
_DICE_EPS = 1e-6


@dataclass(frozen=True, eq=False)
class MaskLoss:
    """Loss of a batch and its two parts, both with their weight applied.

    Attributes:
        loss: scalar, `mask_bce_loss + mask_dice_loss`.
        mask_bce_loss, mask_dice_loss: scalars.
    """

    loss: torch.Tensor
    mask_bce_loss: torch.Tensor
    mask_dice_loss: torch.Tensor


def bce_loss(mask_logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the binary cross-entropy: mean over the pixels of a mask, then mean over masks.

    Args:
        mask_logits: (P, H, W), unbounded.
        targets: (P, H, W), any numeric type.

    Raises:
        GeometryError: the shapes differ.
    """
    targets = _checked_targets(mask_logits, targets)
    per_mask = F.binary_cross_entropy_with_logits(mask_logits.float(), targets, reduction="none").flatten(1).mean(1)
    return per_mask.sum() / (len(per_mask) + _COUNT_EPS)


def dice_loss(mask_logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return 1 - dice of the mask probabilities, with first powers in the denominator, averaged over masks.

    Args:
        mask_logits: (P, H, W), unbounded.
        targets: (P, H, W), any numeric type.

    Raises:
        GeometryError: the shapes differ.
    """
    targets = _checked_targets(mask_logits, targets).flatten(1)
    probabilities = mask_logits.float().sigmoid().flatten(1)
    overlap = (probabilities * targets / _DICE_SCALE).sum(1)
    total = (probabilities / _DICE_SCALE).sum(1) + (targets / _DICE_SCALE).sum(1)
    per_mask = 1 - (2 * overlap + _DICE_EPS) / (total + _DICE_EPS)
    return per_mask.sum() / (len(per_mask) + _COUNT_EPS)


def batch_mask_loss(
    mask_logits: Sequence[torch.Tensor], targets: Sequence[torch.Tensor], *, bce_weight: float, dice_weight: float
) -> MaskLoss:
    """Weigh both losses over the masks of several images, each mask counting the same.

    Args:
        mask_logits: (P_i, H_i, W_i) for each image.
        targets: (P_i, H_i, W_i) for each image.
        bce_weight: factor; the released code has no default for it, so neither has this.
        dice_weight: likewise.

    Raises:
        GeometryError: lists or shapes differ.
    """
    if len(mask_logits) != len(targets) or not mask_logits:
        raise GeometryError(
            "expected as many targets as images, at least one, got {targets}, {images}",
            targets=len(targets),
            images=len(mask_logits),
        )
    counts = [len(logits) for logits in mask_logits]
    total = sum(counts) + _COUNT_EPS
    pairs = list(zip(mask_logits, targets, counts, strict=True))
    bce = torch.stack([bce_loss(logits, target) * count for logits, target, count in pairs]).sum() / total * bce_weight
    dice = (
        torch.stack([dice_loss(logits, target) * count for logits, target, count in pairs]).sum() / total * dice_weight
    )
    return MaskLoss(loss=bce + dice, mask_bce_loss=bce, mask_dice_loss=dice)


def _checked_targets(mask_logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if mask_logits.ndim != 3 or mask_logits.shape != targets.shape:
        raise GeometryError(
            "expected logits and targets of one shape (P, H, W), got {shape} and {other}",
            shape=tuple(mask_logits.shape),
            other=tuple(targets.shape),
        )
    return targets.to(torch.float32)
