"""RefCOCO, RefCOCO+, RefCOCOg, RefCLEF and gRefCOCO as their authors gave them out: references and `instances.json`.

Layout below the root, that of the refer toolkit:
    refcoco/refs(unc).p, refcoco/instances.json (also refcoco+, refcocog, refclef)
    grefcoco/grefs(unc).json, grefcoco/instances.json: expressions that name one object, several, or none
    images/mscoco/images/train2014/*.jpg; images/saiapr_tc-12/ for RefCLEF

Source: Yu et al., Modeling Context in Referring Expressions, arXiv:1608.00272; splits: UNC and UMD for the papers here.
"""

import io
import pickle
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn

from evfsam.errors import ConfigurationError
from workbench.datasets.coco_files import CocoFile, CocoImage, read_coco, segmentation_union
from workbench.datasets.coco_masks import empty_mask, summed_mask
from workbench.datasets.contract import ABSENT, DatasetError, ListedDataset, Sample, SampleError, SampleQuestion
from workbench.datasets.dataset_files import (
    expected_file,
    expected_folder,
    image_reader,
    plain_text,
    read_json,
    records,
    whole_number,
)
from workbench.metrics.masks import ReferenceMask

KIND: Final = "referring"

SPLIT_SETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "refcoco": ("unc", "google"),
        "refcoco+": ("unc",),
        "refcocog": ("umd", "google"),
        "refclef": ("unc", "berkeley"),
    }
)
"""Who split each data set; the first is used where none is named."""

SPLITS: Final = ("train", "val", "test", "testA", "testB", "testC")
_GREF: Final = "grefcoco"
_GREF_SPLITS: Final = ("train", "val", "testA", "testB")
_NO_TARGET_ID: Final = -1


def read_refer(name: str, split_set: str, split: str, root: Path) -> ListedDataset:
    """Read one split.

    Args:
        name: "refcoco", "refcoco+", "refcocog" or "refclef".
        split_set: "unc", "google", "umd" or "berkeley"; "" for the first of `SPLIT_SETS`.
        split: out of `SPLITS`.
        root: see the module's layout.

    Raises:
        ConfigurationError: there is no such split.
        DatasetError: a file is missing or damaged.
    """
    split_set = split_set or SPLIT_SETS[name][0]
    if split_set not in SPLIT_SETS[name] or split not in SPLITS:
        raise ConfigurationError(
            f"{name}: expected splits by {' or '.join(SPLIT_SETS[name])} and one of {', '.join(SPLITS)}, "
            f"got {split_set} and {split}"
        )
    folder = expected_folder(name, root / name)
    path = expected_file(name, folder / f"refs({split_set}).p")
    refs = records(name, path, read_plain_pickle(name, path), ("image_id", "ann_id", "split", "sentences"))
    coco = read_coco(name, folder / "instances.json")
    images = refclef_images(root) if name == "refclef" else coco_train_images(name, root)
    by_image: dict[int, list[SampleQuestion]] = defaultdict(list)
    for ref in refs:
        if _is_in_split(str(ref["split"]), split):
            image = _image_of(name, coco, ref, path)
            by_image[image.image_id] += _questions(name, coco, image, ref)
    return ListedDataset(f"{name}/{split_set}", split, _samples(name, split, path, images, coco, by_image))


def read_grefcoco(split: str, root: Path) -> ListedDataset:
    """Read one split of gRefCOCO; kinds are "single", "several" and "absent".

    As in its authors' `grefer.py`, a mask is the union of the named objects without crowd regions.

    Raises:
        ConfigurationError: there is no such split.
        DatasetError: a file is missing or damaged.

    Source: Liu et al., GRES, arXiv:2306.00968.
    """
    if split not in _GREF_SPLITS:
        raise ConfigurationError(f"{_GREF}: expected a split out of {', '.join(_GREF_SPLITS)}, got {split}")
    folder = expected_folder(_GREF, root / _GREF)
    path = expected_file(_GREF, folder / "grefs(unc).json", folder / "annotations" / "grefs(unc).json")
    refs = records(_GREF, path, read_json(_GREF, path), ("image_id", "ann_id", "split", "sentences"))
    coco = read_coco(_GREF, path.with_name("instances.json"))
    images = coco_train_images(_GREF, root)
    by_image: dict[int, list[SampleQuestion]] = defaultdict(list)
    for ref in refs:
        if ref["split"] == split:
            image = _image_of(_GREF, coco, ref, path)
            by_image[image.image_id] += _gref_questions(coco, image, ref)
    return ListedDataset(_GREF, split, _samples(_GREF, split, path, images, coco, by_image))


def _samples(
    name: str,
    split: str,
    path: Path,
    images: Path,
    coco: CocoFile,
    by_image: Mapping[int, Sequence[SampleQuestion]],
) -> tuple[Sample, ...]:
    """Put the questions to their images, in the order of the images' numbers."""
    if not by_image:
        raise DatasetError(f"{name}: expected expressions of the split {split} in {path}, found none")
    return tuple(
        Sample(image_reader(images / name), tuple(questions), str(image_id), name)
        for image_id, questions in sorted(by_image.items())
        for name in (coco.images[image_id].file_name,)
    )


