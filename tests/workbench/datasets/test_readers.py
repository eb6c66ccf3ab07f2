"""Every reader finds phrases, masks and images where its data set keeps them, and says where it looked for them."""

import io
import json
import pickle
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from evfsam.errors import ConfigurationError
from tests.workbench.datasets import layouts
from tests.workbench.datasets.layouts import SIZE, rectangle, run_lengths
from workbench.datasets.coco_masks import decode_mask, summed_mask
from workbench.datasets.contract import ABSENT, DatasetError, IndexedDataset, SampleError, SampleQuestion
from workbench.datasets.dataset_files import label_reader
from workbench.datasets.known_datasets import open_dataset
from workbench.datasets.scenes import scene, split_seeds
from workbench.names import DATASET_NAMES

Expected = list[tuple[str, str, NDArray[np.bool_]]]

NOTHING = np.zeros(SIZE, dtype=bool)
TWO_MEN = rectangle(2, 2, 12, 12) | rectangle(8, 2, 16, 12)
PAIR = rectangle(2, 2, 6, 6) | rectangle(10, 2, 14, 6)
LEFT_MAN = TWO_MEN & ~(rectangle(2, 2, 12, 12) & rectangle(8, 2, 16, 12))
PATCH = rectangle(3, 2, 9, 10)

CASES: dict[str, tuple[Callable[[Path], Path], str, Expected]] = {
    "refcoco:val": (
        layouts.refer,
        "1",
        [
            ("left man", "referring", LEFT_MAN),
            ("man in red", "referring", LEFT_MAN),
            ("right man", "referring", rectangle(20, 4, 28, 20)),
        ],
    ),
    "refcoco:testA": (layouts.refer, "2", [("corner", "referring", rectangle(0, 0, 5, 5))]),
    "refcoco:testB": (layouts.refer, "2", [("nowhere", "referring", NOTHING)]),
    "grefcoco:val": (
        layouts.grefcoco,
        "1",
        [
            ("both men", "several", TWO_MEN),
            ("the zebra", ABSENT, NOTHING),
            ("right man", "single", rectangle(8, 2, 16, 12)),
        ],
    ),
    "ade20k:validation": (layouts.ade20k, "ADE_val_00000001", [("[semantic] building", "semantic", PATCH)]),
    "human-parsing:all": (
        layouts.human_parsing,
        "2500_1",
        [("[semantic] background", "semantic", ~PATCH), ("[semantic] right shoe", "semantic", PATCH)],
    ),
    "coco-panoptic:val": (
        layouts.coco_panoptic,
        "7",
        [
            ("[semantic] person", "semantic", rectangle(2, 2, 12, 12) | rectangle(20, 2, 30, 12)),
            ("[semantic] floor", "semantic", ~(rectangle(2, 2, 12, 12) | rectangle(20, 2, 30, 12))),
        ],
    ),
    "pascal-part:val": (
        layouts.pascal_part,
        "7",
        [("[semantic] bird wing", "semantic", PAIR), ("[semantic] bird beak", "semantic", rectangle(20, 2, 24, 6))],
    ),
    "part-imagenet:val": (
        layouts.part_imagenet,
        "7",
        [("[semantic] bird wing", "semantic", PAIR), ("[semantic] bird head", "semantic", rectangle(20, 2, 24, 6))],
    ),
}


def only_sample(name: str, root: Path | None):
    dataset = open_dataset(name, root)
    samples = list(dataset)
    assert len(samples) == len(dataset) == 1
    return samples[0]


def assert_questions(sample, expected: Expected) -> None:
    assert [(each.phrase, each.kind) for each in sample.questions] == [(phrase, kind) for phrase, kind, _ in expected]
    for question, (phrase, _, mask) in zip(sample.questions, expected, strict=True):
        np.testing.assert_array_equal(question.reference == 1, mask, err_msg=phrase)


@pytest.mark.parametrize("name", CASES)
def test_a_reader_finds_the_phrases_the_masks_and_the_image(name: str, tmp_path: Path) -> None:
    make, sample_id, expected = CASES[name]
    sample = only_sample(name, make(tmp_path))
    assert sample.sample_id == sample_id
    assert_questions(sample, expected)
    assert sample.image.shape == (*SIZE, 3)
    assert abs(int(sample.image.mean()) - 90) <= 1


