"""Data sets of the Hugging Face Hub, or in a folder of its layout, read row by row as they arrive.

A row has an image, phrases and a mask: a column each by one of the names below. A mask is a picture of any sensible
form, COCO's notation, or rows of 0 and 1; null or an empty list names nothing. A row is a sample by itself, and rows of
one image share its id where a column tells it. Nothing is stored beyond the row at hand, and no code of a repository is
run. Reading them needs the package datasets, and nothing else does.
"""

import io
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from evfsam.errors import EvfSamError
from evfsam.preprocess import load_image
from evfsam.types import RgbImage
from workbench.analysis.reference_masks import read_reference
from workbench.datasets.coco_masks import empty_mask, union_mask
from workbench.datasets.contract import ABSENT, DatasetError, Sample, SampleError, SampleQuestion, unreadable_sample
from workbench.datasets.dataset_files import plain_text
from workbench.metrics.masks import ReferenceMask

_NAME: Final = "hf"
_KIND: Final = "phrase"
_IMAGES: Final = ("image", "img")
_TEXTS: Final = tuple(
    form for word in ("phrase", "expression", "sentence", "caption", "text") for form in (f"{word}s", word)
)
_MASKS: Final = ("mask", "masks", "segmentation", "annotation", "label")
_IDS: Final = ("image_id", "file_name", "id", "question_id")
"""The image's own first: figures are sure over images, and rows that share one are about one."""


class HubStream:
    """One split.

    Args:
        place: a Hub id, or a folder with files that `datasets.load_dataset` reads, such as Parquet.
        split: as the repository calls it.

    Raises:
        DatasetError: the package is missing, the data cannot be opened, or a column is.
    """

    def __init__(self, place: str, split: str) -> None:
        self.name, self.split = f"{_NAME}:{place}", split
        try:
            self._package: Any = import_module("datasets")
        except ImportError as error:
            raise DatasetError(f"{_NAME}: needs the package datasets, not found; run pip install datasets") from error
        try:
            self._rows: Any = self._package.load_dataset(place, split=split, streaming=True)
            known = self._rows.column_names or list(next(iter(self._rows), {}))
        except Exception as error:  # readers of many formats and the client's transport raise nearly anything
            raise self._unreadable(error) from error
        self._image, self._phrases, self._mask = (self._column(known, wanted) for wanted in (_IMAGES, _TEXTS, _MASKS))
        self._id = next((each for each in _IDS if each in known), None)
        for column in (self._image, self._mask):
            if self._is_picture(column):
                self._rows = self._rows.cast_column(column, self._package.Image(decode=False))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Sample]:
        for index, row in enumerate(self._arriving(self._rows)):
            told = row[self._id] if self._id else index
            yield self._sample(f"row {index}" if told is None else str(told), row)

    @cached_property
    def _length(self) -> int:
        told = (self._rows.info.splits or {}).get(self.split)
        if told is not None and told.num_examples:
            return int(told.num_examples)
        return sum(1 for _ in self._arriving(self._rows.select_columns([self._phrases])))

    def _arriving(self, rows: Any) -> Iterator[Mapping[str, Any]]:
        """Yield rows as they come; one that does not is told as what cannot be opened."""
        count = 0
        try:
            for row in rows:
                yield row
                count += 1
        except Exception as error:  # as above
            raise self._unreadable(error, f" after {count} rows") from error

    def _unreadable(self, error: Exception, place: str = "") -> DatasetError:
        said = " ".join(str(error).split()) or type(error).__name__
        return DatasetError(
            f"{self.name}: cannot read the split {self.split}{place}: {said}; check the connection and the files, and "
            "run the same command again"
        )

    def _column(self, known: list[str], wanted: tuple[str, ...]) -> str:
        found = next((each for each in wanted if each in known), None)
        if found is None:
            raise DatasetError(
                f"{self.name}: expected a column {', '.join(wanted[:-1])} or {wanted[-1]}, found {', '.join(known)}; "
                "rename one with datasets"
            )
        return found

    def _is_picture(self, column: str) -> bool:
        features = self._rows.features
        return features is not None and isinstance(features.get(column), self._package.Image)

    def _sample(self, sample_id: str, row: Mapping[str, Any]) -> Sample:
        given = row[self._phrases]
        try:
            phrases = [
                plain_text(self.name, each, f"phrase of {sample_id}").strip()
                for each in (given if isinstance(given, list) else [given])
            ]
        except DatasetError as error:
            return unreadable_sample(sample_id, _KIND, str(error))
        mask = row[self._mask]
        kind = ABSENT if _is_nothing(mask) else _KIND
        image = partial(_decoded_image, row[self._image], sample_id)
        reference = partial(_decoded_mask, mask, row[self._image], sample_id)
        return Sample(image, tuple(SampleQuestion(each, kind, reference) for each in phrases), sample_id)


def open_hub_stream(rest: str, root: Path | None) -> HubStream:
    """Open "ID:SPLIT" or "DIR:SPLIT"; below a root, DIR is there.

    Raises:
        DatasetError: see `HubStream`, or no split is named.
    """
    place, colon, split = rest.rpartition(":")
    if not colon or not place or not split:
        raise DatasetError(f"{_NAME}: expected {_NAME}:ID_OR_DIR:SPLIT, got {_NAME}:{rest}; name the split")
    return HubStream(str(root / place) if root is not None else place, split)


def _decoded_image(value: object, sample_id: str) -> RgbImage:
    try:
        return load_image(io.BytesIO(_bytes_of(value)))
    except (EvfSamError, OSError) as error:
        raise SampleError(f"cannot read the image {sample_id}: {error}") from error


def _is_nothing(mask: object) -> bool:
    return mask is None or (isinstance(mask, list) and not mask)


def _decoded_mask(value: Any, image: object, sample_id: str) -> ReferenceMask:
    """(H, W) as `metrics.ReferenceMask`: a picture, rows of 0 and 1, or run lengths and polygons in COCO's notation."""
    height, width = _decoded_image(image, sample_id).shape[:2]
    if _is_nothing(value):
        return empty_mask((height, width))
    if _is_bitmap(value, (height, width)):
        return np.asarray(value, dtype=np.bool_)
    if not (isinstance(value, dict) and "bytes" in value):
        return union_mask([value], (height, width))
    try:
        return read_reference(_bytes_of(value), (height, width)).mask
    except (EvfSamError, OSError) as error:
        raise SampleError(f"cannot read the mask of {sample_id}: {error}") from error


def _is_bitmap(value: object, size: tuple[int, int]) -> bool:
    """Whether a value is as many rows as the image has, of as many 0 and 1: no polygon is."""
    if not isinstance(value, list) or len(value) != size[0]:
        return False
    return all(isinstance(row, list) and len(row) == size[1] and set(row) <= {0, 1} for row in value)


def _bytes_of(value: Any) -> bytes:
    if not isinstance(value, dict) or not (value.get("bytes") or value.get("path")):
        raise SampleError(f"expected an encoded picture, got {type(value).__name__}")
    return value["bytes"] or Path(value["path"]).read_bytes()
