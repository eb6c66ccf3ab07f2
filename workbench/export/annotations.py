"""Masks in the annotation formats of other tools: COCO, SA-1B, Label Studio and labelme, as JSON values.

labelme's are polygons without holes, through the centres of border pixels: filled and outlined, they are the mask.

Sources: COCO, https://cocodataset.org/#format-data; SA-1B, arXiv:2304.02643 and its published data card; Label Studio,
https://labelstud.io/guide/task_format and https://labelstud.io/tags/brushlabels; labelme, its own JSON files.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workbench.export.exported_run import IMAGE_NAME, ExportedMask, ExportedRun
from workbench.export.results import coco_rle, mask_box
from workbench.metrics.masks import Mask
from workbench.text_fitting import xml_text

LABELME_VERSION: Final = "5.5.0"
"""The version whose fields are written; labelme compares the first number with its own."""
LABEL_STUDIO_FROM: Final = "tag"
LABEL_STUDIO_TO: Final = "image"
_WORD_SIZE: Final = 8
_LENGTH_SIZES: Final = (3, 4, 8, 16)
_CHANNELS: Final = 4
_MARKED: Final = 255
Polygon = tuple[tuple[int, int], ...]
"""(x, y) of pixels, in order; the last joins the first."""
_EIGHT_NEIGHBOURS: Final = np.ones((3, 3), dtype=np.int8)
_CLOCKWISE: Final = ((0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1))
"""Steps (row, column) to the eight neighbours, from the left one clockwise."""
_NUMBER_OF_STEP: Final = {step: number for number, step in enumerate(_CLOCKWISE)}
_LEAST_POINTS: Final = 3


def coco_dict(run: ExportedRun, strategy: str) -> dict[str, object]:
    """Return one strategy's masks as a COCO data set of one image: a category a phrase, RLE segmentations.

    Empty masks have no annotation. `score` (pred_iou) and `stability_score` come on top of COCO's own fields.
    """
    height, width = run.size
    annotations = [
        {
            "id": number,
            "image_id": 1,
            "category_id": mask.number,
            "segmentation": coco_rle(mask.mask),
            "area": mask.area,
            "bbox": _corner_and_size(mask),
            "iscrowd": 0,
            "score": mask.segmentation.pred_iou,
            "stability_score": mask.stability,
        }
        for number, mask in enumerate(_marked(run, strategy), start=1)
    ]
    return {
        "info": {"description": f"{strategy} ({run.suite}) on {run.image_title}", "version": "1.0"},
        "licenses": [],
        "images": [{"id": 1, "file_name": IMAGE_NAME, "height": height, "width": width}],
        "categories": [
            {"id": number, "name": phrase, "supercategory": "phrase"}
            for number, phrase in enumerate(run.phrases, start=1)
        ],
        "annotations": annotations,
    }


def sa1b_dict(run: ExportedRun, strategy: str) -> dict[str, object]:
    """Return one strategy's masks with the fields of SA-1B, and `phrase` on top; boxes are (x, y, width, height)."""
    height, width = run.size
    return {
        "image": {"image_id": 1, "width": width, "height": height, "file_name": IMAGE_NAME},
        "annotations": [
            {
                "id": number,
                "segmentation": coco_rle(mask.mask),
                "bbox": _corner_and_size(mask),
                "area": mask.area,
                "predicted_iou": mask.segmentation.pred_iou,
                "stability_score": mask.stability,
                "crop_box": [0.0, 0.0, float(width), float(height)],
                "point_coords": [[point.x, point.y] for point in mask.points],
                "phrase": mask.phrase,
            }
            for number, mask in enumerate(_marked(run, strategy), start=1)
        ],
    }


def label_studio_tasks(run: ExportedRun) -> list[dict[str, object]]:
    """Return one Label Studio task, with a prediction a strategy and a brush region a phrase.

    It fits the labelling set-up of `label_studio_config`. `data.image` is a file name: put the image where Label Studio
    serves its files, and its address here.
    """
    predictions = [
        {
            "model_version": strategy,
            "score": _score(run.masks_of(strategy)),
            "result": [_brush_region(run, mask) for mask in _marked(run, strategy)],
        }
        for strategy in run.answered
    ]
    return [{"data": {"image": IMAGE_NAME}, "predictions": predictions}]