def coco_train_images(name: str, root: Path) -> Path:
    """Return the folder of COCO's train2014 images.

    Raises:
        DatasetError: there is none.
    """
    return expected_folder(name, root / "images/mscoco/images/train2014", root / "images/train2014")


def refclef_images(root: Path) -> Path:
    """Return the folder of RefCLEF's images.

    Raises:
        DatasetError: there is none.
    """
    return expected_folder("refclef", root / "images/saiapr_tc-12")


def sentences(name: str, ref: Mapping[str, object]) -> list[str]:
    """Return the phrases of a reference as they are asked when measuring: stripped and in lower case.

    Raises:
        DatasetError: they are not where they were expected.
    """
    found = ref["sentences"]
    if not isinstance(found, list) or not all(isinstance(each, dict) and "sent" in each for each in found):
        raise DatasetError(f"{name}: expected sentences with the field sent, got {found!r}")
    return [plain_text(name, each["sent"], "sent").strip().lower() for each in found]


def _questions(name: str, coco: CocoFile, image: CocoImage, ref: Mapping[str, object]) -> list[SampleQuestion]:
    annotation = coco.annotations.get(whole_number(name, ref["ann_id"], "ann_id"), {})
    reference = partial(_reference, annotation.get("segmentation"), ref["ann_id"], image.size)
    return [SampleQuestion(sentence, KIND, reference) for sentence in sentences(name, ref)]


def _gref_questions(coco: CocoFile, image: CocoImage, ref: Mapping[str, object]) -> list[SampleQuestion]:
    named = ref["ann_id"] if isinstance(ref["ann_id"], list) else [ref["ann_id"]]
    numbers = [_NO_TARGET_ID if each in (-1, "-1") else whole_number(_GREF, each, "ann_id") for each in named]
    ids = [each for each in numbers if each != _NO_TARGET_ID]
    missing = [each for each in ids if each not in coco.annotations]
    if missing:
        raise DatasetError(f"{_GREF}: expected annotation {missing[0]} in instances.json, found none")
    if not ids:
        return [SampleQuestion(sentence, ABSENT, partial(empty_mask, image.size)) for sentence in sentences(_GREF, ref)]
    objects = [coco.annotations[each] for each in ids if not coco.annotations[each].get("iscrowd")]
    reference = partial(segmentation_union, objects, image.size)
    kind = "single" if len(ids) == 1 else "several"
    return [SampleQuestion(sentence, kind, reference) for sentence in sentences(_GREF, ref)]


def _reference(segmentation: object, annotation_id: object, size: tuple[int, int]) -> ReferenceMask:
    """Decode the mask of an annotation; an empty list is an empty mask, and none is none.

    Raises:
        SampleError: it cannot be decoded, or is not there.
    """
    if segmentation is None:
        raise SampleError(
            f"expected annotation {annotation_id} with a segmentation in instances.json, found none; take it and the "
            "references from one release"
        )
    return empty_mask(size) if segmentation == [] else summed_mask(segmentation, size)


def _image_of(name: str, coco: CocoFile, ref: Mapping[str, object], path: Path) -> CocoImage:
    image = coco.images.get(whole_number(name, ref["image_id"], f"image_id in {path}"))
    if image is None:
        raise DatasetError(
            f"{name}: {path} refers to image {ref['image_id']}, which instances.json does not have; "
            "take both from one release"
        )
    return image


def _is_in_split(of_ref: str, split: str) -> bool:
    """Whether a reference belongs to a split, by the toolkit's rule: RefCLEF marks some as of several ("testAB")."""
    if split.startswith("test") and split != "test":
        return of_ref.startswith("test") and split[-1] in of_ref[4:]
    return "test" in of_ref if split == "test" else of_ref == split


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, tuples, sets, dictionaries, strings, numbers and None; any other thing is refused.

    A pickle is a program: it may name any function and have it called. These annotations need none of that, so every
    name is refused before anything is looked up.
    """

    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which plain data does not need")

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError(f"it refers to the outside object {pid!r}")


def read_plain_pickle(name: str, path: Path) -> object:
    """Read a pickle of containers, strings and numbers, of Python 2 or 3.

    Args:
        name: of the data set, for messages.
        path: the file.

    Raises:
        DatasetError: it is damaged, cannot be read, or holds anything else; nothing of it was run.
    """
    try:
        packed = path.read_bytes()
        try:  # Python 2 wrote text as bytes, and did not say which; UTF-8 is told by its bytes, Latin-1 reads any
            content: object = _PlainUnpickler(io.BytesIO(packed), encoding="utf-8").load()
        except UnicodeDecodeError:
            content = _PlainUnpickler(io.BytesIO(packed), encoding="latin-1").load()
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise DatasetError(f"{name}: expected plain data in {path}, got {reason}; fetch the file again") from error
    return content
