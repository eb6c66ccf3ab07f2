"""Annotation files can be read by the tools they are for, and hold the masks they were made of."""

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tests.workbench.export.runs import HEIGHT, PHRASES, WIDTH, decoded_label_studio, ring, run_of_two_phrases
from workbench.export.annotations import (
    Polygon,
    coco_dict,
    label_studio_config,
    label_studio_rle,
    label_studio_tasks,
    labelme_dict,
    mask_polygons,
    sa1b_dict,
)
from workbench.metrics.masks import Mask, mask_iou

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=20))
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@settings(deadline=None)
@given(MASKS)
def test_a_mask_comes_back_from_label_studios_code(mask: Mask) -> None:
    np.testing.assert_array_equal(decoded_label_studio(label_studio_rle(mask), *mask.shape), mask)


def test_runs_longer_than_the_largest_length_are_split() -> None:
    mask = np.zeros((300, 300), dtype=bool)  # 360,000 values of 65,536 a run at most
    mask[-1, -1] = True
    code = label_studio_rle(mask)
    assert len(code) < 40
    np.testing.assert_array_equal(decoded_label_studio(code, 300, 300), mask)


def test_pycocotools_reads_the_coco_file(tmp_path: Path) -> None:
    run = run_of_two_phrases()
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(coco_dict(run, "evf-sam")), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(path))
    annotations = read.loadAnns(read.getAnnIds(imgIds=1))
    assert [read.cats[each["category_id"]]["name"] for each in annotations] == list(PHRASES)
    for annotation, mask in zip(annotations, run.masks_of("evf-sam"), strict=True):
        np.testing.assert_array_equal(read.annToMask(annotation).astype(bool), mask.mask)
        assert annotation["area"] == coco_mask.area(annotation["segmentation"])
        np.testing.assert_array_equal(annotation["bbox"], coco_mask.toBbox(annotation["segmentation"]))
    assert read.imgs[1] == {"id": 1, "file_name": "image.png", "height": HEIGHT, "width": WIDTH}


def test_empty_masks_have_no_annotation() -> None:
    run = run_of_two_phrases()
    assert [each["category_id"] for each in coco_dict(run, "clip-text")["annotations"]] == [1]
    assert len(sa1b_dict(run, "clip-text")["annotations"]) == 1


def test_sa_1b_annotations_have_its_fields() -> None:
    content = sa1b_dict(run_of_two_phrases(), "evf-sam")
    assert content["image"] == {"image_id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "image.png"}
    annotation = content["annotations"][0]
    assert set(annotation) == {
        "id",
        "segmentation",
        "bbox",
        "area",
        "predicted_iou",
        "stability_score",
        "crop_box",
        "point_coords",
        "phrase",
    }
    np.testing.assert_array_equal(coco_mask.decode(annotation["segmentation"]).astype(bool), ring())
    assert annotation["point_coords"] == [[12.5, 20.5]], "points that SAM did not see are left out"
    assert (annotation["predicted_iou"], annotation["stability_score"]) == (1.02, 1.0)


def test_the_label_studio_task_fits_its_set_up() -> None:
    run = run_of_two_phrases()
    (task,) = label_studio_tasks(run)
    config = ElementTree.fromstring(label_studio_config(run))
    brush, image = config.find("BrushLabels"), config.find("Image")
    assert brush is not None
    assert image is not None
    assert image.get("value") == "$image"
    assert task["data"] == {"image": "image.png"}
    assert [prediction["model_version"] for prediction in task["predictions"]] == ["evf-sam", "clip-text"]
    assert [prediction["score"] for prediction in task["predictions"]] == [1.0, 1.0]
    labels = [label.get("value") for label in brush.findall("Label")]
    assert labels == list(PHRASES)
    for prediction in task["predictions"]:
        masks = [mask for mask in run.masks_of(prediction["model_version"]) if mask.area]
        for region, mask in zip(prediction["result"], masks, strict=True):
            assert (region["from_name"], region["to_name"]) == (brush.get("name"), image.get("name"))
            assert (region["original_width"], region["original_height"]) == (WIDTH, HEIGHT)
            assert region["value"]["brushlabels"] == [mask.phrase]
            read = decoded_label_studio(region["value"]["rle"], HEIGHT, WIDTH)
            np.testing.assert_array_equal(read, mask.mask)


def test_labelme_polygons_drawn_again_are_the_mask() -> None:
    run = run_of_two_phrases()
    content = labelme_dict(run, "evf-sam")
    assert (content["imageHeight"], content["imageWidth"], content["imagePath"]) == (HEIGHT, WIDTH, "image.png")
    for mask in run.masks_of("evf-sam"):
        canvas = Image.new("L", (WIDTH, HEIGHT))
        for shape in content["shapes"]:
            if (shape["label"], shape["group_id"]) == (mask.phrase, mask.number):
                assert shape["shape_type"] == "polygon"
                ImageDraw.Draw(canvas).polygon([tuple(point) for point in shape["points"]], outline=1, fill=1)
        assert mask_iou(np.asarray(canvas).astype(bool), mask.mask) > 0.98


def test_control_characters_of_a_phrase_leave_the_labelling_set_up_well_formed() -> None:
    run = replace(run_of_two_phrases(), phrases=("cat \x07\x1b[31m", "dog\ufffe"))
    labels = [label.get("value") for label in ElementTree.fromstring(label_studio_config(run)).iter("Label")]
    assert labels == ["cat \ufffd\ufffd[31m", "dog\ufffd"]
    masks = tuple(replace(mask, phrase=run.phrases[mask.number - 1]) for mask in run.masks)
    tasks = label_studio_tasks(replace(run, masks=masks))
    regions = [region for prediction in tasks[0]["predictions"] for region in prediction["result"]]
    assert {label for region in regions for label in region["value"]["brushlabels"]} <= set(labels)


def drawn(polygons: list[Polygon], shape: tuple[int, ...]) -> Mask:
    canvas = Image.new("L", (shape[1], shape[0]))
    for polygon in polygons:
        ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in polygon], outline=1, fill=1)
    return np.asarray(canvas).astype(bool)


def flat(mask: Mask) -> list[Polygon]:
    return [polygon for part in mask_polygons(mask) for polygon in part]


@settings(deadline=None, max_examples=200)
@given(MASKS)
def test_any_mask_comes_back_from_its_polygons(mask: Mask) -> None:
    np.testing.assert_array_equal(drawn(flat(mask), mask.shape), mask)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_smooth_shapes_with_holes_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[:90, :120]
    mask = np.zeros((90, 120), dtype=bool)
    for is_added in (True, True, False, True, False):
        centre, radius = rng.uniform((0, 0), (90, 120)), rng.uniform(3, 40)
        mask[np.hypot(rows - centre[0], columns - centre[1]) < radius] = is_added
    assert mask_iou(drawn(flat(mask), mask.shape), mask) > 0.98


def test_parts_are_kept_together_and_each_polygon_can_be_read_by_labelme() -> None:
    parts = mask_polygons(ring())
    assert len(parts) == 2, "the ring, cut open, and its island"
    sizes = sorted(len(part) for part in parts)
    assert sizes == [1, 2]
    assert all(len(polygon) >= 3 for part in parts for polygon in part)


def test_points_on_straight_lines_are_left_out() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[2:7, 3:8] = True
    assert [set(polygon) for polygon in flat(mask)] == [{(3, 2), (7, 2), (7, 6), (3, 6)}]


def test_an_empty_mask_has_none() -> None:
    assert mask_polygons(np.zeros((3, 3), dtype=bool)) == ()
