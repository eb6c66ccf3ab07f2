"""Training of the small promptable SAM from points and boxes on scenes.

Each step asks for one kind of prompt: a box, a box with labelled points, or points alone. Boxes are shifted at random,
as those of a language model will be. With three candidates mostly the best is trained, as SAM does.
Source: SAM, arXiv:2304.02643, appendix A (training algorithm); we leave out its mask prompts and iterations.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from evfsam.model.losses import batch_mask_loss
from evfsam.preprocess import sam_pixels
from evfsam.sam.sam import SamConfig, build_sam, decode_prompts
from training.loop import Schedule
from training.scene_cache import CachedScene, SceneCache, tight_box

CONFIG = SamConfig(
    image_size=256,
    vit_patch_size=16,
    encoder_embed_dim=128,
    encoder_depth=4,
    encoder_num_heads=4,
    encoder_global_attn_indexes=(1, 3),
    window_size=8,
    use_rel_pos=False,
    prompt_embed_dim=96,
    decoder_mlp_dim=256,
    iou_head_hidden_dim=96,
)
SCHEDULE = Schedule(steps=1800, learning_rate=1e-3, warmup=200, validate_every=300)
SCENES_A_STEP = 16
OBJECTS_A_SCENE = 4
LOSS_SIDE = 64
"""Side of the decoder's masks; targets are the covered share of each cell, which keeps edges finer than the cells."""
MIN_VISIBLE_PIXELS = 100


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """One kind of prompt for P objects, in pixels.

    Attributes:
        points: (P, n, 2) XY and labels (P, n), or None.
        boxes: (P, 4) XYXY, or None.
    """

    points: tuple[torch.Tensor, torch.Tensor] | None
    boxes: torch.Tensor | None


def draw_prompts(masks: NDArray[np.bool_], rng: np.random.Generator) -> PromptBatch:
    """Draw the kind of prompt, then one prompt for each of the (P, S, S) masks."""
    kind = rng.choice(["box", "box and points", "points"], p=[0.35, 0.4, 0.25])
    boxes = np.stack([tight_box(mask) for mask in masks])
    sides = boxes[:, 2:] - boxes[:, :2]
    shaken = boxes + np.tile(sides, 2) * rng.normal(0, rng.uniform(0.0, 0.12), boxes.shape)
    shaken = np.clip(shaken, 0, masks.shape[-1])
    box_tensor = None if kind == "points" else torch.from_numpy(shaken).float()
    if kind == "box":
        return PromptBatch(None, box_tensor)
    if kind == "points":
        count = int(rng.integers(1, 4))
        drawn = [_points_on(mask, count, rng) for mask in masks]
    else:
        count = int(rng.integers(1, 21))
        drawn = [_points_in(mask, box, count, rng) for mask, box in zip(masks, shaken, strict=True)]
    coords = torch.from_numpy(np.stack([coords for coords, _ in drawn])).float()
    return PromptBatch((coords, torch.from_numpy(np.stack([labels for _, labels in drawn]))), box_tensor)


