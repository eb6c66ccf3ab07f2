"""Files in COCO's format: as they are, with a caption or phrases at each annotation, and what other readers need."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from workbench.datasets.coco_masks import union_mask
from workbench.datasets.contract import ABSENT, DatasetError, ListedDataset, Question, Sample
from workbench.datasets.layout import expected_file, expected_folder, image_reader, read_json, records
from workbench.metrics.masks import Mask

PHRASE_FIELDS = ("phrases", "captions", "phrase", "caption")
"""Where an annotation may keep its phrases: a text or a list of texts."""


@dataclass(frozen=True, eq=False)
class CocoImage:
    """An image's record.

    Attributes:
        image_id: as in the file.
        file_name: path below the folder of images.
        size: (H, W).
    """

    image_id: int
    file_name: str
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class CocoFile:
    """What is read of a file in COCO's format.

    Attributes:
        images: by id, in the order of the file.
        annotations: by id.
        of_image: annotations of an image, in the order of the file, by the image's id.
        category_names: by id.
    """

    images: Mapping[int, CocoImage]
    annotations: Mapping[int, Mapping[str, object]]
    of_image: Mapping[int, Sequence[Mapping[str, object]]]
    category_names: Mapping[int, str]


def read_coco(name: str, path: Path) -> CocoFile:
    """Read a file in COCO's format.

    Raises:
        DatasetError: it is missing or something else.
    """
    content = read_json(name, expected_file(name, path))
    if not isinstance(content, dict):
        raise DatasetError(f"{name}: expected COCO's format in {path}, got {type(content).__name__}")
    images = records(name, path, content.get("images"), ("id", "file_name", "height", "width"))
    annotations = records(name, path, content.get("annotations"), ("id", "image_id"))
    categories = records(name, path, content.get("categories", []), ("id", "name"))
    of_image: dict[int, list[Mapping[str, object]]] = defaultdict(list)
    for annotation in annotations:
        of_image[_number(annotation["image_id"])].append(annotation)
    return CocoFile(
        images={_number(each["id"]): _coco_image(each) for each in images},
        annotations={_number(each["id"]): each for each in annotations},
        of_image=of_image,
        category_names={_number(each["id"]): str(each["name"]) for each in categories},
    )


def segmentation_union(annotations: Sequence[Mapping[str, object]], size: tuple[int, int]) -> Mask:
    """(H, W) bool: pixels of any of these annotations.

    Raises:
        SampleError: a segmentation cannot be decoded.
    """
    return union_mask([each.get("segmentation", []) for each in annotations], size)


def read_coco_phrases(path: Path, root: Path | None) -> ListedDataset:
    """Read any file in COCO's format whose annotations have a phrase, a caption, or lists of them.

    An annotation with an empty segmentation names nothing. `root` is the folder of the images; by default the file's.

    Raises:
        DatasetError: the file is missing or something else, or no annotation has a phrase.
    """
    coco = read_coco("coco", path)
    folder = expected_folder("coco", root if root is not None else path.parent)
    samples = []
    for image in coco.images.values():
        questions = tuple(
            Question(phrase, kind, partial(segmentation_union, [annotation], image.size))
            for annotation in coco.of_image.get(image.image_id, ())
            for kind in ("phrase" if annotation.get("segmentation") else ABSENT,)
            for phrase in _phrases(annotation)
        )
        if questions:
            samples.append(Sample(image_reader(folder / image.file_name), questions, str(image.image_id)))
    if not samples:
        raise DatasetError(
            f"coco: expected annotations with one of the fields {', '.join(PHRASE_FIELDS)} in {path}, found none"
        )
    return ListedDataset(f"coco:{path.name}", "all", tuple(samples))


def nothing(size: tuple[int, int]) -> Mask:
    """(H, W) bool: the mask of what is not there."""
    return np.zeros(size, dtype=np.bool_)


def _phrases(annotation: Mapping[str, object]) -> list[str]:
    found: list[str] = []
    for field in PHRASE_FIELDS:
        value = annotation.get(field)
        found += [value] if isinstance(value, str) else [str(each) for each in cast(list[object], value or [])]
    return found


def _coco_image(record: Mapping[str, object]) -> CocoImage:
    return CocoImage(
        _number(record["id"]), str(record["file_name"]), (_number(record["height"]), _number(record["width"]))
    )


def _number(value: object) -> int:
    if not isinstance(value, int | float | str):
        raise DatasetError(f"expected a number in COCO's format, got {type(value).__name__}")
    return int(value)
