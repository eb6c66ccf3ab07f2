"""Parts of objects, asked as `[semantic] PART` over all instances: PASCAL-Part and PartImageNet.

Layouts below the root, as they are given out:
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

from workbench.datasets.coco_files import CocoFile, read_coco, segmentation_union
from workbench.datasets.coco_masks import is_drawable
from workbench.datasets.contract import SEMANTIC_PREFIX, DatasetError, ListedDataset, Sample, SampleQuestion
from workbench.datasets.layout import expected_file, expected_folder, image_reader, whole_number

KIND: Final = "semantic"


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
        samples.append(Sample(image_reader(images / image.file_name), questions, str(image.image_id)))
    return ListedDataset(name, split, tuple(samples))
