"""Data sets that label every pixel with a class, asked as `[semantic] CLASS`: ADE20K and HumanParsing.

Layouts below the root, as they are given out:
    ADE20K: objectInfo150.txt, images/SPLIT/*.jpg, annotations/SPLIT/*.png (0 is nothing, n the n-th class)
    HumanParsing: JPEGImages/*.jpg, SegmentationClassAug/*.png; it has no splits

Source: EVF-SAM, arXiv:2406.20076, section 4.1, whose multi-task training asks them so.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from workbench.datasets.contract import (
    SEMANTIC_PREFIX,
    DatasetError,
    Sample,
    SampleError,
    SampleQuestion,
    unreadable_sample,
)
from workbench.datasets.layout import expected_file, expected_folder, files_in, image_reader, label_reader, read_text
from workbench.metrics.masks import Mask

KIND: Final = "semantic"

HUMAN_PARTS: Final = (
    "background",
    "hat",
    "hair",
    "sunglasses",
    "upper clothes",
    "skirt",
    "pants",
    "dress",
    "belt",
    "right shoe",
    "left shoe",
    "face",
    "right leg",
    "left leg",
    "right arm",
    "left arm",
    "bag",
    "scarf",
)
"""By label. Left and right are the viewer's, as in referring expressions; the data set's own are the person's."""


class LabelMaps:
    """One split; label maps are read as the questions are.

    Args:
        name, split: see `Dataset`.
        images, maps: folders with files of the same names, NAME.jpg and NAME.png.
        class_names: by label; other labels are asked about by nobody.

    Raises:
        DatasetError: there is no label map.
    """

    def __init__(self, name: str, split: str, images: Path, maps: Path, class_names: Mapping[int, str]) -> None:
        self.name = name
        self.split = split
        self._images = images
        self._class_names = class_names
        self._maps = files_in(maps, [".png"])
        if not self._maps:
            raise DatasetError(f"{name}: expected label maps NAME.png in {maps}, found none")

    def __len__(self) -> int:
        return len(self._maps)

    def __iter__(self) -> Iterator[Sample]:
        return map(self._sample, self._maps)

    def __getitem__(self, index: int) -> Sample:
        return self._sample(self._maps[index])

    def _sample(self, path: Path) -> Sample:
        image = image_reader(self._images / f"{path.stem}.jpg")
        try:
            present = np.unique(label_reader(path)).tolist()
        except SampleError as error:
            return unreadable_sample(path.stem, KIND, str(error))
        named = [(label, self._class_names[label]) for label in present if label in self._class_names]
        questions = (
            SampleQuestion(f"{SEMANTIC_PREFIX}{name}", KIND, partial(_pixels, path, label)) for label, name in named
        )
        return Sample(image, tuple(questions), path.stem)


def read_ade20k(split: str, root: Path) -> LabelMaps:
    """Read "training" or "validation" of ADE20K's 150 classes; the first of a class's names is asked.

    Raises:
        DatasetError: a file or folder is missing, or the list of classes is something else.
    """
    listing = expected_file("ade20k", root / "objectInfo150.txt", root / "ADEChallengeData2016/objectInfo150.txt")
    lines = [line.split("\t") for line in read_text("ade20k", listing).splitlines()[1:]]
    lines = [line for line in lines if line != [""]]
    if not lines or not all(len(line) >= 5 and line[0].strip().isdigit() for line in lines):
        raise DatasetError(f"ade20k: expected lines of Idx, Ratio, Train, Val, Name with tabs in {listing}")
    names = {int(line[0]): line[-1].split(",")[0].strip() for line in lines}
    images = expected_folder("ade20k", listing.parent / "images" / split)
    maps = expected_folder("ade20k", listing.parent / "annotations" / split)
    return LabelMaps("ade20k", split, images, maps, names)


def read_human_parsing(split: str, root: Path) -> LabelMaps:
    """Read HumanParsing, background included; `split` is "all".

    Raises:
        DatasetError: a folder is missing, or another split is wanted.
    """
    if split != "all":
        raise DatasetError(f"human-parsing: expected the split all, since the data set has no other, got {split}")
    images = expected_folder("human-parsing", root / "JPEGImages", root / "humanparsing" / "JPEGImages")
    maps = expected_folder("human-parsing", images.with_name("SegmentationClassAug"))
    return LabelMaps("human-parsing", split, images, maps, dict(enumerate(HUMAN_PARTS)))


def _pixels(path: Path, label: int) -> Mask:
    mask: Mask = label_reader(path) == label
    return mask