@pytest.mark.parametrize("name", CASES)
def test_a_folder_that_is_laid_out_otherwise_is_told_with_the_path_expected(name: str, tmp_path: Path) -> None:
    make, _, _ = CASES[name]
    root = make(tmp_path / "there")
    with pytest.raises(DatasetError, match=rf"expected the (file|folder) {tmp_path / 'elsewhere'}.*--root"):
        open_dataset(name, tmp_path / "elsewhere")
    missing = next(path for path in sorted(root.rglob("*")) if path.suffix in (".json", ".p", ".txt", ".png"))
    missing.unlink()
    with pytest.raises(DatasetError, match=f"expected .*{missing.parent}"):
        open_dataset(name, root)


@pytest.mark.parametrize("name", CASES)
def test_a_missing_image_is_told_when_it_is_read_and_not_before(name: str, tmp_path: Path) -> None:
    make, _, _ = CASES[name]
    root = make(tmp_path)
    for path in root.rglob("*"):
        if path.suffix.lower() in (".jpg", ".jpeg"):
            path.unlink()
    sample = only_sample(name, root)
    with pytest.raises(SampleError, match=f"cannot read the image {root}"):
        _ = sample.image


@pytest.mark.parametrize(
    ("name", "folder", "split_set"),
    [
        ("refcoco+:val", "refcoco+", "unc"),
        ("refcocog:val", "refcocog", "umd"),
        ("refcocog/google:val", "refcocog", "google"),
        ("refcoco/google:val", "refcoco", "google"),
        ("refclef:val", "refclef", "unc"),
        ("refclef/berkeley:val", "refclef", "berkeley"),
    ],
)
def test_every_refer_data_set_is_found_with_its_own_splits(
    name: str, folder: str, split_set: str, tmp_path: Path
) -> None:
    sample = only_sample(name, layouts.refer(tmp_path, folder, split_set))
    assert [each.phrase for each in sample.questions] == ["left man", "man in red", "right man"]
    assert sample.image.shape == (*SIZE, 3)


def test_a_data_set_is_not_split_by_those_who_never_did(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"refcoco\+: expected splits by unc .* got google and val"):
        open_dataset("refcoco+/google:val", layouts.refer(tmp_path, "refcoco+"))


def test_an_expression_of_two_test_splits_is_in_both_and_in_test(tmp_path: Path) -> None:
    root = layouts.refer(tmp_path, "refclef")
    path = root / "refclef" / "refs(unc).p"
    path.write_bytes(layouts.python_2_pickle([layouts.ref(1, 1, 12, "testBC", "both")]))
    for split in ("testB", "testC", "test"):
        assert [each.phrase for each in only_sample(f"refclef:{split}", root).questions] == ["both"]
    with pytest.raises(DatasetError, match=r"expected expressions of the split testA in .*unc.*found none"):
        open_dataset("refclef:testA", root)