def label_studio_config(run: ExportedRun) -> str:
    """Return the labelling set-up whose names and labels the task uses."""
    labels = "".join(f"    <Label value={quoteattr(label)}/>\n" for label in dict.fromkeys(map(xml_text, run.phrases)))
    return (
        f'<View>\n  <Image name="{LABEL_STUDIO_TO}" value="$image"/>\n'
        f'  <BrushLabels name="{LABEL_STUDIO_FROM}" toName="{LABEL_STUDIO_TO}">\n{labels}  </BrushLabels>\n</View>\n'
    )


def labelme_dict(run: ExportedRun, strategy: str) -> dict[str, object]:
    """Return one strategy's masks as labelme polygons; those of one phrase share a `group_id`.

    labelme has no holes: a part with holes is cut into polygons that touch. Points are pixels, as labelme draws them.
    """
    height, width = run.size
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": [
            {
                "label": mask.phrase,
                "points": [[float(x), float(y)] for x, y in polygon],
                "group_id": mask.number,
                "description": mask.title,
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for mask in _marked(run, strategy)
            for part in mask_polygons(mask.mask)
            for polygon in part
        ],
        "imagePath": IMAGE_NAME,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def _brush_region(run: ExportedRun, mask: ExportedMask) -> dict[str, object]:
    height, width = run.size
    return {
        "id": mask.stem,
        "type": "brushlabels",
        "from_name": LABEL_STUDIO_FROM,
        "to_name": LABEL_STUDIO_TO,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": label_studio_rle(mask.mask), "brushlabels": [xml_text(mask.phrase)]},
    }


def _marked(run: ExportedRun, strategy: str) -> list[ExportedMask]:
    return [mask for mask in run.masks_of(strategy) if mask.area]


def _corner_and_size(mask: ExportedMask) -> list[float]:
    x1, y1, x2, y2 = mask_box(mask.mask) or (0.0, 0.0, 0.0, 0.0)
    return [x1, y1, x2 - x1, y2 - y1]


def _score(masks: tuple[ExportedMask, ...]) -> float | None:
    """Return the lowest pred_iou, brought into [0, 1] as Label Studio wants it."""
    known = [mask.segmentation.pred_iou for mask in masks if mask.segmentation.pred_iou is not None]
    return min(1.0, max(0.0, min(known))) if known else None


def label_studio_rle(mask: Mask) -> list[int]:
    """Encode a mask as the bytes of Label Studio's `value.rle`; marked pixels are opaque white, others transparent.

    A bit stream over RGBA values, as the tool's own canvas has them: 32 bits number of values; 5 bits word size less
    one; four times 4 bits, the sizes of the lengths, less one. Then runs: 1 bit, whether one value is repeated; 2 bits,
    which of the four sizes; the length less one in that size; and the value (repeated) or as many values as the length
    says.
    """
    values = mask.ravel()
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    bounds = [0, *(_CHANNELS * edges).tolist(), _CHANNELS * values.size]
    head = f"{_CHANNELS * values.size:032b}{_WORD_SIZE - 1:05b}" + "".join(f"{size - 1:04b}" for size in _LENGTH_SIZES)
    is_marked = bool(values[0]) if values.size else False
    parts = [head]
    for start, end in pairwise(bounds):
        parts.append(_run(end - start, _MARKED if is_marked else 0))
        is_marked = not is_marked
    bits = "".join(parts)
    packed = np.packbits(np.frombuffer(bits.encode("ascii"), dtype=np.uint8) - ord("0"))
    return [int(byte) for byte in packed]


