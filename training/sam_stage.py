"""Training of the small promptable SAM from points and boxes on scenes.

Each step asks for one kind of prompt: a box, a box with labelled points, or points alone. Boxes are shifted at random,
as those of a language model will be, and of those without points, around small things, half are seen closer: about a
quarter of all boxes around small things. With three candidates mostly the best is trained, as SAM does.
Source: SAM, arXiv:2304.02643, appendix A (training algorithm); we leave out its mask prompts and iterations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from evfsam.model.losses import batch_mask_loss
from evfsam.preprocess import SAM_MEAN, SAM_STD
from evfsam.sam.sam import SamConfig, build_sam, decode_prompts
from training.closer_views import seen_closer
from training.loop import Schedule
from training.scene_stream import (
    SHARES,
    SIDE,
    SceneSource,
    SceneTensors,
    Tensors,
    TrainingScene,
    covered_share,
    scene_tensors,
    tight_box,
)

CONFIG = SamConfig(
    image_size=SIDE,
    vit_patch_size=12,
    encoder_embed_dim=160,
    encoder_depth=6,
    encoder_num_heads=5,
    encoder_global_attn_indexes=(2, 5),
    window_size=8,
    use_rel_pos=False,
    prompt_embed_dim=96,
    decoder_mlp_dim=256,
    iou_head_hidden_dim=96,
    looks_closer=True,
)
SCHEDULE = Schedule(steps=4000, learning_rate=1e-3, warmup=100, validate_every=1000)
SCENES_A_STEP = 14
OBJECTS_A_SCENE = 3
MIN_VISIBLE_PIXELS = 60
"""Of a scene in SAM's square."""
CLOSER_EVERY = 2
"""Of the boxes without points around small things, one in so many is seen closer."""


@dataclass(frozen=True, eq=False)
class PromptBatch(Tensors):
    """One kind of prompt for P objects, in the scenes' pixels.

    Attributes:
        points: (P, n, 2) XY, or None.
        labels: (P, n) of the points, or None.
        boxes: (P, 4) XYXY, or None.
    """

    points: torch.Tensor | None
    labels: torch.Tensor | None
    boxes: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class SamBatch(Tensors):
    """Objects of scenes with their prompts.

    Attributes:
        scenes: B scenes.
        scene_of, objects: (P,) scene and number (from 1) of each object.
        prompts: one for each object.
        multimask: whether three candidates are asked for.
    """

    scenes: SceneTensors
    scene_of: torch.Tensor
    objects: torch.Tensor
    prompts: PromptBatch
    multimask: bool

    def masks(self) -> torch.Tensor:
        """(P, s, s) float32: the objects in the scenes' square."""
        maps = self.scenes.object_maps[self.scene_of]
        return (maps == self.objects[:, None, None]).float()


def random_prompts(masks: Sequence[NDArray[np.bool_]], rng: np.random.Generator) -> PromptBatch:
    """Draw the kind of prompt, then one prompt for each of the (H, W) masks."""
    kind = rng.choice(["box", "box and points", "points"], p=[0.35, 0.4, 0.25])
    boxes = np.stack([tight_box(mask) for mask in masks])
    sides = boxes[:, 2:] - boxes[:, :2]
    shaken = boxes + np.tile(sides, 2) * rng.normal(0, rng.uniform(0.0, 0.12), boxes.shape)
    shaken = np.clip(shaken, 0, [mask.shape[::-1] * 2 for mask in masks])
    box_tensor = None if kind == "points" else torch.from_numpy(shaken).float()
    if kind == "box":
        return PromptBatch(None, None, box_tensor)
    if kind == "points":
        count = int(rng.integers(1, 4))
        drawn = [_points_on(mask, count, rng) for mask in masks]
    else:
        count = int(rng.integers(1, 21))
        drawn = [_points_in(mask, box, count, rng) for mask, box in zip(masks, shaken, strict=True)]
    coords = torch.from_numpy(np.stack([coords for coords, _ in drawn])).float()
    return PromptBatch(coords, torch.from_numpy(np.stack([labels for _, labels in drawn])), box_tensor)


