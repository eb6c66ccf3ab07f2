"""Questions on generated scenes that the strategies tend to get wrong, and what each of them means."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np

from workbench.datasets.scenes import Scene, SceneObject, scene
from workbench.metrics.masks import Mask

SCENE_SIZE: Final = 512
"""Side of the scenes in pixels: the one that the page draws."""

FailureKind = Literal["position", "count", "parts", "negation", "absent", "crowded", "languages"]


@dataclass(frozen=True)
class Ellipse:
    """A part of a scene, in shares of the image's side.

    Attributes:
        x, y: centre.
        width, height: half axes.
    """

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class FailureCase:
    """A question whose right answer is known.

    Attributes:
        key: name of its files.
        kind: what makes it hard.
        phrase: what is asked.
        seed: of a scene outside the test split.
        wanted: indices of the objects meant; empty where there is no such thing.
        part: the part of them that is meant, marked by hand; None for all of them.
    """

    key: str
    kind: FailureKind
    phrase: str
    seed: int
    wanted: tuple[int, ...]
    part: Ellipse | None = None

    @cached_property
    def scene(self) -> Scene:
        """The scene, drawn when it is first needed."""
        return scene(self.seed, SCENE_SIZE)

    @cached_property
    def wanted_mask(self) -> Mask:
        """(S, S) bool: what the phrase means."""
        mask: Mask = np.zeros((SCENE_SIZE, SCENE_SIZE), dtype=np.bool_)
        for index in self.wanted:
            mask |= self.scene.objects[index].mask
        return mask if self.part is None else mask & _inside(self.part)

    def name_of(self, index: int) -> str:
        """Name an object of the scene so that a reader finds it: by its colour where there are several of its kind."""
        named = self.scene.objects[index]
        same = [each for each in self.scene.objects if each.category == named.category]
        if len(same) == 1:
            return f"the {named.category}"
        if named.colour is not None:
            return f"the {named.colour} {named.category}"
        return f"the {named.category} {_place(named)}"


FAILURE_CASES: Final = (
    FailureCase("position", "position", "the right rabbit", 10_000_047, (3,)),
    FailureCase("count", "count", "the second hat from the right", 10_000_029, (1,)),
    FailureCase("parts", "parts", "the window of the rocket", 10_000_169, (4,), Ellipse(0.787, 0.711, 0.026, 0.044)),
    FailureCase("negation", "negation", "the bus that is not blue", 10_000_055, (1,)),
    FailureCase("absent", "absent", "the blue tractor", 10_000_098, ()),
    FailureCase("crowded", "crowded", "the hammer left of the fish", 10_000_043, (6,)),
    FailureCase("german", "languages", "der Baum", 10_000_059, (4,)),
    FailureCase("chinese", "languages", "狗", 10_000_056, (1,)),
)
"""Found by looking through scenes of the validation split; the answers kept beside them say how each one went."""


def _inside(part: Ellipse) -> Mask:
    places = (np.arange(SCENE_SIZE) + 0.5) / SCENE_SIZE
    across, down = (places[None, :] - part.x) / part.width, (places[:, None] - part.y) / part.height
    return np.asarray(across**2 + down**2 <= 1)


def _place(named: SceneObject) -> str:
    x, y = named.centre
    rows, columns = ("at the top", "in the middle", "at the bottom"), (" left", "", " right")
    return rows[min(2, int(3 * y))] + columns[min(2, int(3 * x))]