class _Intruder:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_names_code_is_refused_and_nothing_of_it_runs(protocol: int, tmp_path: Path) -> None:
    root = layouts.refer(tmp_path)
    target = tmp_path / "touched"
    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([_Intruder(target)], protocol))
    with pytest.raises(DatasetError, match=r"expected plain data in .*refs\(unc\)\.p.*plain data does not need"):
        open_dataset("refcoco:val", root)
    assert not target.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_of_python_3_is_read_too(protocol: int, tmp_path: Path) -> None:
    root = layouts.refer(tmp_path)
    refs = [layouts.ref(1, 1, 12, "val", "der große Mann")]
    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol))
    assert [each.phrase for each in only_sample("refcoco:val", root).questions] == ["der große mann"]


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", b"\x80\x04", pickle.dumps({"image_id": 1}), pickle.dumps([3])]
)
def test_a_damaged_pickle_is_told_with_its_path(content: bytes, tmp_path: Path) -> None:
    root = layouts.refer(tmp_path)
    (root / "refcoco" / "refs(unc).p").write_bytes(content)
    with pytest.raises(DatasetError, match=r"refs\(unc\)\.p"):
        open_dataset("refcoco:val", root)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [24, 32], "counts": "@@@@"},
        {"size": [24, 32], "counts": [0, 10_000_000]},
        {"size": [24, 32], "counts": [768, -5, 5]},
        {"size": [24, 32], "counts": "o~"},
        {"size": [32, 24], "counts": [768]},
        {"counts": [768]},
        ["a", "b", "c", "d", "e", "f"],
        "polygon",
        {"size": [24, 32], "counts": [700.5, 60.5, 7]},
        {"size": [24, 32], "counts": ["700", "60", "8"]},
        {"size": [24, 32], "counts": [True, 767]},
        {"size": [24, 32], "counts": [float("nan"), 768]},
        {"size": [24, 32], "counts": None},
        {"size": [24.9, 32.2], "counts": [768]},
    ],
)
def test_a_corrupt_mask_spoils_its_own_question_alone(segmentation: object, tmp_path: Path) -> None:
    root = layouts.refer(tmp_path)
    annotations = [
        {"id": 11, "image_id": 1, "segmentation": segmentation if isinstance(segmentation, dict) else [segmentation]},
        {"id": 12, "image_id": 1, "segmentation": [layouts.polygon(0, 0, 5, 5)]},
    ]
    layouts.as_json(root / "refcoco" / "instances.json", layouts.coco({1: "1.jpg", 2: "2.jpg"}, annotations))
    first, _, third = only_sample("refcoco:val", root).questions
    with pytest.raises(SampleError, match="expected"):
        _ = first.reference
    assert third.reference.sum() == 25


def test_an_annotation_that_is_not_there_is_unreadable_and_no_empty_mask(tmp_path: Path) -> None:
    root = layouts.refer(tmp_path)
    (root / "refcoco/refs(unc).p").write_bytes(layouts.python_2_pickle([layouts.ref(1, 1, 99, "val", "the bus")]))
    (question,) = only_sample("refcoco:val", root).questions
    with pytest.raises(SampleError, match=r"expected annotation 99 with a segmentation in .*, found none"):
        _ = question.reference


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_text_that_python_2_wrote_as_bytes_is_read_as_it_was_meant(encoding: str, tmp_path: Path) -> None:
    root = layouts.refer(tmp_path)
    written = "café à gauche".encode(encoding).decode("latin-1")
    (root / "refcoco/refs(unc).p").write_bytes(layouts.python_2_pickle([layouts.ref(1, 1, 11, "val", written)]))
    assert [each.phrase for each in only_sample("refcoco:val", root).questions] == ["café à gauche"]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"bbox": [2, 2, 10, 10]}, "a box or an area alone"),
        ({"bbox": [2, 2, 10, 10], "segmentation": None}, "a box or an area alone"),
        ({"bbox": [2, 2, 10, 10], "area": 100.0, "segmentation": []}, "a box or an area alone"),
        ({"area": 5, "segmentation": []}, "a box or an area alone"),
        ({}, "got none"),
        ({"segmentation": ""}, "expected a polygon or run lengths"),
        ({"segmentation": {}}, "cannot be decoded"),
        ({"segmentation": 0}, "expected a polygon or run lengths"),
        ({"segmentation": {"size": [*SIZE], "counts": [float("inf"), 9]}}, "cannot be decoded"),
        ({"segmentation": {"size": [*SIZE], "counts": [float("nan"), 9]}}, "cannot be decoded"),
        ({"segmentation": {"size": [*SIZE], "counts": "o" * 10**6}}, "a number that does not end"),
        ({"segmentation": [], "bbox": "2 2 10 10"}, "a box or an area alone"),
        ({"segmentation": [], "bbox": {"x": 2}}, "a box or an area alone"),
    ],
)
def test_boxes_and_captions_without_a_mask_are_not_counted_as_absent(
    annotation: dict[str, object], words: str, tmp_path: Path
) -> None:
    question = only_question_of(tmp_path, {"phrase": "the bus", **annotation})
    assert question.kind == "phrase"
    with pytest.raises(SampleError, match=words):
        _ = question.reference


