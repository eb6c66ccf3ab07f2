"""ReasonSeg: an image beside a JSON file of polygons and questions, `SPLIT/NAME.jpg` and `SPLIT/NAME.json`.

Source: Lai et al., LISA, arXiv:2308.00692, as its own evaluation reads them: polygons cover their outline, larger ones
are painted first, and of several questions about an image the first is asked. The split "train" asks all of them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evfsam.types import RgbImage
from workbench.datasets.coco_masks import pixel_coordinates
from workbench.datasets.contract import (
    DatasetError,
    ReadDataset,
    Sample,
    SampleError,
    SampleQuestion,
    unreadable_sample,
)
from workbench.datasets.dataset_files import expected_folder, files_in, image_reader, plain_text, read_json, records
from workbench.metrics.masks import IGNORED_LABEL, Mask

_NAME: Final = "reasonseg"
_DEPRECATED: Final = "flag"
_IGNORED: Final = "ignore"
_ALL_ASKED: Final = "train"


def read_reason_seg(split: str, root: Path) -> ReadDataset[Path]:
    """Read one split, its JSON files one by one.

    Args:
        split: folder below the root, such as "val".
        root: holds the splits, or `ReasonSeg/` with them.

    Raises:
        DatasetError: there is no such folder, or no JSON file in it.
    """
    folder = expected_folder(_NAME, root / split, root / "ReasonSeg" / split, root / "reason_seg/ReasonSeg" / split)
    files = files_in(folder, [".json"])
    if not files:
        raise DatasetError(f"{_NAME}: expected files NAME.json beside NAME.jpg in {folder}, found none")
    return ReadDataset(_NAME, split, files, partial(_sample, split=split))


def _sample(path: Path, split: str) -> Sample:
    try:
        return _read_sample(path, split)
    except DatasetError as error:
        return unreadable_sample(path.stem, "sentence", str(error))


def _read_sample(path: Path, split: str) -> Sample:
    content = read_json(_NAME, path, may_be_windows_1252=True)
    if not isinstance(content, dict) or not {"text", "shapes"} <= set(content):
        raise DatasetError(f"{_NAME}: expected the fields text and shapes in {path}; fetch the file again")
    shapes = records(_NAME, path, content["shapes"], ("label", "points"))
    given = content["text"] if isinstance(content["text"], list) else [content["text"]]
    texts = [plain_text(_NAME, each, f"text in {path}").strip() for each in given]
    if not texts:
        raise DatasetError(f"{_NAME}: expected a question as text in {path}, found none; fetch the file again")
    image = image_reader(path.with_suffix(".jpg"))
    kind = "sentence" if content.get("is_sentence") else "phrase"
    reference = partial(_labels, shapes, image)
    asked = texts if split == _ALL_ASKED else texts[:1]
    return Sample(image, tuple(SampleQuestion(text, kind, reference) for text in asked), path.stem)


def _labels(shapes: list[dict[str, object]], image: Callable[[], RgbImage]) -> NDArray[np.uint8]:
    """(H, W) uint8: 1 in targets, 255 where nothing is counted; smaller shapes lie over larger, earlier over later."""
    size = image().shape[:2]
    painted: list[tuple[int, int, Mask, int]] = []
    for shape in shapes:
        label = str(shape["label"]).lower()
        if label == _DEPRECATED:
            continue
        points = shape["points"]
        if not isinstance(points, list) or not points or not all(map(_is_point, points)):
            raise SampleError(f"expected points [x, y] of a polygon, got {points!r}")
        mask = painted_polygon([pixel_coordinates(each) for each in points], size)
        painted.append((int(np.count_nonzero(mask)), len(painted), mask, IGNORED_LABEL if _IGNORED in label else 1))
    labels = np.zeros(size, dtype=np.uint8)
    for _, _, mask, value in sorted(painted, key=lambda each: each[:2], reverse=True):
        labels[mask] = value
    return labels


def _is_point(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def painted_polygon(points: Sequence[Sequence[float]], size: tuple[int, int]) -> Mask:
    """(H, W) bool: the pixels of a polygon and of its outline, which is one pixel wide, as OpenCV's `fillPoly` paints.

    COCO's rule covers the pixels whose centre is inside; this one covers every pixel that the outline touches too, so
    that a shape is up to a pixel wider. Equal to OpenCV's pixel by pixel where all corners lie in the image; of shapes
    that reach beyond it, some pixels beside the border differ.

    Args:
        points: corners (x, y) in pixels; fractions are cut off. The last is joined with the first. Where the outline
            crosses itself, what it goes around twice is outside.
        size: (H, W) of the image; what lies beyond it is left out.
    """
    corners = np.trunc(np.asarray(points, dtype=np.float64)).astype(np.int64).reshape(-1, 2)
    mask = np.zeros(size, dtype=np.bool_)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        x, y = _line(start, end)
        is_inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
        mask[y[is_inside], x[is_inside]] = True
    return mask | _inside(corners, size)


def _line(start: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows of the pixels between two corners, both included, by Bresenham's rule from the left one."""
    if end[0] < start[0]:
        start, end = end, start
    along = end - start
    length = int(np.abs(along).max())
    steps = np.arange(length + 1)
    # Half a pixel beside the line is rounded back to where it came from.
    x, y = (
        first + np.sign(by) * -((length - 2 * steps * abs(by)) // (2 * max(length, 1)))
        for first, by in zip(start, along, strict=True)
    )
    return x, y


def _inside(corners: NDArray[np.int64], size: tuple[int, int]) -> Mask:
    """(H, W) bool: pixels on or between the first and second, third and fourth ... crossing of their row."""
    height, width = size
    mask = np.zeros(size, dtype=np.bool_)
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    for row in range(max(0, int(corners[:, 1].min())), min(height, int(corners[:, 1].max()) + 1)):
        crossing = (np.minimum(y0, y1) <= row) & (row < np.maximum(y0, y1))
        x = np.sort((x0 + (row - y0) * (x1 - x0) / np.where(y0 == y1, 1, y1 - y0))[crossing])
        for left, right in zip(x[::2], x[1::2], strict=True):
            mask[row, max(0, int(np.ceil(left))) : max(0, int(np.floor(right)) + 1)] = True
    return mask[:, :width]