def _points_on(mask: NDArray[np.bool_], count: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:  # type: ignore[type-arg]
    """Positive points on the mask."""
    rows, columns = np.nonzero(mask)
    picks = rng.integers(len(rows), size=count)
    return np.stack([columns[picks], rows[picks]], axis=1), np.ones(count, dtype=np.int64)


def _points_in(
    mask: NDArray[np.bool_], box: NDArray[np.float64], count: int, rng: np.random.Generator
) -> tuple[NDArray, NDArray]:  # type: ignore[type-arg]
    """Points anywhere in the box, with their labels; one label in twenty is wrong, as answers are."""
    height, width = mask.shape
    x1, y1, x2, y2 = np.sort(box.reshape(2, 2), axis=0).ravel()
    points = np.stack([rng.uniform(x1, x2, count), rng.uniform(y1, y2, count)], axis=1)
    columns, rows = np.clip(points.astype(np.int64), 0, (width - 1, height - 1)).T
    labels = mask[rows, columns] ^ (rng.random(count) < 0.05)
    return points, labels.astype(np.int64)


def draw_batch(source: SceneSource, rng: np.random.Generator, scene_count: int, per_scene: int) -> SamBatch:
    """Draw scenes, objects that show enough, and one kind of prompt for all of them."""
    scenes = source.scenes(rng, scene_count)
    chosen = list(_objects(scenes, rng, per_scene))
    masks = [scenes[row].object_map == number for row, number in chosen]
    prompts = random_prompts(masks, rng)
    scene_of, objects = torch.tensor(chosen).T
    return SamBatch(scene_tensors(scenes, source.side), scene_of, objects, prompts, bool(rng.random() < 0.7))


def _objects(scenes: Sequence[TrainingScene], rng: np.random.Generator, per_scene: int) -> Sequence[tuple[int, int]]:
    """(scene, number) of `per_scene` objects of each scene; one is drawn again where there are too few."""
    chosen: list[tuple[int, int]] = []
    for row, scene in enumerate(scenes):
        shown = np.bincount(scene.object_map.ravel(), minlength=len(scene.objects) + 1)[1:]
        least = MIN_VISIBLE_PIXELS * (max(scene.object_map.shape) / SIDE) ** 2
        usable = np.flatnonzero(shown >= min(least, shown.max()))
        chosen += [(row, int(i) + 1) for i in rng.choice(usable, per_scene, replace=len(usable) < per_scene)]
    return chosen


@dataclass(frozen=True)
class SamDraw:
    """Draws the batches of a split; see `training.loop.Stage`."""

    source: SceneSource
    scene_count: int = SCENES_A_STEP

    def __call__(self, rng: np.random.Generator) -> SamBatch:
        """Draw one."""
        return draw_batch(self.source, rng, self.scene_count, OBJECTS_A_SCENE)


class SamStage:
    """Promptable segmentation of single objects; see `training.loop.Stage`.

    Args:
        source: of scenes.
        held_out: objects that a validation measures.
    """

    def __init__(self, source: SceneSource, held_out: int) -> None:
        self.source, self.held_out = source, held_out
        self.draw = SamDraw(source)
        self.sam = build_sam(CONFIG)
        nn.init.normal_(self.sam.image_encoder.pos_embed, std=0.02)

    @property
    def module(self) -> nn.Module:
        """The SAM."""
        return self.sam  # type: ignore[no-any-return]

    def loss(self, batch: SamBatch) -> torch.Tensor:
        """Mask loss of the best candidate, and the squared error of every predicted IoU."""
        rows = torch.arange(len(batch.objects), device=batch.objects.device)
        logits, pred_ious, targets = self._predict(batch, rows % CLOSER_EVERY == 0, multimask=batch.multimask)
        ious = mask_ious(logits.detach(), targets)
        best = ious.argmax(1)
        chosen = logits[torch.arange(len(best), device=logits.device), best]
        mask_loss = batch_mask_loss([chosen], [targets], bce_weight=4.0, dice_weight=1.0).loss
        others = batch_mask_loss(
            [logits.flatten(0, 1)], [targets.repeat_interleave(logits.shape[1], 0)], bce_weight=0.2, dice_weight=0.05
        ).loss
        return mask_loss + others + F.mse_loss(pred_ious.float(), ious)

    def validate(self) -> dict[str, float]:
        """Mean IoU of the best candidate by predicted IoU: from tight boxes, from those seen closer, from one point."""
        figures = {}
        for kind in SHARES:
            for prompt, iou in self._measure(self.source.held_out(kind)).items():
                figures[f"{kind} {prompt}"] = iou
        return figures

    def _measure(self, source: SceneSource) -> dict[str, float]:
        rng = np.random.default_rng(0)
        scenes = [source.scene(rng) for _ in range(-(-self.held_out // 4))]
        chosen = _objects(scenes, rng, 2)
        masks = [scenes[row].object_map == number for row, number in chosen]
        boxes = torch.from_numpy(np.stack([tight_box(mask) for mask in masks])).float()
        on = [_points_on(mask, 1, rng) for mask in masks]
        coords, labels = (torch.from_numpy(np.stack([drawn[k] for drawn in on])) for k in (0, 1))
        box, point = PromptBatch(None, None, boxes), PromptBatch(coords.float(), labels, None)
        tensors, (scene_of, objects) = scene_tensors(scenes, source.side), torch.tensor(chosen).T
        figures = {}
        for name, prompts, is_closer in (("box", box, False), ("closer", box, True), ("point", point, False)):
            batch = SamBatch(tensors, scene_of, objects, prompts, True).to(self.sam.device)
            asked = torch.full_like(batch.objects, is_closer, dtype=torch.bool)
            logits, pred_ious, targets = self._predict(batch, asked, multimask=True)
            best = logits[torch.arange(len(logits), device=logits.device), pred_ious.argmax(1)]
            figures[name] = float(mask_ious(best[:, None], targets).mean())
        return figures

    def _predict(
        self, batch: SamBatch, is_closer: torch.Tensor, *, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return (P, M, LOSS_SIDE, LOSS_SIDE) logits, (P, M) predicted IoUs and (P, LOSS_SIDE, LOSS_SIDE) targets.

        Boxes around small things are seen closer where (P,) `is_closer` says so, as if a person had drawn them.
        """
        points, labels, drawn = batch.prompts.points, batch.prompts.labels, batch.prompts.boxes
        encoder, masks, boxes = self.sam.image_encoder, batch.masks(), None
        images = encoder(batch.scenes.sam_pixels(SAM_MEAN, SAM_STD))[batch.scene_of]
        targets = covered_share(masks)
        if drawn is not None:
            asked = is_closer if points is None else torch.zeros_like(is_closer)
            images, boxes, targets = seen_closer(
                encoder, batch.scenes, batch.scene_of, masks, drawn, asked, images, targets
            )
        clicks = None if points is None else (batch.scenes.to_sam(points), labels)
        sparse, _ = self.sam.prompt_encoder(points=clicks, boxes=boxes, masks=None)
        logits, pred_ious = decode_prompts(self.sam, images, sparse, multimask=multimask)
        return logits.float(), pred_ious.float(), targets


def mask_ious(mask_logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """(P, M) IoU of each candidate (P, M, h, w) with its target (P, h, w)."""
    predicted, true = mask_logits > 0, targets[:, None] > 0.5
    union = (predicted | true).sum((-2, -1)).clamp_min(1)
    return (predicted & true).sum((-2, -1)) / union
