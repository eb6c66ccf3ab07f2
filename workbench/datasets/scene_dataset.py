"""The generated scenes as a data set."""

from collections.abc import Iterator
from functools import partial
from typing import Final, get_args

from evfsam.errors import ConfigurationError
from evfsam.types import RgbImage
from workbench.datasets.contract import Question, Sample
from workbench.datasets.scenes import Scene, Split, scene, split_seeds
from workbench.metrics.masks import Mask

SPLITS: Final[tuple[Split, ...]] = get_args(Split)


class SceneDataset:
    """One split, drawn as it is asked for, in the order of the seeds.

    Args:
        split: "train", "val" or "test".

    Raises:
        ConfigurationError: there is no such split.
    """

    name = "scenes"

    def __init__(self, split: str) -> None:
        known = {str(each): each for each in SPLITS}
        if split not in known:
            raise ConfigurationError(f"scenes: expected a split out of {', '.join(SPLITS)}, got {split!r}")
        self.split = split
        self._seeds = split_seeds(known[split])

    def __len__(self) -> int:
        return len(self._seeds)

    def __iter__(self) -> Iterator[Sample]:
        return map(scene_sample, self._seeds)

    def __getitem__(self, index: int) -> Sample:
        return scene_sample(self._seeds[index])


def scene_sample(seed: int) -> Sample:
    """Draw the scene of a seed, and ask all of its expressions."""
    drawn = scene(seed)
    questions = (
        Question(each.text, each.kind, partial(_mask, drawn, position), "unseen" if each.is_unseen_wording else "seen")
        for position, each in enumerate(drawn.expressions)
    )
    return Sample(partial(_image, drawn), tuple(questions), str(seed))


def _mask(drawn: Scene, position: int) -> Mask:
    return drawn.mask(drawn.expressions[position])


def _image(drawn: Scene) -> RgbImage:
    return drawn.image
