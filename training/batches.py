"""Batches of scenes and phrases that several stages draw alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch.nn import functional as F

from evfsam.types import RgbImage
from training.scene_stream import (
    SHARES,
    SceneKind,
    SceneSource,
    SceneTensors,
    Tensors,
    TrainingScene,
    bits_of,
    referred,
    scene_tensors,
)
from workbench.datasets.expressions import KINDS, Expression, ExpressionKind

KIND_WEIGHTS: Final[Mapping[ExpressionKind, float]] = {
    "category": 1.6,
    "colour": 0.8,
    "position": 2.2,
    "ordinal": 1.2,
    "size": 1.4,
    "relation": 1.4,
    "several": 0.8,
    "semantic": 0.4,
    "absent": 0.9,
    "group": 0.9,
    "negation": 0.5,
    "combined": 0.9,
}
"""How often each kind is drawn: kinds that need comparing objects more often than those that name them."""


@dataclass(frozen=True, eq=False)
class PhraseBatch(Tensors):
    """B scenes with the same number of phrases each, P in all.

    Attributes:
        scenes: the scenes.
        scene_of: (P,) scene of each phrase.
        bits: (P,) the objects it means, object i as bit i.
        encoder_pixels: (B, 3, e, e) float16 as the encoder of phrases sees them.
        input_ids, words: (P, T) tokens, and where they are not padding.
        expressions: P phrases, grouped by scene.
        kinds: P kinds of their scenes.
    """

    scenes: SceneTensors
    scene_of: torch.Tensor
    bits: torch.Tensor
    encoder_pixels: torch.Tensor
    input_ids: torch.Tensor
    words: torch.Tensor
    expressions: tuple[Expression, ...]
    kinds: tuple[SceneKind, ...]

    def images(self) -> torch.Tensor:
        """(P, 3, e, e) float32: the encoder's image of each phrase."""
        return self.encoder_pixels[self.scene_of].float()

    def masks(self) -> torch.Tensor:
        """(P, s, s) float32: the referred pixels in SAM's square."""
        return referred(self.scenes.object_maps, self.scene_of, self.bits)

    def square_masks(self) -> torch.Tensor:
        """(P, SQUARE, SQUARE) float32: the referred pixels in the image squashed to a square."""
        return referred(self.scenes.square_maps, self.scene_of, self.bits)


Encode = Callable[[list[str]], tuple[torch.Tensor, torch.Tensor]]
"""Texts to (P, T) ids and where they are words."""


@dataclass(frozen=True)
class PhraseDraw:
    """Draws batches of phrases; see `training.loop.Stage`.

    Attributes:
        source: of scenes.
        pixels: image to the encoder's pixels (3, e, e).
        encode: phrases to tokens.
        scene_count, per_scene: of a batch.
        weights: of the kinds.
    """

    source: SceneSource
    pixels: Callable[[RgbImage], torch.Tensor]
    encode: Encode
    scene_count: int
    per_scene: int
    weights: Mapping[ExpressionKind, float] | None = None

    def __call__(self, rng: np.random.Generator) -> PhraseBatch:
        """Draw one."""
        weights = self.weights or {kind: KIND_WEIGHTS[kind] for kind in KINDS}
        scenes: list[TrainingScene] = []
        expressions = []
        while len(scenes) < self.scene_count:
            for scene in self.source.scenes(rng, min(2, self.scene_count - len(scenes))):
                phrases = self.source.phrases(scene, rng, self.per_scene, weights)
                if len(phrases) == self.per_scene:
                    scenes.append(scene)
                    expressions += phrases
        ids, words = self.encode([each.text for each in expressions])
        pixels = torch.stack([self.pixels(scene.image).half() for scene in scenes])
        return PhraseBatch(
            scene_tensors(scenes, self.source.side),
            torch.arange(self.scene_count).repeat_interleave(self.per_scene),
            torch.tensor([bits_of(each) for each in expressions]),
            pixels,
            ids,
            words,
            tuple(expressions),
            tuple(scene.kind for scene in scenes for _ in range(self.per_scene)),
        )


def held_out_batches(draw: PhraseDraw, count: int) -> list[PhraseBatch]:
    """Return batches of one phrase a scene, of every kind of scene, of pictures that training does not see.

    Kinds are drawn equally often; what is absent is left out, as it has no IoU.
    """
    weights: dict[ExpressionKind, float] = {kind: 1.0 for kind in KINDS if kind != "absent"}
    rng = np.random.default_rng(0)
    batches = []
    for kind in draw.source.shares:
        drawn = PhraseDraw(draw.source.held_out(kind), draw.pixels, draw.encode, min(32, -(-count // 2)), 1, weights)
        batches += [drawn(rng) for _ in range(max(1, count // 32 // len(draw.source.shares)))]
    return batches


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Intersections and unions of predicted and true masks, one of each for a phrase of some batches."""

    intersections: torch.Tensor
    unions: torch.Tensor
    expressions: tuple[Expression, ...]
    kinds: tuple[SceneKind, ...]

    @classmethod
    def of(cls, batches: Sequence[PhraseBatch], answers: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> "Overlaps":
        """Compare (P, h, w) logits with (P, h, w) targets, a pair for each batch."""
        pairs = [((logits > 0).cpu().flatten(1), (targets > 0.5).cpu().flatten(1)) for logits, targets in answers]
        return cls(
            torch.cat([(predicted & true).sum(1).double() for predicted, true in pairs]),
            torch.cat([(predicted | true).sum(1).double() for predicted, true in pairs]),
            tuple(each for batch in batches for each in batch.expressions),
            tuple(kind for batch in batches for kind in batch.kinds),
        )

    def ciou(self, rows: torch.Tensor) -> float:
        """Sum of intersections over sum of unions of some phrases."""
        return float(self.intersections[rows].sum() / self.unions[rows].sum().clamp_min(1))

    def figures(self) -> dict[str, float]:
        """CIoU of all, by kind of scene and of expression; share with IoU >= 0.5 of seen and unseen wordings."""
        figures = {"cIoU": self.ciou(torch.ones(len(self.kinds), dtype=torch.bool))}
        figures |= {
            name: self.ciou(torch.tensor([kind == name for kind in self.kinds]))
            for name in SHARES
            if name in self.kinds
        }
        hits = self.intersections >= 0.5 * self.unions
        unseen = torch.tensor([each.is_unseen_wording for each in self.expressions])
        for name, rows in (("seen", ~unseen), ("unseen", unseen)):
            if rows.any():
                figures[name] = float(hits[rows].double().mean())
        for kind in KINDS:
            rows = torch.tensor([each.kind == kind for each in self.expressions])
            if rows.any():
                figures[kind] = self.ciou(rows)
        return figures


def pooled(masks: torch.Tensor, side: int) -> torch.Tensor:
    """(P, S, S) masks to (P, side, side): cells that are at least half covered."""
    return (F.adaptive_avg_pool2d(masks[:, None], side)[:, 0] >= 0.5).float()
