"""Teaching EVF-SAM's mask decoder to follow a person's clicks and box beside a phrase.

Each phrase is asked as it stands, and once more with marks: a box, clicks where the first mask is wrong, or both. In a
part of these the marks are on an object that the words do not mean, for that is when one marks: there they are right.
In a part of those with clicks, they are anywhere on what is marked. Half of the boxes without clicks, a quarter of all,
are asked about as `evfsam.sam.closer_look` does where they are around small things. Only the decoder and the embeddings
of marks learn. The decoder's guess of the IoU learns as well, for phrases alone, too.

Source: SAM, arXiv:2304.02643, appendix A (clicks are drawn where the mask is wrong; the IoU's squared error).
"""

from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from evfsam.model.losses import batch_mask_loss
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.preprocess import SAM_MEAN, SAM_STD
from training.batches import Overlaps, PhraseBatch, PhraseDraw, held_out_batches
from training.closer_views import seen_closer
from training.finetune import WORDING_WEIGHTS, pixels_of
from training.loop import Schedule
from training.sam_stage import mask_ious
from training.scene_stream import SIDE, SceneSource, covered_share, referred, tight_box

SCHEDULE = Schedule(steps=1200, learning_rate=5e-4, warmup=30, validate_every=200)
SCENES_A_STEP: Final = 12
PHRASES_A_SCENE: Final = 6
ASTRAY_SHARE: Final = 0.4
"""Of marked phrases whose marks are on another object than they mean."""
CLOSER_SHARE: Final = 0.5
"""Of boxes without clicks that are around small things."""
KINDS: Final = ("box", "clicks", "both")
MOST_CLICKS: Final = 3
PLAIN_SHARE: Final = 0.3
"""Of phrases whose clicks are anywhere on what is marked, as people click on what a mask has right, too."""
SHAKEN: Final = 0.08
"""Greatest standard deviation of a box's edges, as a share of its sides: people draw boxes by hand."""


@dataclass(frozen=True, eq=False)
class MarkedBatch(PhraseBatch):
    """P phrases, and what a person marks beside each.

    Attributes:
        marked_bits: (P,) objects that are marked, object i as bit i; not those meant where the phrase goes astray.
        is_astray: (P,) whether it does.
        boxes: (P, 4) XYXY around them, the scenes' pixels.
        draws: (P, MOST_CLICKS) in [0, 1): which pixel of those to choose from each click is on.
        is_plain: (P,) whether the clicks are anywhere on what is marked, instead of where a mask is wrong.
        click_count: of every phrase with clicks.
    """

    marked_bits: torch.Tensor
    is_astray: torch.Tensor
    boxes: torch.Tensor
    draws: torch.Tensor
    is_plain: torch.Tensor
    click_count: int

    def marked_masks(self) -> torch.Tensor:
        """(P, s, s) float32: the marked pixels in SAM's square."""
        return referred(self.scenes.object_maps, self.scene_of, self.marked_bits)


@dataclass(frozen=True)
class MarksDraw(PhraseDraw):
    """Draws phrases with marks."""

    def __call__(self, rng: np.random.Generator) -> MarkedBatch:
        """Draw one."""
        return with_marks(super().__call__(rng), rng, astray=ASTRAY_SHARE, plain=PLAIN_SHARE, shaken=SHAKEN)


def with_marks(
    phrases: PhraseBatch, rng: np.random.Generator, *, astray: float, plain: float, shaken: float
) -> MarkedBatch:
    """Draw what is marked beside each phrase.

    Args:
        phrases: the phrases; beside one that means nothing in its image an object is marked all the same.
        rng: everything is drawn from it.
        astray: share of the other phrases whose marks are on another object than they mean.
        plain: share of phrases whose clicks are anywhere on what is marked.
        shaken: see `SHAKEN`.
    """
    maps, side, count = phrases.scenes.object_maps.numpy(), phrases.scenes.side, len(phrases.bits)
    bits, boxes = phrases.bits.numpy().copy(), np.zeros((count, 4))
    is_astray = (bits == 0) | (rng.random(count) < astray)
    for row, scene in enumerate(phrases.scene_of.tolist()):
        shown = np.flatnonzero(np.bincount(maps[scene].ravel())[1:])
        if is_astray[row] and len(shown):  # whatever a scene has may be hidden, or smaller than a pixel
            bits[row] = 1 << int(rng.choice(shown))
        marked = np.isin(maps[scene], [index + 1 for index in shown if bits[row] >> index & 1])
        boxes[row] = _shaken(tight_box(marked), rng, shaken, side) if marked.any() else np.array([0, 0, side, side])
    clicks = int(rng.integers(1, MOST_CLICKS + 1))
    return MarkedBatch(
        **{field.name: getattr(phrases, field.name) for field in fields(phrases)},
        marked_bits=torch.from_numpy(bits),
        is_astray=torch.from_numpy(is_astray),
        boxes=torch.from_numpy(boxes).float(),
        draws=torch.from_numpy(rng.random((count, MOST_CLICKS))).float(),
        is_plain=torch.from_numpy(rng.random(count) < plain),
        click_count=clicks,
    )


