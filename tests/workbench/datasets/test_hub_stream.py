"""Data sets in the layout of the Hub are read as a stream, whatever their columns hold masks as."""

import io
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from tests.workbench.datasets.layouts import SIZE, damage, polygon, rectangle, run_lengths
from workbench.datasets.contract import ABSENT, DatasetError, SampleError
from workbench.datasets.hub_stream import HubStream
from workbench.datasets.known_datasets import open_dataset

GREY = np.full((*SIZE, 3), 90, dtype=np.uint8)
PATCH = rectangle(3, 2, 9, 10)


def png(values: np.ndarray) -> dict[str, object]:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def laid_down(root: Path, columns: dict[str, list[Any]], *, pictures: tuple[str, ...] = ("image",)) -> HubStream:
    made = datasets.Dataset.from_dict(columns)
    for name in pictures:
        made = made.cast_column(name, datasets.Image())
    (root / "set/data").mkdir(parents=True)
    made.to_parquet(root / "set/data/validation-00000-of-00001.parquet")
    opened = open_dataset("hf:set:validation", root)
    assert isinstance(opened, HubStream)
    return opened


def test_phrases_and_masks_as_pictures(tmp_path: Path) -> None:
    columns = {
        "image_id": [7, 8],
        "image": [png(GREY), png(GREY)],
        "sentences": [["the patch", " a patch "], ["nothing"]],
        "mask": [png(PATCH.astype(np.uint8) * 255), None],
    }
    stream = laid_down(tmp_path, columns, pictures=("image", "mask"))
    first, second = stream
    assert (len(stream), stream.split, first.sample_id, second.sample_id) == (2, "validation", "7", "8")
    assert [(each.phrase, each.kind) for each in first.questions] == [("the patch", "phrase"), ("a patch", "phrase")]
    np.testing.assert_array_equal(first.image, GREY)
    np.testing.assert_array_equal(first.questions[1].reference, PATCH)
    assert [(each.phrase, each.kind) for each in second.questions] == [("nothing", ABSENT)]
    assert second.questions[0].reference.shape == SIZE
    assert not second.questions[0].reference.any()


@pytest.mark.parametrize("mask", [run_lengths(PATCH), [polygon(3, 2, 9, 10)]], ids=["run lengths", "polygons"])
def test_masks_in_coco_notation(tmp_path: Path, mask: object) -> None:
    (sample,) = laid_down(tmp_path, {"image": [png(GREY)], "text": ["the patch"], "segmentation": [mask]})
    assert sample.sample_id == "0"
    np.testing.assert_array_equal(sample.questions[0].reference, PATCH)


