"""RefCOCO-M: RefCOCO's validation images with new, exact masks, in Parquet files that hold the images too.

Layout: `data/validation-*.parquet` or `validation-*.parquet` below the root; columns image {bytes, path}, image_id,
samples [{sentences, mask {counts, size}}]. Reading it needs the package pyarrow, and nothing else does.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from evfsam.errors import EvfSamError
from evfsam.preprocess import load_image
from evfsam.types import RgbImage
from workbench.datasets.coco_masks import part_masks
from workbench.datasets.contract import DatasetError, Sample, SampleError, SampleQuestion, unreadable_sample
from workbench.datasets.dataset_files import plain_text
from workbench.metrics.masks import Mask

_NAME: Final = "refcoco-m"
_KIND: Final = "referring"
_COLUMNS: Final = ("image", "image_id", "samples")
_ROWS_AT_ONCE: Final = 16


class RefCocoM:
    """One split, its rows read a few at a time.

    Args:
        split: beginning of the files' names: "validation".
        root: see the module's layout.

    Raises:
        DatasetError: pyarrow is not installed, or there is no such file, or it has other columns.
    """

    name = _NAME

    def __init__(self, split: str, root: Path) -> None:
        self.split = split
        self._parquet: Any = _pyarrow_parquet()
        self._arrow_error: type[Exception] = import_module("pyarrow").ArrowException
        folder = next((each for each in (root / "data", root) if any(each.glob(f"{split}-*.parquet"))), None)
        if folder is None:
            raise DatasetError(
                f"{_NAME}: expected {root / 'data' / f'{split}-*.parquet'}, found none; give the folder above data/ "
                "with --root; the only split is validation"
            )
        self._files = sorted(folder.glob(f"{split}-*.parquet"))
        self._length = sum(self._checked_length(path) for path in self._files)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Sample]:
        for path in self._files:
            yield from map(_sample, self._rows(path))

    def _rows(self, path: Path) -> Iterator[Mapping[str, Any]]:
        try:
            for batch in self._parquet.ParquetFile(path).iter_batches(_ROWS_AT_ONCE, columns=list(_COLUMNS)):
                yield from batch.to_pylist()
        except (OSError, ValueError, self._arrow_error) as error:
            raise DatasetError(f"{_NAME}: expected rows of Parquet in {path}, got {error}; fetch it again") from error

    def _checked_length(self, path: Path) -> int:
        try:
            file = self._parquet.ParquetFile(path)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{_NAME}: expected Parquet in {path}, got {error}; fetch the file again") from error
        missing = set(_COLUMNS) - set(file.schema_arrow.names)
        if missing:
            raise DatasetError(
                f"{_NAME}: expected the columns {', '.join(_COLUMNS)} in {path}, found no {', '.join(sorted(missing))}"
            )
        return int(file.metadata.num_rows)


def _pyarrow_parquet() -> object:
    try:
        return import_module("pyarrow.parquet")
    except ImportError as error:
        raise DatasetError(f"{_NAME}: reading Parquet needs pyarrow, not found; run pip install pyarrow") from error


def _sample(row: Mapping[str, Any]) -> Sample:
    sample_id = str(row["image_id"])
    try:
        questions = tuple(
            SampleQuestion(
                plain_text(_NAME, sentence, "sentence").strip().lower(), _KIND, _mask_reader(instance["mask"])
            )
            for instance in row["samples"]
            for sentence in instance["sentences"]
        )
    except (DatasetError, KeyError, TypeError) as error:
        reason = f"expected samples with sentences and a mask for image {sample_id} of {_NAME}, got {error!r}"
        return unreadable_sample(sample_id, _KIND, reason)
    return Sample(partial(_decoded_image, row["image"], sample_id), questions, sample_id)


def _mask_reader(mask: Mapping[str, Any]) -> Callable[[], Mask]:
    return partial(_decoded_mask, dict(mask))


def _decoded_mask(mask: dict[str, Any]) -> Mask:
    size = mask.get("size")
    if not isinstance(size, list) or len(size) != 2 or None in size:
        raise SampleError(f"expected a mask with its size (H, W), got {size}")
    (decoded,) = part_masks(mask, (int(size[0]), int(size[1])))
    return decoded


def _decoded_image(image: Mapping[str, Any], image_id: object) -> RgbImage:
    try:
        return load_image(io.BytesIO(image["bytes"] or b""))
    except (EvfSamError, KeyError, TypeError) as error:
        raise SampleError(f"cannot read the image {image_id} of {_NAME}: {error}") from error