def _points_on(mask: NDArray[np.bool_], count: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:  # type: ignore[type-arg]
    """Positive points on the mask."""
    rows, columns = np.nonzero(mask)
    picks = rng.integers(len(rows), size=count)
    return np.stack([columns[picks], rows[picks]], axis=1), np.ones(count, dtype=np.int64)


def _points_in(
    mask: NDArray[np.bool_], box: NDArray[np.float64], count: int, rng: np.random.Generator
) -> tuple[NDArray, NDArray]:  # type: ignore[type-arg]
    """Points anywhere in the box, with their labels; one label in twenty is wrong, as answers are."""
    last = mask.shape[-1] - 1
    x1, y1, x2, y2 = np.sort(box.reshape(2, 2), axis=0).ravel()
    points = np.stack([rng.uniform(x1, x2, count), rng.uniform(y1, y2, count)], axis=1)
    columns, rows = np.clip(points.astype(np.int64), 0, last).T
    labels = mask[rows, columns] ^ (rng.random(count) < 0.05)
    return points, labels.astype(np.int64)


class SamStage:
    """Promptable segmentation of single objects; see `training.loop.Stage`."""

    def __init__(self, scenes: SceneCache, held_out: SceneCache) -> None:
        self.scenes, self.held_out = scenes, held_out
        self.sam = build_sam(CONFIG)
        nn.init.normal_(self.sam.image_encoder.pos_embed, std=0.02)

    @property
    def module(self) -> nn.Module:
        """The SAM."""
        return self.sam

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.sam.device

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """Mask loss of the best candidate, and the squared error of every predicted IoU."""
        batch = [self.scenes[int(i)] for i in rng.integers(len(self.scenes), size=SCENES_A_STEP)]
        masks, rows = draw_objects(batch, rng, OBJECTS_A_SCENE)
        logits, pred_ious = self._predict(batch, rows, draw_prompts(masks, rng), multimask=bool(rng.random() < 0.7))
        targets = covered_share(masks).to(self.device)
        ious = mask_ious(logits.detach(), targets)
        best = ious.argmax(1)
        chosen = logits[torch.arange(len(best)), best]
        mask_loss = batch_mask_loss([chosen], [targets], bce_weight=4.0, dice_weight=1.0).loss
        others = batch_mask_loss(
            [logits.flatten(0, 1)], [targets.repeat_interleave(logits.shape[1], 0)], bce_weight=0.2, dice_weight=0.05
        ).loss
        return mask_loss + others + F.mse_loss(pred_ious.float(), ious)

    def validate(self) -> dict[str, float]:
        """Mean IoU of the candidate with the best predicted IoU, from tight boxes and from one point."""
        rng = np.random.default_rng(0)
        batch = [self.held_out[i] for i in range(min(64, len(self.held_out)))]
        masks, rows = draw_objects(batch, rng, 2)
        targets = covered_share(masks).to(self.device)
        boxes = torch.from_numpy(np.stack([tight_box(mask) for mask in masks])).float()
        on = [_points_on(mask, 1, rng) for mask in masks]
        coords, labels = (torch.from_numpy(np.stack([drawn[k] for drawn in on])) for k in (0, 1))
        figures = {}
        kinds = {"box": PromptBatch(None, boxes), "point": PromptBatch((coords.float(), labels), None)}
        for name, prompts in kinds.items():
            logits, pred_ious = self._predict(batch, rows, prompts, multimask=True)
            best = logits[torch.arange(len(logits)), pred_ious.argmax(1)]
            figures[name] = float(mask_ious(best[:, None], targets).mean())
        return figures

    def _predict(
        self, batch: list[CachedScene], rows: torch.Tensor, prompts: PromptBatch, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (P, M, LOSS_SIDE, LOSS_SIDE) logits and (P, M) predicted IoUs for objects of the scenes in `rows`."""
        pixels = torch.stack([sam_pixels(scene.image, CONFIG.image_size)[0] for scene in batch])
        embeddings = self.sam.image_encoder(pixels.to(self.device))
        points = None if prompts.points is None else tuple(part.to(self.device) for part in prompts.points)
        boxes = None if prompts.boxes is None else prompts.boxes.to(self.device)
        sparse, _ = self.sam.prompt_encoder(points=points, boxes=boxes, masks=None)
        logits, pred_ious = decode_prompts(self.sam, embeddings[rows.to(self.device)], sparse, multimask=multimask)
        return logits.float(), pred_ious.float()


def covered_share(masks: NDArray[np.bool_]) -> torch.Tensor:
    """(P, S, S) masks to (P, LOSS_SIDE, LOSS_SIDE) float32 in [0, 1]."""
    return F.avg_pool2d(torch.from_numpy(masks).float()[:, None], masks.shape[-1] // LOSS_SIDE)[:, 0]


def draw_objects(
    batch: list[CachedScene], rng: np.random.Generator, per_scene: int
) -> tuple[NDArray[np.bool_], torch.Tensor]:
    """Draw objects that show enough; returns their (P, S, S) masks and (P,) rows in the batch."""
    masks, rows = [], []
    for row, scene in enumerate(batch):
        shown = np.bincount(scene.object_map.ravel(), minlength=len(scene.categories) + 1)[1:]
        usable = np.flatnonzero(shown >= MIN_VISIBLE_PIXELS)
        for index in rng.choice(usable, per_scene, replace=len(usable) < per_scene):
            masks.append(scene.object_map == index + 1)
            rows.append(row)
    return np.stack(masks), torch.tensor(rows)


def mask_ious(mask_logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(P, M) IoU of each candidate (P, M, h, w) with its target (P, h, w)."""
    predicted, true = mask_logits > 0, targets[:, None] > 0.5
    union = (predicted | true).sum((-2, -1)).clamp_min(1)
    return (predicted & true).sum((-2, -1)) / union
