import math

import pytest
import torch

from evfsam.errors import GeometryError
from evfsam.model.losses import batch_mask_loss, bce_loss, dice_loss


def masks(count: int, height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, height, width, generator=generator)
    return logits, (torch.rand(count, height, width, generator=generator) > 0.5).to(torch.uint8)


def test_bce_of_a_coin_flip_is_log_2() -> None:
    _, targets = masks(3, 4, 5)
    assert bce_loss(torch.zeros(3, 4, 5), targets).item() == pytest.approx(math.log(2), rel=1e-6)


def test_dice_agrees_with_a_slow_loop() -> None:
    logits, targets = masks(3, 4, 5)
    losses = []
    for logit, target in zip(logits.sigmoid().tolist(), targets.tolist(), strict=True):
        p = [value for row in logit for value in row]
        t = [value for row in target for value in row]
        overlap = sum(a * b for a, b in zip(p, t, strict=True)) / 1000
        losses.append(1 - (2 * overlap + 1e-6) / (sum(p) / 1000 + sum(t) / 1000 + 1e-6))
    assert dice_loss(logits, targets).item() == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_dice_is_near_0_for_the_right_mask_and_near_1_for_its_opposite() -> None:
    _, targets = masks(2, 32, 32)
    sure = (targets.float() * 2 - 1) * 50
    assert dice_loss(sure, targets).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(-sure, targets).item() == pytest.approx(1, abs=1e-4)


def test_every_mask_counts_the_same_whichever_image_it_belongs_to() -> None:
    logits, targets = masks(3, 6, 6)
    together = batch_mask_loss([logits], [targets], bce_weight=2.0, dice_weight=0.5)
    apart = batch_mask_loss([logits[:1], logits[1:]], [targets[:1], targets[1:]], bce_weight=2.0, dice_weight=0.5)
    torch.testing.assert_close(vars(together), vars(apart))


def test_the_weights_are_applied_and_add_up() -> None:
    logits, targets = masks(2, 6, 6)
    loss = batch_mask_loss([logits], [targets], bce_weight=2.0, dice_weight=0.5)
    torch.testing.assert_close(loss.mask_bce_loss, 2.0 * bce_loss(logits, targets))
    torch.testing.assert_close(loss.mask_dice_loss, 0.5 * dice_loss(logits, targets))
    torch.testing.assert_close(loss.loss, loss.mask_bce_loss + loss.mask_dice_loss)


def test_half_precision_logits_lose_in_float32() -> None:
    logits, targets = masks(2, 200, 200)
    assert bce_loss(logits.bfloat16(), targets).dtype == torch.float32
    assert dice_loss(logits.bfloat16(), targets).dtype == torch.float32


def test_differing_shapes_are_refused() -> None:
    with pytest.raises(GeometryError, match=r"got \(2, 4, 4\) and \(2, 4, 5\)"):
        bce_loss(torch.zeros(2, 4, 4), torch.zeros(2, 4, 5))


def test_a_batch_without_images_is_refused() -> None:
    with pytest.raises(GeometryError, match="at least one, got 0, 0"):
        batch_mask_loss([], [], bce_weight=1.0, dice_weight=1.0)