def _shaken(box: NDArray[np.float64], rng: np.random.Generator, most: float, side: int) -> NDArray[np.float64]:
    sides = np.tile(box[2:] - box[:2], 2)
    return np.clip(box + sides * rng.normal(0, rng.uniform(0, most), 4), 0, side)


def clicks_on_errors(
    marked: torch.Tensor, wanted: torch.Tensor, must_be_on: torch.Tensor, draws: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose clicks where a mask is wrong: on what it lacks, or on what it has too much, whichever is more.

    Args:
        marked: (P, h, w) bool, the mask.
        wanted: (P, h, w) bool, what it should be.
        must_be_on: (P,) whose clicks are on the object in any case.
        draws: (P, n) in [0, 1).

    Returns:
        (P, n, 2) XY in pixels of SAM's square, and (P, n) labels, 1 on the object. A mask without errors is clicked on
        the object; -1, which SAM's prompt encoder takes for none, where there is nothing to click on.
    """
    lacking, too_much = (wanted & ~marked).flatten(1), (marked & ~wanted).flatten(1)
    is_on = must_be_on | (lacking.sum(1) >= too_much.sum(1))
    where = torch.where(is_on[:, None], lacking, too_much)
    where = torch.where(where.any(1, keepdim=True), where, wanted.flatten(1))
    counts = where.sum(1, keepdim=True)
    ranks = (draws * counts).long() + 1
    cells = torch.searchsorted(where.cumsum(1), ranks.clamp_max(counts.clamp_min(1)))
    cells = cells.clamp_max(where.shape[1] - 1)
    width, pitch = wanted.shape[-1], SIDE / wanted.shape[-1]
    points = torch.stack([cells % width, cells // width], dim=-1).float() * pitch + pitch / 2
    labels = wanted.flatten(1).gather(1, cells).long().masked_fill(counts == 0, -1)
    return points, labels


class MarksStage:
    """Phrases with marks; see `training.loop.Stage`.

    Args:
        source: of scenes.
        model: a finished EVF-SAM.
        processor: its own.
        scenes_a_step, per_scene: scenes of a step, and phrases about each.
        held_out: phrases that a validation measures.
    """

    def __init__(
        self,
        source: SceneSource,
        model: EvfSamModel,
        processor: EvfSamProcessor,
        *,
        scenes_a_step: int,
        per_scene: int,
        held_out: int,
    ) -> None:
        self.model, self.source = model, source
        pixels = partial(pixels_of, processor)
        encode = processor.tokenizer.encode_batch
        self.draw = MarksDraw(source, pixels, encode, scenes_a_step, per_scene, WORDING_WEIGHTS)
        rng = np.random.default_rng(0)
        self.held_out = [
            with_marks(each, rng, astray=0, plain=0, shaken=0) for each in held_out_batches(self.draw, held_out)
        ]
        model.requires_grad_(False)
        decoder, prompts = self._sam.mask_decoder, self._sam.prompt_encoder
        for part in (decoder, prompts.point_embeddings, prompts.not_a_point_embed):
            part.requires_grad_(True)

    @property
    def module(self) -> nn.Module:
        """The EVF-SAM."""
        return self.model

    def loss(self, batch: MarkedBatch) -> torch.Tensor:
        """BCE + dice of the masks without and with marks, and the squared error of the IoUs guessed for them."""
        images, prompts = self._read(batch)
        targets = covered_share(batch.masks())
        plain = self.model.decode(images, prompts)
        loss = _loss(*plain, targets)
        wanted = covered_share(batch.marked_masks())
        for offset, kind in enumerate(KINDS):
            rows = torch.arange(offset, len(prompts), len(KINDS), device=prompts.device)
            asked, boxes, targets = images[rows], batch.scenes.to_sam(batch.boxes[rows]), wanted[rows]
            points = None
            if kind == "box":
                is_closer = batch.draws[rows, 0] < CLOSER_SHARE
                asked, boxes, targets = self._closer(batch, rows, is_closer, asked, targets)
            else:
                points = self._clicks(batch, plain[0][rows, 0].detach() > 0, targets, rows, batch.click_count)
            marks = self._marks(points, None if kind == "clicks" else boxes)
            answer = self.model.decode(asked, torch.cat([marks, prompts[rows]], dim=1))
            loss = loss + _loss(*answer, targets) / len(KINDS)
        return loss

    def validate(self) -> dict[str, float]:
        """Figures of phrases alone, and by kind of scene the mean IoU with a tight box and with one click."""
        alone: list[tuple[torch.Tensor, torch.Tensor]] = []
        with_mark: dict[str, list[torch.Tensor]] = {}
        for each in self.held_out:
            batch = each.to(self.model.device)
            images, prompts = self._read(batch)
            wanted = covered_share(batch.marked_masks())
            plain = self.model.decode(images, prompts)[0][:, 0].float()
            alone.append((plain, wanted))
            rows = torch.arange(len(prompts), device=prompts.device)
            clicks = self._marks(self._clicks(batch, plain > 0, wanted, rows, 1), None)
            closer = self._closer(batch, rows, torch.ones_like(batch.is_astray), images, wanted)
            asked = {
                "box": (images, self._marks(None, batch.scenes.to_sam(batch.boxes)), wanted),
                "clicks": (images, clicks, wanted),
                "closer": (closer[0], self._marks(None, closer[1]), closer[2]),
            }
            for kind, (seen, marks, target) in asked.items():
                logits, _ = self.model.decode(seen, torch.cat([marks, prompts], dim=1))
                ious = mask_ious(logits.float(), target)[:, 0].cpu()
                for scene_kind in sorted(set(batch.kinds)):
                    of_kind = torch.tensor([each == scene_kind for each in batch.kinds])
                    with_mark.setdefault(f"{scene_kind} {kind}", []).append(ious[of_kind])
        figures = Overlaps.of(self.held_out, alone).figures()
        return figures | {name: float(torch.cat(ious).mean()) for name, ious in with_mark.items()}

    def _read(self, batch: PhraseBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """(P, C, h, w) images and (P, 1, C) prompts of the phrases."""
        embeddings = self._sam.image_encoder(batch.scenes.sam_pixels(SAM_MEAN, SAM_STD))
        with torch.no_grad():
            prompts, _ = self.model.fuse(batch.encoder_pixels.float(), batch.input_ids, batch.words)
        return embeddings[batch.scene_of], prompts

    def _closer(
        self,
        batch: MarkedBatch,
        rows: torch.Tensor,
        is_asked: torch.Tensor,
        images: torch.Tensor,
        targets: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images, boxes and targets of some phrases, their boxes seen closer where asked; see `seen_closer`."""
        of_rows = batch.scene_of[rows]
        masks = referred(batch.scenes.object_maps, of_rows, batch.marked_bits[rows])
        encoder = self._sam.image_encoder
        return seen_closer(encoder, batch.scenes, of_rows, masks, batch.boxes[rows], is_asked, images, targets)

    @staticmethod
    def _clicks(
        batch: MarkedBatch, marked: torch.Tensor, wanted: torch.Tensor, rows: torch.Tensor, count: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Clicks on what is wrong in (R, h, w) `marked`, or just on what is wanted; see `clicks_on_errors`."""
        is_plain = batch.is_plain[rows]
        marked = marked & ~is_plain[:, None, None]
        return clicks_on_errors(marked, wanted > 0.5, batch.is_astray[rows] | is_plain, batch.draws[rows, :count])

    def _marks(self, points: tuple[torch.Tensor, torch.Tensor] | None, boxes: torch.Tensor | None) -> torch.Tensor:
        """(R, N, C) what SAM's prompt encoder makes of clicks and boxes."""
        sparse, _ = self._sam.prompt_encoder(points=points, boxes=boxes, masks=None)
        return cast(torch.Tensor, sparse)

    @property
    def _sam(self) -> Any:
        return self.model.visual_model


def _loss(logits: torch.Tensor, pred_ious: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of (P, 1, h, w) logits, their (P, 1) guessed IoUs and (P, h, w) targets."""
    ious = mask_ious(logits.detach(), targets)
    masks = batch_mask_loss([logits[:, 0].float()], [targets], bce_weight=2.0, dice_weight=1.0).loss
    return masks + F.mse_loss(pred_ious.float(), ious)
