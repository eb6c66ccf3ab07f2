"""Classes and parts of objects, asked as `[semantic] NAME` over all instances.

Layouts below the root, as they are given out:
    ADE20K: objectInfo150.txt, images/SPLIT/*.jpg, annotations/SPLIT/*.png (0 is nothing, n the n-th class)
    HumanParsing: JPEGImages/*.jpg, SegmentationClassAug/*.png; it has no splits
    PASCAL-Part: SPLIT.json, VOCdevkit/VOC2010/JPEGImages/*.jpg; classes such as "bird:wing"
    PartImageNet: annotations/SPLIT/SPLIT.json, images/SPLIT/*.JPEG; classes such as "Quadruped Head"

A few annotations of PartImageNet have no polygon of three points, which COCO's tools refuse. They are left out, as
users of the data set leave them out, and a part that nothing else marks is not asked.

Source: EVF-SAM, arXiv:2406.20076, section 4.1, whose multi-task training asks them so.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from workbench.datasets.coco_files import CocoFile, read_coco, segmentation_union
from workbench.datasets.coco_masks import is_drawable
from workbench.datasets.contract import (
    SEMANTIC_PREFIX,
    DatasetError,
    ListedDataset,
    ReadDataset,
    Sample,
    SampleError,
    SampleQuestion,
    unreadable_sample,
)
from workbench.datasets.dataset_files import (
    expected_file,
    expected_folder,
    files_in,
    image_reader,
    label_reader,
    read_text,
    whole_number,
)
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


def read_pascal_part(split: str, root: Path) -> ListedDataset:
    """Read one split, such as "train" or "val".

    Raises:
        DatasetError: a file is missing or something else.
    """
    name = "pascal-part"
    path = expected_file(name, root / f"{split}.json", root / "vlpart/pascal_part" / f"{split}.json")
    images = expected_folder(name, path.parent / "VOCdevkit/VOC2010/JPEGImages")
    return _merged(name, split, read_coco(name, path), images, lambda part: part.replace(":", " "))


def read_part_imagenet(split: str, root: Path) -> ListedDataset:
    """Read one split: "train", "val" or "test".

    Raises:
        DatasetError: a file is missing or something else.
    """
    name = "part-imagenet"
    places = [each / "annotations" / below for each in (root, root / "PartImageNet") for below in (split, ".")]
    path = expected_file(name, *(place / f"{split}.json" for place in places))
    base = next(each for each in path.parents if each.name == "annotations").parent
    images = expected_folder(name, base / "images" / split)
    return _merged(name, split, read_coco(name, path), images, str.lower)


def _merged(name: str, split: str, coco: CocoFile, images: Path, worded: Callable[[str], str]) -> ListedDataset:
    samples = []
    for image in coco.images.values():
        of_part: dict[int, list[Mapping[str, object]]] = defaultdict(list)
        for annotation in coco.of_image.get(image.image_id, ()):
            if is_drawable(annotation.get("segmentation")):
                of_part[whole_number(name, annotation.get("category_id"), "category_id")].append(annotation)
        unknown = [part for part in of_part if part not in coco.category_names]
        if unknown:
            raise DatasetError(f"{name}: expected category {unknown[0]} among the categories of {split}, found none")
        questions = tuple(
            SampleQuestion(
                SEMANTIC_PREFIX + worded(coco.category_names[part]),
                KIND,
                partial(segmentation_union, annotations, image.size),
            )
            for part, annotations in sorted(of_part.items())
        )
        samples.append(Sample(image_reader(images / image.file_name), questions, str(image.image_id), image.file_name))
    return ListedDataset(name, split, tuple(samples))


def read_ade20k(split: str, root: Path) -> ReadDataset[Path]:
    """Read "training" or "validation" of ADE20K's 150 classes; the first of a class's names is asked.

    Raises:
        DatasetError: a file or folder is missing, or the list of classes is something else.
    """
    listing = expected_file("ade20k", root / "objectInfo150.txt", root / "ADEChallengeData2016/objectInfo150.txt")
    lines = [line.split("\t") for line in read_text("ade20k", listing).splitlines()[1:]]
    lines = [line for line in lines if line != [""]]
    if not lines or not all(len(line) >= 5 and line[0].strip().isdecimal() for line in lines):
        raise DatasetError(f"ade20k: expected lines of Idx, Ratio, Train, Val, Name with tabs in {listing}")
    names = {int(line[0]): line[-1].split(",")[0].strip() for line in lines}
    images = expected_folder("ade20k", listing.parent / "images" / split)
    maps = expected_folder("ade20k", listing.parent / "annotations" / split)
    return _label_maps("ade20k", split, images, maps, names)


def read_human_parsing(split: str, root: Path) -> ReadDataset[Path]:
    """Read HumanParsing, background included; `split` is "all".

    Raises:
        DatasetError: a folder is missing, or another split is wanted.
    """
    if split != "all":
        raise DatasetError(f"human-parsing: expected the split all, since the data set has no other, got {split}")
    images = expected_folder("human-parsing", root / "JPEGImages", root / "humanparsing" / "JPEGImages")
    maps = expected_folder("human-parsing", images.with_name("SegmentationClassAug"))
    return _label_maps("human-parsing", split, images, maps, dict(enumerate(HUMAN_PARTS)))


def _label_maps(name: str, split: str, images: Path, maps: Path, class_names: Mapping[int, str]) -> ReadDataset[Path]:
    """Open folders with files of the same names, NAME.jpg and NAME.png; labels without a name are never asked about."""
    files = files_in(maps, [".png"])
    if not files:
        raise DatasetError(f"{name}: expected label maps NAME.png in {maps}, found none")
    return ReadDataset(name, split, files, partial(_sample, images=images, class_names=class_names))


def _sample(path: Path, images: Path, class_names: Mapping[int, str]) -> Sample:
    image = image_reader(images / f"{path.stem}.jpg")
    try:
        present = np.unique(label_reader(path)).tolist()
    except SampleError as error:
        return unreadable_sample(path.stem, KIND, str(error))
    named = [(label, class_names[label]) for label in present if label in class_names]
    questions = (
        SampleQuestion(f"{SEMANTIC_PREFIX}{name}", KIND, partial(_pixels, path, label)) for label, name in named
    )
    return Sample(image, tuple(questions), path.stem)


def _pixels(path: Path, label: int) -> Mask:
    mask: Mask = label_reader(path) == label
    return mask