HALF_SEEN = np.where(PATCH, 255, 0).astype(np.uint8)
OPAQUE = np.full(SIZE, 255, dtype=np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG") -> dict[str, object]:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 60} if kind == "JPEG" else {}))
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.mark.parametrize(
    "mask",
    [
        encoded(Image.fromarray(np.dstack([HALF_SEEN] * 3 + [OPAQUE]))),
        encoded(Image.fromarray(np.dstack([HALF_SEEN, OPAQUE]))),
        encoded(Image.fromarray(np.dstack([OPAQUE] * 3 + [HALF_SEEN]))),
        encoded(Image.fromarray(PATCH.astype(np.uint16) * 256)),
        encoded(Image.fromarray(PATCH.astype(np.uint8) * 7)),
        encoded(Image.fromarray(HALF_SEEN).resize((64, 48), 0).resize((32, 24), 0), "BMP"),
    ],
    ids=["opaque colours", "opaque grey", "cut-out", "16 bits", "one label", "BMP"],
)
def test_pictures_of_masks_are_read_whatever_their_form(tmp_path: Path, mask: dict[str, object]) -> None:
    columns = {"image": [png(GREY)], "text": ["the patch"], "mask": [mask]}
    (sample,) = laid_down(tmp_path, columns, pictures=("image", "mask"))
    np.testing.assert_array_equal(sample.questions[0].reference, PATCH)


def test_soft_edges_of_a_compressed_mask_are_no_object(tmp_path: Path) -> None:
    soft = encoded(Image.fromarray(HALF_SEEN), "JPEG")
    (sample,) = laid_down(tmp_path, {"image": [png(GREY)], "text": ["x"], "mask": [soft]}, pictures=("image", "mask"))
    assert abs(int(sample.questions[0].reference.sum()) - int(PATCH.sum())) <= 4


def test_rows_of_zeros_and_ones_are_a_mask_and_no_polygons(tmp_path: Path) -> None:
    rows = PATCH.astype(int).tolist()
    (sample,) = laid_down(tmp_path, {"image": [png(GREY)], "text": ["the patch"], "mask": [rows]})
    np.testing.assert_array_equal(sample.questions[0].reference, PATCH)


def test_rows_of_one_image_share_its_id_whatever_their_own(tmp_path: Path) -> None:
    columns = {
        "id": [1, 2, 3],
        "image": [png(GREY)] * 3,
        "image_id": ["a", "a", None],
        "text": ["x", "x", "y"],
        "mask": [run_lengths(PATCH)] * 3,
    }
    assert [sample.sample_id for sample in laid_down(tmp_path, columns)] == ["a", "a", "row 2"]


@pytest.mark.parametrize("scale", [1, 255])
def test_rows_of_pixels_of_another_size_are_no_polygons_either(tmp_path: Path, scale: int) -> None:
    rows = (PATCH[::2, ::2].astype(int) * scale).tolist()
    (sample,) = laid_down(tmp_path, {"image": [png(GREY)], "text": ["the patch"], "mask": [rows]})
    with pytest.raises(SampleError, match=r"run lengths of an image of \(24, 32\), got 12 rows of 16 pixels"):
        _ = sample.questions[0].reference


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (png(HALF_SEEN[:12, :16]), "expected a mask of the image's size, 32 x 24"),
        ({"bytes": b"no picture", "path": None}, "cannot read the mask of 0"),
    ],
)
def test_a_mask_that_cannot_be_the_images_is_told(tmp_path: Path, mask: dict[str, object], words: str) -> None:
    columns = {"image": [png(GREY)], "text": ["the patch"], "mask": [mask]}
    (sample,) = laid_down(tmp_path, columns, pictures=("image", "mask"))
    with pytest.raises(SampleError, match=words):
        _ = sample.questions[0].reference


def test_text_in_a_column_of_masks_is_not_taken_for_nothing(tmp_path: Path) -> None:
    (sample,) = laid_down(tmp_path, {"image": [png(GREY)], "text": ["the patch"], "mask": [""]})
    assert sample.questions[0].kind == "phrase"
    with pytest.raises(SampleError, match="expected a polygon or run lengths"):
        _ = sample.questions[0].reference


def test_an_image_is_read_when_it_is_needed_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    columns = {"image": [{"bytes": b"no picture", "path": None}], "text": ["x"], "segmentation": [run_lengths(PATCH)]}
    (sample,) = laid_down(tmp_path, columns)
    with pytest.raises(SampleError, match="cannot read the image 0"):
        _ = sample.image


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected a column mask, masks, .*, found image, text; rename one"):
        laid_down(tmp_path, {"image": [png(GREY)], "text": ["x"]})


def test_a_stream_that_breaks_off_is_told(tmp_path: Path) -> None:
    laid_down(tmp_path, {"image": [png(GREY)], "text": ["x"], "mask": [run_lengths(PATCH)]})
    damage(next(tmp_path.rglob("*.parquet")))
    stream = open_dataset("hf:set:validation", tmp_path)
    with pytest.raises(DatasetError, match=r"cannot read the split validation after 0 rows: .*the same command again"):
        list(stream)


@pytest.mark.parametrize(("name", "said"), [("hf:set", "name the split"), ("hf:nowhere:val", "cannot read the split")])
def test_what_cannot_be_opened_is_told(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        open_dataset(name, tmp_path)


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetError, match="needs the package datasets, not found; run pip install datasets"):
        open_dataset("hf:set:val", tmp_path)
