"""COCO panoptic: every pixel belongs to a segment of a class, asked as `[semantic] CLASS`.

Layout below the root, as it is given out: `annotations/panoptic_val2017.json`, the maps unpacked beside it in
`annotations/panoptic_val2017/`, images in `val2017/`.

Source: Kirillov et al., Panoptic Segmentation, arXiv:1801.00868, and its `panopticapi`: a segment's number is
R + 256 G + 65536 B of its pixels. Crowds belong to their class, as where it turns panoptic into semantic maps.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from evfsam.errors import EvfSamError
from evfsam.image_files import opened_picture
from workbench.datasets.contract import (
    SEMANTIC_PREFIX,
    DatasetError,
    ReadDataset,
    Sample,
    SampleError,
    SampleQuestion,
    unreadable_sample,
)
from workbench.datasets.dataset_files import (
    by_id,
    expected_file,
    expected_folder,
    image_reader,
    plain_text,
    read_json,
    records,
    whole_number,
)
from workbench.metrics.masks import Mask

_NAME: Final = "coco-panoptic"
_KIND: Final = "semantic"
_ADDED_TO_NAMES: Final = ("-other", "-merged", "-stuff")
"""Parts of names such as "floor-other-merged" that say how the classes were drawn up, and nobody would."""


@dataclass(frozen=True, eq=False)
class _Files:
    """Folders of a split, file names by image, and names by class."""

    maps: Path
    images: Path
    file_names: Mapping[int, str]
    class_names: Mapping[int, str]


def read_coco_panoptic(split: str, root: Path) -> ReadDataset[Mapping[str, object]]:
    """Read one split; maps are read as the questions are.

    Args:
        split: "val" or "train", with or without the year.
        root: see the module's layout.

    Raises:
        DatasetError: a file or folder is missing, or the annotations are something else.
    """
    full = split if split.endswith("2017") else f"{split}2017"
    name = f"panoptic_{full}"
    path = expected_file(_NAME, root / "annotations" / f"{name}.json", root / f"{name}.json")
    maps = expected_folder(_NAME, path.with_suffix(""), root / name)
    if not any(maps.glob("*.png")):
        raise DatasetError(f"{_NAME}: expected maps NAME.png in {maps}, found none; unpack {name}.zip there")
    content = read_json(_NAME, path)
    if not isinstance(content, dict):
        raise DatasetError(f"{_NAME}: expected COCO's panoptic format in {path}, got {type(content).__name__}")
    images = records(_NAME, path, content.get("images"), ("id", "file_name"))
    file_names = {
        number: plain_text(_NAME, each["file_name"], f"file_name of image {number} in {path}")
        for number, each in by_id(_NAME, path, images, "images").items()
    }
    categories = records(_NAME, path, content.get("categories"), ("id", "name"))
    class_names = {
        number: _spoken(plain_text(_NAME, each["name"], f"name of category {number} in {path}"))
        for number, each in by_id(_NAME, path, categories, "categories").items()
    }
    files = _Files(maps, expected_folder(_NAME, root / full, root / "images" / full), file_names, class_names)
    annotated = records(_NAME, path, content.get("annotations"), ("image_id", "file_name", "segments_info"))
    annotations = [each for each in annotated if each["segments_info"]]
    return ReadDataset(_NAME, split, annotations, partial(_sample, files=files))


def _sample(annotation: Mapping[str, object], files: _Files) -> Sample:
    sample_id = str(annotation["image_id"])
    try:
        image_id = whole_number(_NAME, annotation["image_id"], "image_id")
        path = files.maps / plain_text(_NAME, annotation["file_name"], f"file_name of the map of {sample_id}")
        segments = records(_NAME, path, annotation["segments_info"], ("id", "category_id"))
        of_class: dict[str, list[int]] = defaultdict(list)
        for each in segments:
            of_class[files.class_names[whole_number(_NAME, each["category_id"], "category_id")]].append(
                whole_number(_NAME, each["id"], "id of a segment")
            )
        image_name = files.file_names[image_id]
    except (DatasetError, KeyError) as error:
        return unreadable_sample(sample_id, _KIND, f"expected an image and classes of the file's own, got {error}")
    questions = (
        SampleQuestion(f"{SEMANTIC_PREFIX}{name}", _KIND, partial(_pixels, path, tuple(numbers)))
        for name, numbers in of_class.items()
    )
    return Sample(image_reader(files.images / image_name), tuple(questions), sample_id, image_name)


def _spoken(name: str) -> str:
    for added in _ADDED_TO_NAMES:
        name = name.replace(added, "")
    return name.replace("-", " ").strip()


def _pixels(path: Path, numbers: tuple[int, ...]) -> Mask:
    try:
        with opened_picture(path) as picture:
            colours = np.asarray(picture.convert("RGB")).astype(np.int32)
    except EvfSamError as error:
        raise SampleError(f"cannot read the map {path}: {error}") from error
    mask: Mask = np.isin(colours @ np.array([1, 256, 65536], dtype=np.int32), numbers)
    return mask
