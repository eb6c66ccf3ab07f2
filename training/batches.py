"""Batches of scenes and phrases that several stages draw alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from training.scene_cache import CachedScene, SceneCache
from workbench.datasets.expressions import Expression, ExpressionKind

KIND_WEIGHTS: Final[Mapping[ExpressionKind, float]] = {
    "category": 0.5,
    "colour": 0.8,
    "position": 2.5,
    "ordinal": 2.5,
    "size": 2.0,
    "relation": 1.6,
    "several": 0.6,
    "semantic": 0.5,
    "negation": 0.8,
    "group": 1.2,
    "combined": 1.2,
    "absent": 0.6,
}
"""How often each kind is drawn: kinds that need comparing objects more often than those that name them."""
RARE_KIND: Final[ExpressionKind] = "ordinal"
RARE_SHARE: Final = 0.3
"""Share of the scenes drawn that allow the kind which only a quarter of all scenes does."""


@dataclass(frozen=True, eq=False)
class PhraseBatch:
    """Scenes with the same number of phrases each; phrase p belongs to scene p // (P / B).

    Attributes:
        scenes: B scenes.
        scene_indices: (B,) where they stand in the cache.
        expressions: P phrases, grouped by scene.
    """

    scenes: tuple[CachedScene, ...]
    scene_indices: tuple[int, ...]
    expressions: tuple[Expression, ...]

    @property
    def phrases_per_scene(self) -> int:
        """P / B."""
        return len(self.expressions) // len(self.scenes)

    def masks(self) -> NDArray[np.bool_]:
        """(P, S, S) the referred pixels."""
        count = self.phrases_per_scene
        return np.stack([self.scenes[p // count].mask(e.object_indices) for p, e in enumerate(self.expressions)])


def draw_phrases(scenes: SceneCache, rng: np.random.Generator, *, scene_count: int, per_scene: int) -> PhraseBatch:
    """Draw scenes, `RARE_SHARE` of them for their rare kind, and phrases with the kinds weighted by `KIND_WEIGHTS`."""
    rare = scenes.allowing(RARE_KIND)
    wanted = rng.random(scene_count) < (RARE_SHARE if len(rare) else 0.0)
    indices = tuple(int(rare[rng.integers(len(rare))] if pick else rng.integers(len(scenes))) for pick in wanted)
    drawn = tuple(scenes[i] for i in indices)
    expressions: list[Expression] = []
    for scene in drawn:
        weights = np.array([KIND_WEIGHTS[e.kind] for e in scene.expressions])
        weights /= np.array([sum(e.kind == f.kind for f in scene.expressions) for e in scene.expressions])
        picks = rng.choice(len(scene.expressions), per_scene, replace=False, p=weights / weights.sum())
        expressions += [capitalised(scene.expressions[int(i)], rng) for i in picks]
    return PhraseBatch(drawn, indices, tuple(expressions))


def capitalised(expression: Expression, rng: np.random.Generator) -> Expression:
    """Write one phrase in ten with a capital letter, as people do."""
    if rng.random() >= 0.1:
        return expression
    return replace(expression, text=expression.text[:1].upper() + expression.text[1:])


def held_out_phrases(scenes: SceneCache, count: int) -> PhraseBatch:
    """Return one phrase of something present from each of at most the first `count` scenes, kinds in turn."""
    count = min(count, len(scenes))
    kinds = [kind for kind in KIND_WEIGHTS if kind != "absent"]
    expressions = []
    for index in range(count):
        wanted = kinds[index % len(kinds) :] + kinds
        present = {e.kind: e for e in reversed(scenes[index].expressions)}
        expressions.append(next(present[kind] for kind in wanted if kind in present))
    return PhraseBatch(tuple(scenes[i] for i in range(count)), tuple(range(count)), tuple(expressions))


def ciou_figures(
    mask_logits: torch.Tensor, targets: torch.Tensor, expressions: Sequence[Expression]
) -> dict[str, float]:
    """Sum of intersections over sum of unions, in all and by kind; both tensors are (P, h, w)."""
    predicted, true = mask_logits > 0, targets > 0.5
    intersections = (predicted & true).flatten(1).sum(1).double()
    unions = (predicted | true).flatten(1).sum(1).double()
    figures = {"cIoU": float(intersections.sum() / unions.sum())}
    for kind in KIND_WEIGHTS:
        rows = torch.tensor([e.kind == kind for e in expressions])
        if rows.any():
            figures[kind] = float(intersections[rows].sum() / unions[rows].sum().clamp_min(1))
    return figures
