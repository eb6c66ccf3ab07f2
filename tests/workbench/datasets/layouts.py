"""Tiny data sets in the layouts in which the real ones are given out, made anew for each test."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

SIZE = (24, 32)
"""(H, W) of every image."""


def rectangle(left: int, top: int, right: int, bottom: int) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def polygon(left: int, top: int, right: int, bottom: int) -> list[float]:
    """The polygon whose mask is `rectangle` of the same numbers."""
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, object]:
    record = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(record["size"]), "counts": record["counts"].decode()}


def picture(path: Path, grey: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), grey, dtype=np.uint8)).save(path)
    return path


def labels(path: Path, values: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def as_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def coco(images: Mapping[int, str], annotations: Sequence[object], categories: Sequence[object] = ()) -> object:
    height, width = SIZE
    records = [{"id": n, "file_name": name, "height": height, "width": width} for n, name in images.items()]
    return {"images": records, "annotations": annotations, "categories": categories}


def python_2_pickle(value: object) -> bytes:
    """Pickle plain data as Python 2 did at protocol 0, text as byte strings: the refer data sets are such files."""

    def parts(item: object) -> bytes:
        if isinstance(item, dict):
            return b"(d" + b"".join(parts(key) + parts(each) + b"s" for key, each in item.items())
        if isinstance(item, list):
            return b"(l" + b"".join(parts(each) + b"a" for each in item)
        if isinstance(item, str):
            return b"S" + repr(item.encode("latin-1"))[1:].encode() + b"\n"
        return b"I%d\n" % item

    return parts(value) + b"."


def ref(ref_id: int, image_id: int, ann_id: object, split: str, *phrases: str) -> dict[str, object]:
    sentences = [
        {"sent_id": ref_id * 10 + n, "sent": each, "raw": each, "tokens": []} for n, each in enumerate(phrases)
    ]
    return {"ref_id": ref_id, "image_id": image_id, "ann_id": ann_id, "split": split, "sentences": sentences}


def refer(root: Path, name: str = "refcoco", split_set: str = "unc") -> Path:
    """Two images; a polygon of two overlapping parts, and run lengths."""
    parts = [polygon(2, 2, 12, 12), polygon(8, 2, 16, 12)]
    annotations = [
        {"id": 11, "image_id": 1, "category_id": 1, "segmentation": parts},
        {"id": 12, "image_id": 1, "category_id": 1, "segmentation": run_lengths(rectangle(20, 4, 28, 20))},
        {"id": 13, "image_id": 2, "category_id": 1, "segmentation": [run_lengths(rectangle(0, 0, 5, 5))]},
        {"id": 14, "image_id": 2, "category_id": 1, "segmentation": []},
    ]
    refs = [
        ref(1, 1, 11, "val", "Left Man ", "man in red"),
        ref(2, 1, 12, "val", "right man"),
        ref(3, 2, 13, "testA", "corner"),
        ref(4, 2, 13, "train", "the corner"),
        ref(5, 2, 14, "testB", "nowhere"),
    ]
    folder = root / name
    names = {1: "COCO_train2014_000000000001.jpg", 2: "COCO_train2014_000000000002.jpg"}
    as_json(folder / "instances.json", coco(names, annotations))
    (folder / f"refs({split_set}).p").write_bytes(python_2_pickle(refs))
    below = "images/saiapr_tc-12" if name == "refclef" else "images/mscoco/images/train2014"
    for file_name in names.values():
        picture(root / below / file_name)
    return root


def grefcoco(root: Path) -> Path:
    annotations = [
        {"id": 11, "image_id": 1, "category_id": 1, "segmentation": [polygon(2, 2, 12, 12)]},
        {"id": 12, "image_id": 1, "category_id": 1, "segmentation": [polygon(8, 2, 16, 12)]},
        {
            "id": 13,
            "image_id": 1,
            "category_id": 1,
            "iscrowd": 1,
            "segmentation": run_lengths(rectangle(18, 0, 32, 24)),
        },
    ]
    refs = [
        {**ref(1, 1, [11, 12, 13], "val", "Both men"), "no_target": False},
        {**ref(2, 1, [-1], "val", "the zebra"), "no_target": True},
        {**ref(3, 1, [12], "val", "right man"), "no_target": False},
        {**ref(4, 1, [12], "train", "the man"), "no_target": False},
    ]
    as_json(root / "grefcoco" / "instances.json", coco({1: "one.jpg"}, annotations))
    as_json(root / "grefcoco" / "grefs(unc).json", refs)
    picture(root / "images/mscoco/images/train2014/one.jpg")
    return root


def reason_seg(root: Path) -> Path:
    def points(*edges: int) -> list[list[float]]:
        flat = polygon(*edges)
        return [list(each) for each in zip(flat[::2], flat[1::2], strict=True)]

    shapes = [
        {"label": "ignore", "points": points(4, 4, 8, 8)},
        {"label": "target", "points": points(2, 2, 12, 12)},
        {"label": "flag", "points": points(0, 0, 30, 20)},
    ]
    content = {"text": ["what keeps the rain off?", "a roof"], "is_sentence": True, "shapes": shapes}
    for split in ("train", "val"):
        as_json(root / split / "one.json", content)
        picture(root / split / "one.jpg")
    return root


def ade20k(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tName\n1\t0.15\t11664\t1172\twall\n2\t0.10\t6046\t612\tbuilding, edifice\n"
    )
    values = np.zeros(SIZE, dtype=np.uint8)
    values[2:10, 3:9] = 2
    labels(root / "annotations/validation/ADE_val_00000001.png", values)
    picture(root / "images/validation/ADE_val_00000001.jpg")
    return root


def human_parsing(root: Path) -> Path:
    values = np.zeros(SIZE, dtype=np.uint8)
    values[2:10, 3:9] = 9
    labels(root / "SegmentationClassAug/2500_1.png", values)
    picture(root / "JPEGImages/2500_1.jpg")
    return root


def coco_panoptic(root: Path) -> Path:
    """A thing twice, once as a crowd, with a number beyond one byte; stuff whose name says how it was drawn up."""
    numbers = np.full(SIZE, 70000, dtype=np.int64)
    numbers[2:12, 2:12] = 7
    numbers[2:12, 20:30] = 300
    colours = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8)
    labels(root / "annotations/panoptic_val2017/000000000007.png", colours)
    picture(root / "val2017/000000000007.jpg")
    segments = [
        {"id": 7, "category_id": 1, "iscrowd": 0},
        {"id": 300, "category_id": 1, "iscrowd": 1},
        {"id": 70000, "category_id": 190, "iscrowd": 0},
    ]
    annotations = [{"image_id": 7, "file_name": "000000000007.png", "segments_info": segments}]
    content = {
        "images": [{"id": 7, "file_name": "000000000007.jpg"}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 190, "name": "floor-other-merged"}],
    }
    as_json(root / "annotations/panoptic_val2017.json", content)
    return root


def _parts(names: Sequence[str], file_name: str) -> object:
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 1, "segmentation": [polygon(2, 2, 6, 6)]},
        {"id": 2, "image_id": 7, "category_id": 1, "segmentation": [polygon(10, 2, 14, 6)]},
        {"id": 3, "image_id": 7, "category_id": 2, "segmentation": [polygon(20, 2, 24, 6)]},
        {"id": 4, "image_id": 7, "category_id": 2, "segmentation": [[20, 2]]},
        {"id": 5, "image_id": 7, "category_id": 1, "segmentation": [1, 2, 3]},
        {"id": 6, "image_id": 7, "category_id": 3, "segmentation": [[4, 2, 8, 2]]},
    ]
    return coco({7: file_name}, annotations, [{"id": n, "name": name} for n, name in enumerate(names, 1)])


def pascal_part(root: Path) -> Path:
    as_json(root / "val.json", _parts(["bird:wing", "bird:beak", "bird:eye"], "2008_000001.jpg"))
    picture(root / "VOCdevkit/VOC2010/JPEGImages/2008_000001.jpg")
    return root


def part_imagenet(root: Path) -> Path:
    as_json(root / "annotations/val/val.json", _parts(["Bird Wing", "Bird Head", "Bird Tail"], "n01440764_10029.JPEG"))
    picture(root / "images/val/n01440764_10029.JPEG")
    return root


def coco_phrases(root: Path) -> Path:
    annotations = [
        {"id": 1, "image_id": 7, "segmentation": [polygon(2, 2, 6, 6)], "caption": "a kite"},
        {"id": 2, "image_id": 7, "segmentation": run_lengths(rectangle(8, 2, 12, 6)), "phrases": ["a ball", "round"]},
        {"id": 3, "image_id": 7, "segmentation": [], "phrase": "a whale"},
        {"id": 4, "image_id": 7, "segmentation": [polygon(2, 2, 6, 6)]},
    ]
    picture(root / "seven.png")
    return as_json(root / "mine.json", coco({7: "seven.png", 8: "eight.png"}, annotations))


def folder(root: Path) -> Path:
    picture(root / "yard.png")
    (root / "yard.txt").write_text("the dog\nthe animal\n")
    labels(root / "yard.mask.png", rectangle(2, 2, 12, 12).astype(np.uint8) * 255)
    (root / "yard.2.txt").write_text("the ball\n")
    labels(root / "yard.2.mask.png", rectangle(20, 2, 24, 6).astype(np.uint8))
    picture(root / "field.jpg")
    (root / "field.txt").write_text("the cat\n")
    return root


def damage(parquet: Path) -> None:
    """Overwrite the first page of a Parquet file, whose list of contents stays whole."""
    content = parquet.read_bytes()
    parquet.write_bytes(content[:4] + b"\xff" * 60 + content[64:])
