"""COCO panoptic: every pixel belongs to a segment of a class, asked as `[semantic] CLASS`.

Layout below the root, as it is given out: `annotations/panoptic_val2017.json`, the maps unpacked beside it in
`annotations/panoptic_val2017/`, images in `val2017/`.

Source: Kirillov et al., Panoptic Segmentation, arXiv:1801.00868, and its `panopticapi`: a segment's number is
R + 256 G + 65536 B of its pixels. Crowds belong to their class, as where it turns panoptic into semantic maps.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from evfsam.errors import EvfSamError
from evfsam.image_files import opened_picture
from workbench.datasets.contract import (
    SEMANTIC_PREFIX,
    DatasetError,
    Sample,
    SampleError,
    SampleQuestion,
    unreadable_sample,
)
from workbench.datasets.layout import (
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


class CocoPanoptic:
    """One split; maps are read as the questions are.

    Args:
        split: "val" or "train", with or without the year.
        root: see the module's layout.

    Raises:
        DatasetError: a file or folder is missing, or the annotations are something else.
    """

    name = _NAME

    def __init__(self, split: str, root: Path) -> None:
        self.split = split
        full = split if split.endswith("2017") else f"{split}2017"
        name = f"panoptic_{full}"
        path = expected_file(_NAME, root / "annotations" / f"{name}.json", root / f"{name}.json")
        self._maps = expected_folder(_NAME, path.with_suffix(""), root / name)
        if not any(self._maps.glob("*.png")):
            raise DatasetError(f"{_NAME}: expected maps NAME.png in {self._maps}, found none; unpack {name}.zip there")
        self._images = expected_folder(_NAME, root / full, root / "images" / full)
        content = read_json(_NAME, path)
        if not isinstance(content, dict):
            raise DatasetError(f"{_NAME}: expected COCO's panoptic format in {path}, got {type(content).__name__}")
        images = records(_NAME, path, content.get("images"), ("id", "file_name"))
        self._names = {
            number: plain_text(_NAME, each["file_name"], f"file_name of image {number} in {path}")
            for number, each in by_id(_NAME, path, images, "images").items()
        }
        categories = records(_NAME, path, content.get("categories"), ("id", "name"))
        self._classes = {
            number: _spoken(plain_text(_NAME, each["name"], f"name of category {number} in {path}"))
            for number, each in by_id(_NAME, path, categories, "categories").items()
        }
        annotated = records(_NAME, path, content.get("annotations"), ("image_id", "file_name", "segments_info"))
        self._annotations = [each for each in annotated if each["segments_info"]]

    def __len__(self) -> int:
        return len(self._annotations)

    def __iter__(self) -> Iterator[Sample]:
        return map(self._sample, self._annotations)

    def __getitem__(self, index: int) -> Sample:
        return self._sample(self._annotations[index])

    def _sample(self, annotation: Mapping[str, object]) -> Sample:
        sample_id = str(annotation["image_id"])
        try:
            image_id = whole_number(_NAME, annotation["image_id"], "image_id")
            path = self._maps / plain_text(_NAME, annotation["file_name"], f"file_name of the map of {sample_id}")
            segments = records(_NAME, path, annotation["segments_info"], ("id", "category_id"))
            of_class: dict[str, list[int]] = defaultdict(list)
            for each in segments:
                of_class[self._classes[whole_number(_NAME, each["category_id"], "category_id")]].append(
                    whole_number(_NAME, each["id"], "id of a segment")
                )
            image = image_reader(self._images / self._names[image_id])
        except (DatasetError, KeyError) as error:
            return unreadable_sample(sample_id, _KIND, f"expected an image and classes of the file's own, got {error}")
        questions = (
            SampleQuestion(f"{SEMANTIC_PREFIX}{name}", _KIND, partial(_pixels, path, tuple(numbers)))
            for name, numbers in of_class.items()
        )
        return Sample(image, tuple(questions), sample_id)


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
