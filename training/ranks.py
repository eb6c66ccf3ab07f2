"""How each object of a scene compares with the others of its name, whatever a phrase says."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workbench.datasets.scenes import SceneObject

RANKS: Final = ("left", "right", "top", "bottom", "small", "big", "middle")
"""The word for being first, last, ... among one's equals."""


def object_ranks(objects: Sequence[SceneObject]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Compare each object of a scene with those of its name.

    Returns:
        (n + 1, R) which of `RANKS` each object holds, and (n + 1,) whether it has equals; row 0 is the background.
    """
    ranks = np.zeros((len(objects) + 1, len(RANKS)), dtype=np.bool_)
    is_ranked = np.zeros(len(ranks), dtype=np.bool_)
    for name in {item.category for item in objects}:
        members = [i for i, item in enumerate(objects) if item.category == name]
        if len(members) < 2:
            continue
        x, y = (np.array([objects[i].centre[axis] for i in members]) for axis in (0, 1))
        height = np.array([objects[i].height for i in members])
        holders = [x.argmin(), x.argmax(), y.argmin(), y.argmax(), height.argmin(), height.argmax()]
        for rank, holder in enumerate(holders):
            ranks[members[holder] + 1, rank] = True
        if len(members) == 3:
            ranks[members[np.argsort(x)[1]] + 1, RANKS.index("middle")] = True
        is_ranked[[i + 1 for i in members]] = True
    return ranks, is_ranked