@pytest.mark.parametrize("beside", [{}, {"bbox": []}, {"bbox": [0, 0, 0, 0], "area": 0}])
def test_an_empty_segmentation_names_nothing(beside: dict[str, object], tmp_path: Path) -> None:
    question = only_question_of(tmp_path, {"phrase": "the bus", "segmentation": [], **beside})
    assert (question.kind, bool(question.reference.any())) == (ABSENT, False)


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_decoded_as_pycocotools_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(SIZE) < (0.02, 0.3, 0.5, 0.97, 1.0)[seed]
    np.testing.assert_array_equal(decode_mask(str(run_lengths(mask)["counts"]), SIZE), mask)


def test_reason_seg_leaves_the_ignored_out_and_passes_over_what_is_deprecated(tmp_path: Path) -> None:
    sample = only_sample("reasonseg:val", layouts.reason_seg(tmp_path))
    (question,) = sample.questions
    # The corners (2, 2) and (12, 12) themselves are painted: 11 x 11 pixels, where COCO's rule gives 10 x 10.
    expected = np.where(rectangle(4, 4, 9, 9), 255, rectangle(2, 2, 13, 13)).astype(np.uint8)
    assert (question.phrase, question.kind) == ("what keeps the rain off?", "sentence")
    np.testing.assert_array_equal(question.reference, expected)


def test_reason_seg_asks_the_first_question_of_an_image_and_in_training_all(tmp_path: Path) -> None:
    root = layouts.reason_seg(tmp_path)
    asked = {split: only_sample(f"reasonseg:{split}", root).questions for split in ("val", "train")}
    assert [each.phrase for each in asked["val"]] == ["what keeps the rain off?"]
    assert [each.phrase for each in asked["train"]] == ["what keeps the rain off?", "a roof"]


def test_reason_seg_in_windows_1252_is_read(tmp_path: Path) -> None:
    root = layouts.reason_seg(tmp_path)
    path = root / "val" / "one.json"
    path.write_bytes(path.read_bytes().replace(b"the rain", "l’été".encode("cp1252")))
    assert only_sample("reasonseg:val", root).questions[0].phrase == "what keeps l’été off?"


def test_one_damaged_file_of_reason_seg_is_one_sample_that_cannot_be_read(tmp_path: Path) -> None:
    root = layouts.reason_seg(tmp_path)
    (root / "val" / "two.json").write_text('{"text": ')
    good, bad = open_dataset("reasonseg:val", root)
    assert good.image.shape == (*SIZE, 3)
    with pytest.raises(SampleError, match=r"expected JSON in .*two\.json"):
        _ = bad.image
    with pytest.raises(DatasetError, match=f"expected the folder {root / 'test'}"):
        open_dataset("reasonseg:test", root)


def test_a_damaged_label_map_is_one_sample_that_cannot_be_read(tmp_path: Path) -> None:
    root = layouts.ade20k(tmp_path)
    (root / "annotations/validation/ADE_val_00000001.png").write_bytes(b"no picture")
    with pytest.raises(SampleError, match=r"cannot read the mask .*ADE_val_00000001\.png"):
        _ = only_sample("ade20k:validation", root).image


def test_any_coco_file_with_phrases_is_read_and_empty_masks_name_nothing(tmp_path: Path) -> None:
    path = layouts.coco_phrases(tmp_path)
    sample = only_sample(f"coco:{path}", None)
    assert_questions(
        sample,
        [
            ("a kite", "phrase", rectangle(2, 2, 6, 6)),
            ("a ball", "phrase", rectangle(8, 2, 12, 6)),
            ("round", "phrase", rectangle(8, 2, 12, 6)),
            ("a whale", ABSENT, NOTHING),
        ],
    )
    assert sample.image.shape == (*SIZE, 3)


def test_the_images_of_a_coco_file_may_be_elsewhere(tmp_path: Path) -> None:
    path = layouts.coco_phrases(tmp_path / "annotations")
    shutil.move(path.parent / "seven.png", layouts.picture(tmp_path / "images" / "seven.png"))
    assert only_sample(f"coco:{path}", tmp_path / "images").image.shape == (*SIZE, 3)


