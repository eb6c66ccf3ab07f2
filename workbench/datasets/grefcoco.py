"""gRefCOCO: expressions that name one object, several, or none: `grefcoco/grefs(unc).json` and `instances.json`.

Images as for RefCOCO, below the same root. As in its authors' `grefer.py`, a mask is the union of the named objects
without crowd regions. Source: Liu et al., GRES, arXiv:2306.00968.
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from evfsam.errors import ConfigurationError
from workbench.datasets.coco_files import CocoFile, CocoImage, read_coco, segmentation_union
from workbench.datasets.coco_masks import empty_mask
from workbench.datasets.contract import ABSENT, DatasetError, ListedDataset, Sample, SampleQuestion
from workbench.datasets.layout import expected_file, expected_folder, image_reader, read_json, records, whole_number
from workbench.datasets.refer import coco_train_images, sentences

_NAME: Final = "grefcoco"
_NO_TARGET_ID: Final = -1
SPLITS: Final = ("train", "val", "testA", "testB")


def read_grefcoco(split: str, root: Path) -> ListedDataset:
    """Read one split; kinds are "single", "several" and "absent".

    Raises:
        ConfigurationError: there is no such split.
        DatasetError: a file is missing or damaged.
    """
    if split not in SPLITS:
        raise ConfigurationError(f"{_NAME}: expected a split out of {', '.join(SPLITS)}, got {split}")
    folder = expected_folder(_NAME, root / _NAME)
    path = expected_file(_NAME, folder / "grefs(unc).json", folder / "annotations" / "grefs(unc).json")
    refs = records(_NAME, path, read_json(_NAME, path), ("image_id", "ann_id", "split", "sentences"))
    coco = read_coco(_NAME, path.with_name("instances.json"))
    images = coco_train_images(_NAME, root)
    by_image: dict[int, list[SampleQuestion]] = defaultdict(list)
    for ref in refs:
        if ref["split"] == split:
            image = coco.images.get(whole_number(_NAME, ref["image_id"], f"image_id in {path}"))
            if image is None:
                raise DatasetError(f"{_NAME}: {path} refers to image {ref['image_id']}, which instances.json lacks")
            by_image[image.image_id] += _questions(coco, image, ref)
    if not by_image:
        raise DatasetError(f"{_NAME}: expected expressions of the split {split} in {path}, found none")
    samples = (
        Sample(image_reader(images / coco.images[image_id].file_name), tuple(questions), str(image_id))
        for image_id, questions in sorted(by_image.items())
    )
    return ListedDataset(_NAME, split, tuple(samples))


def _questions(coco: CocoFile, image: CocoImage, ref: Mapping[str, object]) -> list[SampleQuestion]:
    named = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
    numbers = [_NO_TARGET_ID if each in (-1, "-1") else whole_number(_NAME, each, "ann_id") for each in named]
    ids = [each for each in numbers if each != _NO_TARGET_ID]
    missing = [each for each in ids if each not in coco.annotations]
    if missing:
        raise DatasetError(f"{_NAME}: expected annotation {missing[0]} in instances.json, found none")
    if not ids:
        return [SampleQuestion(sentence, ABSENT, partial(empty_mask, image.size)) for sentence in sentences(_NAME, ref)]
    objects = [coco.annotations[each] for each in ids if not coco.annotations[each].get("iscrowd")]
    reference = partial(segmentation_union, objects, image.size)
    kind = "single" if len(ids) == 1 else "several"
    return [SampleQuestion(sentence, kind, reference) for sentence in sentences(_NAME, ref)]