def _run(length: int, value: int) -> str:
    """Write one value `length` times, in as many runs as the largest length size needs."""
    longest = 1 << _LENGTH_SIZES[-1]
    whole, rest = divmod(length, longest)
    return _piece(longest, value) * whole + (_piece(rest, value) if rest else "")


def _piece(length: int, value: int) -> str:
    index, size = next((i, size) for i, size in enumerate(_LENGTH_SIZES) if length <= 1 << size)
    return f"1{index:02b}{length - 1:0{size}b}{value:0{_WORD_SIZE}b}"


def mask_polygons(mask: Mask) -> tuple[tuple[Polygon, ...], ...]:
    """Return the polygons of each part of a mask (8-connected), in raster order of the parts.

    A part with holes is cut through them into several polygons that share the pixels of the cut.

    Returns:
        Polygons by part; each has at least three points, repeated where a part is smaller than that.
    """
    regions, count = ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
    boxes = ndimage.find_objects(regions, count)
    return tuple(
        tuple(
            tuple((x + box[1].start, y + box[0].start) for x, y in _border(piece, top, left))
            for piece, top, left in _without_holes(regions[box] == number)
        )
        for number, box in enumerate(boxes, start=1)
    )


def _without_holes(part: Mask) -> Iterator[tuple[Mask, int, int]]:
    """Yield connected pieces that have no holes and together are the part, with their row and column in it."""
    waiting = [(part, 0, 0)]
    while waiting:
        piece, top, left = waiting.pop()
        column = _column_of_a_hole(piece)
        if column is None:
            yield piece, top, left
            continue
        for half, offset in ((piece[:, : column + 1], 0), (piece[:, column:], column)):
            regions, count = ndimage.label(half, structure=_EIGHT_NEIGHBOURS)
            for number, box in enumerate(ndimage.find_objects(regions, count), start=1):
                waiting.append((regions[box] == number, top + box[0].start, left + offset + box[1].start))


def _column_of_a_hole(piece: Mask) -> int | None:
    """Return the middle column of a hole; None where there is none."""
    background, count = ndimage.label(np.pad(~piece, 1, constant_values=True))
    if count < 2:  # the surroundings alone, which are region 1 since they hold the first pixel
        return None
    columns: NDArray[np.intp] = np.flatnonzero((background == count).any(axis=0)) - 1
    return int(columns[0] + columns[-1]) // 2


def _border(piece: Mask, top: int, left: int) -> Polygon:
    """Follow the border of a connected piece clockwise (Moore neighbours), leaving out points on straight lines."""
    framed = np.pad(piece, 1)
    start = (1, 1 + int(piece[0].argmax()))
    place, back, points, first_step = start, 0, [start], None
    while True:
        step = next((n % 8 for n in range(back + 1, back + 9) if _is_set(framed, place, n % 8)), None)
        if step is None or (place == start and step == first_step):
            break
        first_step = step if first_step is None else first_step
        previous = _moved(place, (step - 1) % 8)
        place = _moved(place, step)
        back = _NUMBER_OF_STEP[previous[0] - place[0], previous[1] - place[1]]
        points.append(place)
    corners = _corners([(x - 1 + left, y - 1 + top) for y, x in points])
    return corners + corners[-1:] * (_LEAST_POINTS - len(corners))


def _is_set(framed: Mask, place: tuple[int, int], step: int) -> bool:
    return bool(framed[_moved(place, step)])


def _moved(place: tuple[int, int], step: int) -> tuple[int, int]:
    down, right = _CLOCKWISE[step]
    return place[0] + down, place[1] + right


def _corners(points: list[tuple[int, int]]) -> Polygon:
    """Drop the closing point and every point on the straight way between its neighbours."""
    if len(points) > 1 and points[0] == points[-1]:
        points = points[:-1]
    if len(points) < _LEAST_POINTS:
        return tuple(points)
    around = np.array(points)
    before, after = around - np.roll(around, 1, axis=0), np.roll(around, -1, axis=0) - around
    kept = (before != after).any(axis=1)
    return tuple(point for point, is_kept in zip(points, kept, strict=True) if is_kept)