def test_a_coco_file_without_phrases_is_refused_with_the_fields_expected(tmp_path: Path) -> None:
    root = layouts.pascal_part(tmp_path)
    with pytest.raises(DatasetError, match=r"one of the fields phrases, captions, phrase, caption in .*val\.json"):
        open_dataset(f"coco:{root / 'val.json'}")
    layouts.as_json(tmp_path / "list.json", [1])
    with pytest.raises(DatasetError, match=r"expected COCO's format in .*list\.json, got list"):
        open_dataset(f"coco:{tmp_path / 'list.json'}")
    layouts.as_json(tmp_path / "half.json", {"images": [{"id": 1}], "annotations": []})
    with pytest.raises(DatasetError, match=r"record 0 of .*half\.json, found no file_name, height, width"):
        open_dataset(f"coco:{tmp_path / 'half.json'}")


def test_a_folder_of_ones_own_has_masks_and_phrases_beside_its_images(tmp_path: Path) -> None:
    dataset = open_dataset(f"folder:{layouts.folder(tmp_path)}")
    field, yard = dataset
    assert (field.sample_id, yard.sample_id, len(dataset)) == ("field", "yard", 2)
    assert_questions(field, [("the cat", ABSENT, NOTHING)])
    ball = ("the ball", "phrase", rectangle(20, 2, 24, 6))
    dog = rectangle(2, 2, 12, 12)
    assert_questions(yard, [ball, ("the dog", "phrase", dog), ("the animal", "phrase", dog)])


def test_a_folder_without_phrases_or_with_phrases_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected the folder .*nowhere"):
        open_dataset(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(DatasetError, match=r"expected NAME\.txt with a phrase a line .*found none"):
        open_dataset(f"folder:{tmp_path}")
    (tmp_path / "lost.txt").write_text("the dog")
    with pytest.raises(DatasetError, match=r"expected the image .*lost\.jpg or \.png of lost\.txt"):
        open_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.where(PATCH, 256, 0).astype(np.uint16), None),
        (np.where(PATCH, 32768, 0).astype(np.uint16), None),
        (np.where(PATCH, 1, 0).astype(np.uint8), 1),
        (np.where(PATCH, 1, 0).astype(np.uint8), 4),
    ],
    ids=["256 of 16 bits", "32768 of 16 bits", "1 of 1 bit", "1 of 4 bits"],
)
def test_a_mask_is_read_as_it_is_stored(values: NDArray[np.integer], kind: int | None, tmp_path: Path) -> None:
    layouts.picture(tmp_path / "yard.png")
    (tmp_path / "yard.txt").write_text("the dog")
    path = tmp_path / "yard.mask.png"
    if kind is None:
        Image.fromarray(values).save(path)
    else:
        path.write_bytes(grey_png(values, kind))
    (sample,) = open_dataset(f"folder:{tmp_path}")
    np.testing.assert_array_equal(sample.questions[0].reference, PATCH)
    assert set(np.unique(label_reader(path))) == set(np.unique(values)), "no value wraps or is stretched"


