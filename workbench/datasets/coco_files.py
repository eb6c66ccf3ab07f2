"""Files in COCO's format: as they are, with a caption or phrases at each annotation, and what other readers need."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workbench.datasets.coco_masks import union_mask
from workbench.datasets.contract import ABSENT, DatasetError, ListedDataset, Sample, SampleError, SampleQuestion
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
        DatasetError: it is missing or something else, such as one whose ids are no numbers or not unique.
    """
    content = read_json(name, expected_file(name, path))
    if not isinstance(content, dict):
        raise DatasetError(f"{name}: expected COCO's format in {path}, got {type(content).__name__}")
    images = records(name, path, content.get("images"), ("id", "file_name", "height", "width"))
    annotations = records(name, path, content.get("annotations"), ("id", "image_id"))
    categories = records(name, path, content.get("categories", []), ("id", "name"))
    of_image: dict[int, list[Mapping[str, object]]] = defaultdict(list)
    for annotation in annotations:
        of_image[whole_number(name, annotation["image_id"], f"image_id in {path}")].append(annotation)
    return CocoFile(
        images={
            number: _coco_image(name, path, number, each)
            for number, each in by_id(name, path, images, "images").items()
        },
        annotations=by_id(name, path, annotations, "annotations"),
        of_image=of_image,
        category_names={
            number: plain_text(name, each["name"], f"name of category {number} in {path}")
            for number, each in by_id(name, path, categories, "categories").items()
        },
    )


def segmentation_union(annotations: Sequence[Mapping[str, object]], size: tuple[int, int]) -> Mask:
    """(H, W) bool: pixels of any of these annotations.

    Raises:
        SampleError: a segmentation cannot be decoded.
    """
    return union_mask([_segmentation(each) for each in annotations], size)


def read_coco_phrases(path: Path, root: Path | None) -> ListedDataset:
    """Read any file in COCO's format whose annotations have a phrase, a caption, or lists of them.

    An annotation with an empty segmentation, and no box or area, names nothing; one without a segmentation, as captions
    and boxes alone have none, cannot be measured. `root` is the folder of the images; by default the file's.

    Raises:
        DatasetError: the file is missing or something else, no annotation has a phrase, or one with a phrase is of an
            image that the file lacks.
    """
    coco = read_coco("coco", path)
    folder = expected_folder("coco", root if root is not None else path.parent)
    by_image = {image_id: _questions(coco, path, image_id) for image_id in (*coco.images, *coco.of_image)}
    if not any(by_image.values()):
        raise DatasetError(
            f"coco: expected annotations with one of the fields {', '.join(PHRASE_FIELDS)} in {path}, found none"
        )
    lost = [image_id for image_id, questions in by_image.items() if questions and image_id not in coco.images]
    if lost:
        raise DatasetError(f"coco: expected image {lost[0]} among the images of {path}, found none; add its record")
    samples = (
        Sample(image_reader(folder / name), questions, str(image_id), name)
        for image_id, questions in by_image.items()
        if questions
        for name in (coco.images[image_id].file_name,)
    )
    return ListedDataset(f"coco:{path.name}", "all", tuple(samples))


def _questions(coco: CocoFile, path: Path, image_id: int) -> tuple[SampleQuestion, ...]:
    size = coco.images[image_id].size if image_id in coco.images else (0, 0)
    return tuple(
        SampleQuestion(phrase, kind, partial(segmentation_union, [annotation], size))
        for annotation in coco.of_image.get(image_id, ())
        for kind in (ABSENT if annotation.get("segmentation") == [] and not _has_extent(annotation) else "phrase",)
        for phrase in _phrases(annotation, path)
    )


def _segmentation(annotation: Mapping[str, object]) -> object:
    """What an annotation has as its mask.

    Raises:
        SampleError: it has none, or an empty one beside a box or an area.
    """
    found = annotation.get("segmentation")
    if found is None or (found == [] and _has_extent(annotation)):
        raise SampleError(
            f"expected a segmentation in annotation {annotation['id']}, got "
            f"{'a box or an area alone' if _has_extent(annotation) else 'none'}; only an empty list names nothing"
        )
    return found


def _has_extent(annotation: Mapping[str, object]) -> bool:
    """Whether an annotation says that something is there: a box or an area that is not 0, or cannot be read."""
    box = annotation.get("bbox")
    return bool(annotation.get("area")) or (any(box[2:]) if isinstance(box, list) else box is not None)


def _phrases(annotation: Mapping[str, object], path: Path) -> list[str]:
    found: list[object] = []
    for field in PHRASE_FIELDS:
        value = annotation.get(field)
        found += value if isinstance(value, list) else [] if value is None else [value]
    return [plain_text("coco", each, f"phrase of annotation {annotation['id']} in {path}") for each in found]


def _coco_image(name: str, path: Path, number: int, record: Mapping[str, object]) -> CocoImage:
    where = f"of image {number} in {path}"
    height, width = (whole_number(name, record[side], f"{side} {where}") for side in ("height", "width"))
    return CocoImage(number, plain_text(name, record["file_name"], f"file_name {where}"), (height, width))
