"""Data sets by the names they have on the command line, the generated scenes among them."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, get_args

from evfsam.errors import ConfigurationError
from evfsam.types import RgbImage
from workbench.datasets.coco_files import read_coco_phrases
from workbench.datasets.coco_panoptic import read_coco_panoptic
from workbench.datasets.composites import composite, picture_library
from workbench.datasets.contract import Dataset, DatasetError, ReadDataset, Sample, SampleQuestion
from workbench.datasets.cutouts import FETCHED, Split
from workbench.datasets.hub_stream import open_hub_stream
from workbench.datasets.own_folder import read_folder
from workbench.datasets.reason_seg import read_reason_seg
from workbench.datasets.refcoco_m import RefCocoM
from workbench.datasets.refer import SPLIT_SETS, read_grefcoco, read_refer
from workbench.datasets.scenes import Scene, scene, split_seeds
from workbench.datasets.semantic import read_ade20k, read_human_parsing, read_part_imagenet, read_pascal_part
from workbench.metrics.masks import Mask
from workbench.names import DATASET_NAMES, unknown_name

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


_SCENE_KINDS: Final[Mapping[str, SceneName]] = {name: name for name in get_args(SceneName)}
_READERS: Final[Mapping[str, Callable[[str, Path], Dataset]]] = MappingProxyType(
    {
        "grefcoco": read_grefcoco,
        "reasonseg": read_reason_seg,
        "refcoco-m": RefCocoM,
        "ade20k": read_ade20k,
        "pascal-part": read_pascal_part,
        "part-imagenet": read_part_imagenet,
        "human-parsing": read_human_parsing,
        "coco-panoptic": read_coco_panoptic,
    }
)


ABSENT_COUNTED: Final = frozenset({"grefcoco"})
"""Families whose benchmark counts expressions that name nothing in cIoU and gIoU."""


def counts_absent(name: str) -> bool:
    """Whether the benchmark of a data set counts expressions that name nothing in cIoU and gIoU."""
    return name.partition(":")[0] in ABSENT_COUNTED


def open_dataset(name: str, root: Path | None = None) -> Dataset:
    """Open a data set.

    Args:
        name: as in `DATASET_NAMES`, such as "refcoco:testA", "refcocog/google:val" or "folder:my-photos".
        root: folder of the data set's files, where it has files; see each reader for the layout.

    Raises:
        ConfigurationError: the name or the split is unknown.
        DatasetError: files are missing or laid out otherwise; the message has the path expected.
    """
    family, _, rest = name.partition(":")
    known = {each.partition(":")[0] for each in DATASET_NAMES}
    base, _, split_set = family.partition("/")
    if (
        base not in known
        or not rest
        or (split_set and base not in SPLIT_SETS)
        or (base in _SCENE_KINDS and name not in DATASET_NAMES)
    ):
        raise ConfigurationError(unknown_name("data set", name, DATASET_NAMES))
    if base in _SCENE_KINDS:
        return open_scenes(rest, _SCENE_KINDS[base], root or FETCHED)
    return _open_files(base, split_set, rest, root)


def _open_files(base: str, split_set: str, rest: str, root: Path | None) -> Dataset:
    if base == "coco":
        return read_coco_phrases(Path(rest), root)
    if base == "folder":
        return read_folder(Path(rest))
    if base == "hf":
        return open_hub_stream(rest, root)
    if root is None:
        raise DatasetError(f"{base}: expected the folder of its files, got none; give it with --root")
    if base in SPLIT_SETS:
        return read_refer(base, split_set, rest, root)
    return _READERS[base](rest, root)