def grey_png(values: NDArray[np.integer], bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits, which Pillow cannot write."""
    height, width = values.shape
    per_byte = 8 // bits
    shifts = np.arange(per_byte)[::-1] * bits
    rows = (values.reshape(height, width // per_byte, per_byte).astype(np.uint8) << shifts).sum(2).astype(np.uint8)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


@pytest.mark.parametrize(
    "segmentation", [[[75, 81, 235]], [[2, 2, 6]], [[1, 1, 9, 9]], [[]], [[90, 90, 99, 90, 99, 99]]]
)
def test_a_polygon_that_marks_nothing_is_unreadable_rather_than_absent(segmentation: object, tmp_path: Path) -> None:
    question = only_question_of(tmp_path, {"segmentation": segmentation, "phrase": "the bus"})
    assert question.kind == "phrase"
    with pytest.raises(SampleError, match="that covers none; only an empty segmentation names nothing"):
        _ = question.reference


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([float("nan")] * 8, "points in pixels, got .nan"),
        ([0, 0, float("inf"), 5, 5, 5], "points in pixels"),
        ([0, 0, 1e12, 5, 5, 5], "points in pixels"),
        ([0, 0, -1e12, 5, 5, 5], "points in pixels"),
        ([2, 2, 9, 2, 9, 9, 2], "two numbers a point of a polygon, got 7 numbers"),
        ([2, 2, 9, None, 9, 9], "numbers as a polygon's points"),
        ([2, 2, 9, 10**400, 9, 9], "numbers as a polygon's points"),
    ],
)
def test_a_polygon_of_no_pixels_is_unreadable(points: list[object], words: str, tmp_path: Path) -> None:
    question = only_question_of(tmp_path, {"segmentation": [[2, 2, 9, 2, 9, 9], points], "phrase": "the bus"})
    with pytest.raises(SampleError, match=words):
        _ = question.reference


def only_question_of(
    folder: Path, *annotations: dict[str, object], images: list[object] | None = None
) -> SampleQuestion:
    numbered = [{"id": number, "image_id": 7, **each} for number, each in enumerate(annotations, 1)]
    content = layouts.coco({7: "seven.png"}, numbered)
    if images is not None:
        content = {**content, "images": images}
    path = layouts.as_json(folder / "mine.json", content)
    (question,) = only_sample(f"coco:{path}", None).questions
    return question


IMAGE_RECORD = {"id": 7, "file_name": "seven.png", "height": 24, "width": 32}
KITE = {"segmentation": [layouts.polygon(2, 2, 6, 6)], "phrase": "a kite"}


@pytest.mark.parametrize(
    ("annotations", "images", "words"),
    [
        ([{**KITE, "phrase": 5}], None, r"text as phrase of annotation 1 in .*mine\.json, got the int 5; write it"),
        ([{**KITE, "phrases": ["a", 2.5]}], None, "text as phrase of annotation 1 .*, got the float 2.5"),
        ([{**KITE, "caption": {"en": "kite"}}], None, "text as phrase of annotation 1 .*, got the dict"),
        (
            [{**KITE, "image_id": "a1"}],
            [{**IMAGE_RECORD, "id": "a1"}],
            "a whole number as .*, got the str 'a1'; number",
        ),
        ([{**KITE, "image_id": "9" * 5000}], None, "a whole number as image_id .*, got the str '999"),
        ([KITE], [{**IMAGE_RECORD, "id": None}], "a whole number as id of images .*, got the NoneType None"),
        ([KITE], [{**IMAGE_RECORD, "id": True}], "a whole number as id of images .*, got the bool True"),
        ([KITE], [{**IMAGE_RECORD, "height": "24.5"}], "a whole number as height of image 7 .*, got the str '24.5'"),
        ([KITE], [{**IMAGE_RECORD, "width": float("nan")}], "a whole number as width of image 7 .*, got the float nan"),
        ([KITE], [{**IMAGE_RECORD, "file_name": 7}], "text as file_name of image 7 .*, got the int 7"),
        (
            [KITE],
            [IMAGE_RECORD, IMAGE_RECORD],
            r"each id of images once in .*mine\.json, got 7 twice; number them anew",
        ),
        ([KITE, {**KITE, "id": 1}], None, "each id of annotations once in .*, got 1 twice"),
        ([KITE, {**KITE, "image_id": 9}], None, "image 9 among the images of .*, found none; add its record"),
    ],
)
def test_values_of_another_kind_in_a_coco_file_are_refused_in_words(
    annotations: list[dict[str, object]], images: list[object] | None, words: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=words):
        only_question_of(tmp_path, *annotations, images=images)


def test_ids_written_as_decimal_text_or_fractions_of_zero_are_numbers(tmp_path: Path) -> None:
    question = only_question_of(tmp_path, {**KITE, "image_id": "7"}, images=[{**IMAGE_RECORD, "id": 7.0}])
    assert question.reference.sum() == 16


def test_an_image_size_beyond_any_image_spoils_its_own_questions_alone(tmp_path: Path) -> None:
    question = only_question_of(tmp_path, KITE, images=[{**IMAGE_RECORD, "height": 10**12}])
    with pytest.raises(SampleError, match="1 to 16384 pixels a side"):
        _ = question.reference


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marked_text_is_read_without_its_mark(encoding: str, tmp_path: Path) -> None:
    layouts.picture(tmp_path / "yard.png")
    (tmp_path / "yard.txt").write_text("das Häuschen\n\n  \nder Baum\n", encoding=encoding)
    assert [each.phrase for each in only_sample(f"folder:{tmp_path}", None).questions] == ["das Häuschen", "der Baum"]
    path = layouts.coco_phrases(tmp_path / "coco")
    path.write_text(path.read_text(), encoding=encoding)
    assert len(only_sample(f"coco:{path}", None).questions) == 4


def test_text_in_another_encoding_is_refused_by_name(tmp_path: Path) -> None:
    layouts.picture(tmp_path / "yard.png")
    (tmp_path / "yard.txt").write_bytes("the dog\n猫咪\n".encode("gbk"))
    with pytest.raises(DatasetError, match=r"yard\.txt: expected UTF-8 text, got other bytes in line 2; save it again"):
        open_dataset(f"folder:{tmp_path}")
    path = layouts.coco_phrases(tmp_path / "coco")
    path.write_bytes(path.read_bytes().replace(b"a kite", "猫咪".encode("gbk")))
    with pytest.raises(DatasetError, match=r"mine\.json: expected UTF-8 text, got other bytes"):
        open_dataset(f"coco:{path}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("yard.jpg", r"one picture called yard, got yard\.jpg and yard\.png"),
        ("yard.mask.jpg", r"the mask yard\.mask\.png, got yard\.mask\.jpg, which may have lost grey values"),
        ("tree.mask.png", r"phrases about tree\.mask\.png in .*tree\.txt, found none"),
    ],
)
def test_a_picture_in_a_folder_that_a_phrase_would_miss_is_told(name: str, words: str, tmp_path: Path) -> None:
    layouts.picture(tmp_path / "yard.png")
    (tmp_path / "yard.txt").write_text("the dog")
    layouts.picture(tmp_path / name)
    with pytest.raises(DatasetError, match=words):
        open_dataset(f"folder:{tmp_path}")


def test_a_mask_is_found_whatever_the_case_of_its_ending(tmp_path: Path) -> None:
    layouts.picture(tmp_path / "yard.png")
    (tmp_path / "yard.txt").write_text("the dog")
    layouts.labels(tmp_path / "yard.Mask.PNG", PATCH.astype(np.uint8))
    assert_questions(only_sample(f"folder:{tmp_path}", None), [("the dog", "phrase", PATCH)])


def test_a_file_of_phrases_without_any_is_told(tmp_path: Path) -> None:
    layouts.picture(tmp_path / "yard.png")
    (tmp_path / "yard.txt").write_text("\n \n")
    with pytest.raises(DatasetError, match=r"expected a phrase a line in .*yard\.txt, found none"):
        open_dataset(f"folder:{tmp_path}")


def test_many_parts_over_one_pixel_do_not_wrap_to_none() -> None:
    parts = [layouts.polygon(2, 2, 6, 6)] * 257
    assert set(np.unique(summed_mask(parts, SIZE))) == {0, 2}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": [7]}, "expected text as text in .*, got the int 7"),
        ({"text": []}, "expected a question as text"),
        ({"shapes": [{"label": "target", "points": []}]}, "expected points"),
        ({"shapes": [{"label": "target", "points": [[1, float("nan")]] * 3}]}, "points in pixels"),
    ],
)
def test_a_damaged_record_of_reason_seg_is_one_sample_that_cannot_be_read(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    root = layouts.reason_seg(tmp_path)
    path = root / "val" / "one.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    (question,) = only_sample("reasonseg:val", root).questions
    with pytest.raises(SampleError, match=words):
        _ = question.reference


def test_ids_of_refer_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    root = layouts.refer(tmp_path)
    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([layouts.ref(1, "one", 11, "val", "x")]))
    with pytest.raises(DatasetError, match=r"a whole number as image_id in .*, got the str 'one'"):
        open_dataset("refcoco:val", root)


def refcoco_m(root: Path) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    buffer = io.BytesIO()
    Image.fromarray(np.full((*SIZE, 3), 90, dtype=np.uint8)).save(buffer, format="PNG")
    instance = {
        "id": 1,
        "category": "person",
        "sentences": ["Left man", "in red"],
        "bbox": [2.0, 2.0, 10.0, 10.0],
        "mask": run_lengths(rectangle(2, 2, 12, 12)),
    }
    rows = [
        {
            "image": {"bytes": buffer.getvalue(), "path": "1.png"},
            "image_id": 1,
            "file_name": "1",
            "samples": [instance],
        },
        {"image": {"bytes": b"broken", "path": "2.png"}, "image_id": 2, "file_name": "2", "samples": [instance]},
    ]
    (root / "data").mkdir(parents=True)
    for number, row in enumerate(rows):
        parquet.write_table(arrow.Table.from_pylist([row]), root / "data" / f"validation-0000{number}-of-00002.parquet")
    return root


def test_refcoco_m_is_read_from_its_parquet_files(tmp_path: Path) -> None:
    dataset = open_dataset("refcoco-m:validation", refcoco_m(tmp_path))
    good, bad = dataset
    assert (len(dataset), good.sample_id, bad.sample_id) == (2, "1", "2")
    man = rectangle(2, 2, 12, 12)
    assert_questions(good, [("left man", "referring", man), ("in red", "referring", man)])
    assert good.image.shape == (*SIZE, 3)
    with pytest.raises(SampleError, match="cannot read the image 2"):
        _ = bad.image
    with pytest.raises(DatasetError, match=r"expected .*data/test-\*\.parquet.*the only split is validation"):
        open_dataset("refcoco-m:test", tmp_path)


def test_a_damaged_part_of_refcoco_m_is_told_when_it_is_met(tmp_path: Path) -> None:
    dataset = open_dataset("refcoco-m:validation", refcoco_m(tmp_path))
    layouts.damage(tmp_path / "data/validation-00001-of-00002.parquet")
    with pytest.raises(DatasetError, match=r"expected rows of Parquet in .*00001-of-00002\.parquet"):
        list(dataset)


def test_refcoco_m_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DatasetError, match="needs pyarrow, not found; run pip install pyarrow"):
        open_dataset("refcoco-m:validation", tmp_path)


@pytest.mark.parametrize("name", [*CASES, "reasonseg:val"])
def test_an_image_can_be_had_by_its_number(name: str, tmp_path: Path) -> None:
    make = layouts.reason_seg if name == "reasonseg:val" else CASES[name][0]
    dataset = open_dataset(name, make(tmp_path))
    assert isinstance(dataset, IndexedDataset)
    assert dataset[0].sample_id == next(iter(dataset)).sample_id
    with pytest.raises(IndexError):
        dataset[1]


def test_scenes_are_asked_in_the_order_of_their_seeds() -> None:
    dataset = open_dataset("scenes:val")
    first = next(iter(dataset))
    drawn = scene(split_seeds("val")[0])
    assert (first.sample_id, len(dataset)) == (str(drawn.seed), len(split_seeds("val")))
    np.testing.assert_array_equal(first.image, drawn.image)
    assert [each.phrase for each in first.questions] == [each.text for each in drawn.expressions]
    for question, expression in zip(first.questions, drawn.expressions, strict=True):
        np.testing.assert_array_equal(question.reference, drawn.mask(expression))
        assert question.wording == ("unseen" if expression.is_unseen_wording else "seen")


_WITHOUT_ROOT = ("scenes", "photo-scenes", "coco", "folder", "hf")


@pytest.mark.parametrize("name", [each for each in DATASET_NAMES if each.partition(":")[0] not in _WITHOUT_ROOT])
def test_a_data_set_of_files_asks_for_its_folder(name: str) -> None:
    with pytest.raises(DatasetError, match="give it with --root"):
        open_dataset(name)
