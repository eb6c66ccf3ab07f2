"""Scenes kept on disk, where wanted with what a frozen vision tower sees in them.

A GPU trains faster than its machine's processors draw, and a frozen tower of convolutions sees the same in a scene
whenever it comes. So as many scenes as the pool is large are drawn once, and kept; phrases about them are drawn anew
every time.
"""

import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from evfsam.types import RgbImage
from training.scene_stream import SceneKind, SceneSource, TrainingScene
from workbench.export.file_writing import whole_file


@dataclass(frozen=True, eq=False)
class SeenScene(TrainingScene):
    """A scene and what the tower sees in it.

    Attributes:
        features: (C, h, w) float16.
    """

    features: NDArray[np.float16]


def seen_look(scene: TrainingScene) -> torch.Tensor:
    """(C, h, w) float16: what the tower sees in a scene of the pool."""
    assert isinstance(scene, SeenScene)
    return torch.from_numpy(scene.features)


class ScenePool(SceneSource):
    """A source of a fixed number of scenes, each drawn when it is first asked for.

    Args:
        source: what the scenes are drawn from.
        folder: where they are kept; made where missing.
        size: how many there are.
        see: image to the tower's features (C, h, w); None keeps none.
    """

    def __init__(
        self, source: SceneSource, folder: Path, size: int, see: Callable[[RgbImage], torch.Tensor] | None = None
    ) -> None:
        super().__init__(source.folder, source.split, source.shares, source.side)
        self.kept, self.size, self.see = folder, size, see
        folder.mkdir(parents=True, exist_ok=True)

    def item(self, index: int) -> TrainingScene:
        """Return scene `index` of 0..size - 1, always the same; every second mirrors the one before.

        It is a `SeenScene` where features are kept.
        """
        path = self.kept / f"{index:06d}.pkl"
        if path.is_file():
            with suppress(AttributeError, ImportError), path.open("rb") as file:  # of classes that have moved since
                kept: TrainingScene = pickle.load(file)
                return kept.with_masks()
        drawn = super().scene(np.random.default_rng((index // 2, self.size)))
        scene = drawn.mirrored() if index % 2 else drawn
        if self.see is not None:
            features = self.see(scene.image).half().numpy()
            scene = SeenScene(scene.drawn, scene.object_map, scene.kind, features)
        with whole_file(path) as new, new.open("wb") as file:
            pickle.dump(scene.without_masks(), file, protocol=pickle.HIGHEST_PROTOCOL)
        return scene

    def scenes(self, rng: np.random.Generator, count: int) -> list[TrainingScene]:
        """Choose some of the pool's."""
        return [self.item(int(rng.integers(self.size))) for _ in range(count)]

    def held_out(self, kind: SceneKind) -> "ScenePool":
        """Return a pool of scenes of one kind, of pictures and wordings to validate on."""
        return ScenePool(super().held_out(kind), self.kept.with_name(f"{self.kept.name}-{kind}"), self.size, self.see)
