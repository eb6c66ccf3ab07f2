"""The generated scenes as data sets: `scenes`, drawn, and `photo-scenes`, of photographs."""

from functools import partial
from pathlib import Path
from typing import Final, Literal, get_args

from evfsam.errors import ConfigurationError
from evfsam.types import RgbImage
from workbench.datasets.composites import composite, picture_library
from workbench.datasets.contract import ReadDataset, Sample, SampleQuestion
from workbench.datasets.cutouts import FETCHED
from workbench.datasets.scenes import Scene, Split, scene, split_seeds
from workbench.metrics.masks import Mask

SceneName = Literal["scenes", "photo-scenes"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)


def open_scenes(split: str, name: SceneName = "scenes", folder: Path = FETCHED) -> ReadDataset[int]:
    """Open one split, drawn as it is asked for, in the order of the seeds.

    Args:
        split: "train", "val" or "test".
        name: drawn or photographic.
        folder: of the fetched pictures, which photographic ones are made of.

    Raises:
        ConfigurationError: there is no such split, or its pictures are not there.
    """
    known = {str(each): each for each in SPLITS}
    if split not in known:
        raise ConfigurationError(f"{name}: expected a split out of {', '.join(SPLITS)}, got {split!r}")
    if name == "photo-scenes":
        picture_library(name, known[split], folder)
    return ReadDataset(name, split, split_seeds(known[split]), partial(scene_sample, kind=name, folder=folder))


def scene_sample(seed: int, kind: SceneName = "scenes", folder: Path = FETCHED) -> Sample:
    """Draw the scene of a seed, and ask all of its expressions."""
    drawn = composite(seed, kind=kind, folder=folder) if kind == "photo-scenes" else scene(seed)
    questions = (
        SampleQuestion(
            each.text, each.kind, partial(_mask, drawn, position), "unseen" if each.is_unseen_wording else "seen"
        )
        for position, each in enumerate(drawn.expressions)
    )
    return Sample(partial(_image, drawn), tuple(questions), str(seed))


def _mask(drawn: Scene, position: int) -> Mask:
    return drawn.mask(drawn.expressions[position])


def _image(drawn: Scene) -> RgbImage:
    return drawn.image
