"""How each object of a scene compares with the others of its category, whatever a phrase says."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.scene_cache import CachedScene, tight_box

RANKS: Final = ("left", "right", "top", "bottom", "small", "big", "middle")
"""The word for being first, last, ... among one's equals."""


def object_ranks(scene: CachedScene) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Compare each object of a scene with those of its category.

    Returns:
        (n + 1, R) which of `RANKS` each object holds, and (n + 1,) whether it has equals; row 0 is the background.
    """
    ranks = np.zeros((len(scene.categories) + 1, len(RANKS)), dtype=np.bool_)
    is_ranked = np.zeros(len(ranks), dtype=np.bool_)
    for category in set(scene.categories):
        members = [i + 1 for i, name in enumerate(scene.categories) if name == category]
        members = [i for i in members if (scene.object_map == i).any()]
        if len(members) < 2:
            continue
        boxes = np.stack([tight_box(scene.object_map == i) for i in members])
        x, y = boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
        height = boxes[:, 3] - boxes[:, 1]
        holders = [x.argmin(), x.argmax(), y.argmin(), y.argmax(), height.argmin(), height.argmax()]
        for rank, holder in enumerate(holders):
            ranks[members[holder], rank] = True
        if len(members) == 3:
            ranks[members[np.argsort(x)[1]], RANKS.index("middle")] = True
        is_ranked[members] = True
    return ranks, is_ranked
