"""What is written can be read back by anyone: masks, boxes, JSON, zip."""

import json
import platform
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pycocotools import mask as coco_mask

from evfsam.attention import cls_to_image
from evfsam.errors import ConfigurationError
from tests.workbench.doubles import half_lit, suite_of
from workbench.comparison import Comparison, StrategyResult
from workbench.export.file_writing import as_json_value, check_writable, json_bytes, write_whole
from workbench.export.results import coco_rle, mask_box, png_bytes, result_dict, write_results, write_results_zip
from workbench.metrics.masks import Mask

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=30))
IMAGE = half_lit()
PICTURES = ("mask", "overlay", "evidence", "attention")
LARGE = np.repeat(np.repeat(IMAGE, 50, axis=0), 50, axis=1)


@pytest.fixture
def results(tmp_path: Path) -> Sequence[StrategyResult]:
    suite = suite_of(tmp_path, light="load_bright", broken="load_buggy")
    return list(Comparison(suite).run(IMAGE, "the light"))


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def decoded_by_hand(rle: dict[str, object]) -> Mask:
    """Read COCO's compressed RLE from its definition: base 32, low bits first, deltas from the third count on."""
    height, width = rle["size"]
    counts: list[int] = []
    value = shift = 0
    for character in rle["counts"].encode():
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return pixels.reshape(width, height).T


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools under numpy 2
@given(MASKS)
def test_a_mask_comes_back_from_its_rle(mask: Mask) -> None:
    rle = json.loads(json.dumps(coco_rle(mask)))
    assert rle["size"] == list(mask.shape)
    np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), mask)
    np.testing.assert_array_equal(decoded_by_hand(rle), mask)


@given(MASKS)
def test_the_box_of_a_mask_is_the_least_that_holds_it(mask: Mask) -> None:
    box = mask_box(mask)
    if box is None:
        assert not mask.any()
        return
    x1, y1, x2, y2 = (int(side) for side in box)
    assert mask[y1:y2, x1:x2].sum() == mask.sum()
    for edge in (mask[y1, :], mask[y2 - 1, :], mask[:, x1], mask[:, x2 - 1]):
        assert edge.any()


def test_result_json_is_strict_and_says_what_happened(results: Sequence[StrategyResult]) -> None:
    reference = IMAGE[..., 0] > 128
    content = result_dict(IMAGE, "the light", "doubles", results, reference)
    read = json.loads(json_bytes(content), parse_constant=refuse_constant)
    assert read == content
    assert (read["suite"], read["phrase"]) == ("doubles", "the light")
    assert (read["image"]["height"], read["image"]["width"]) == (40, 60)
    light, broken = read["strategies"]["light"], read["strategies"]["broken"]
    assert (light["verdict"], light["pred_iou"], light["area_share"]) == ("found", 0.75, 0.5)
    assert light["box"] == [0.0, 0.0, 30.0, 40.0]
    assert light["iou_with_reference"] == 1.0
    assert light["sam_prompts"][0]["text_prompt_embeddings"] == [[0.5, -1.5]]
    assert light["sam_prompts"][0]["points"][2] == {
        "x": 45.0,
        "y": 20.0,
        "label": 1,
        "confidence": 0.6,
        "is_kept": False,
        "p_yes": 0.6,
    }
    assert light["trace"][0] == {
        "step": "look",
        "asked": "how bright?",
        "answered": "very",
        "values": {"mean": 1.5, "worst": None},
    }
    assert light["seconds"]["stages"] == {"look": 0.001}
    assert light["attention_share_in_mask"] == pytest.approx(0.5)
    assert (broken["verdict"], broken["box"], broken["pred_iou"]) == ("failed", None, None)
    assert "ZeroDivisionError" in broken["reason"]
    assert read["agreement_iou"] == {"light": {"light": 1.0}}
    assert read["versions"]["python"] == platform.python_version()
    assert torch.__version__.startswith(read["versions"]["torch"])


def test_a_known_mask_is_measured_only_where_there_is_one(results: Sequence[StrategyResult]) -> None:
    content = result_dict(IMAGE, "the light", "doubles", results)
    assert "iou_with_reference" not in content["strategies"]["light"]


def test_masks_are_written_lossless_at_the_original_size(tmp_path: Path, results: Sequence[StrategyResult]) -> None:
    written = write_results(tmp_path / "new" / "out", IMAGE, "the light", "doubles", results)
    names = {path.name for path in written}
    assert names == {path.name for path in (tmp_path / "new" / "out").iterdir()}
    assert {f"light-{picture}.png" for picture in PICTURES} | {"result.json"} <= names
    assert "broken-attention.png" not in names
    with Image.open(tmp_path / "new" / "out" / "light-mask.png") as picture:
        assert (picture.format, picture.mode) == ("PNG", "L")
        np.testing.assert_array_equal(np.asarray(picture), np.where(IMAGE[..., 0] > 128, 255, 0))


def test_large_figures_have_the_pages_size_and_attention_its_own_grid(tmp_path: Path) -> None:
    results = list(Comparison(suite_of(tmp_path, light="load_bright")).run(LARGE, "the light"))
    written = {path.name: path for path in write_results(tmp_path / "out", LARGE, "the light", "doubles", results)}
    sizes = {name: Image.open(path).size for name, path in written.items() if name.endswith(".png")}
    assert sizes.pop("light-mask.png") == (3000, 2000)
    assert set(sizes.values()) == {(1280, 853)}
    record = results[0].segmentation.attention
    assert record is not None
    np.testing.assert_array_equal(np.load(written["light-attention.npy"]), cls_to_image(record))


def test_evidence_is_drawn_only_where_there_is_a_box_or_a_point(
    tmp_path: Path, results: Sequence[StrategyResult]
) -> None:
    names = {path.name for path in write_results(tmp_path / "out", IMAGE, "the light", "doubles", results)}
    assert "light-evidence.png" in names
    assert "broken-evidence.png" not in names


def test_what_is_said_of_an_answer_is_worked_out_once(
    monkeypatch: pytest.MonkeyPatch, results: Sequence[StrategyResult]
) -> None:
    first = result_dict(IMAGE, "the light", "doubles", results)
    monkeypatch.setattr("workbench.export.results.coco_rle", lambda _: 1 / 0)
    assert result_dict(IMAGE, "the light", "doubles", results) == first
    known = result_dict(IMAGE, "the light", "doubles", results, IMAGE[..., 0] > 128)
    assert known["strategies"]["light"]["iou_with_reference"] == 1.0
    assert "iou_with_reference" not in result_dict(IMAGE, "the light", "doubles", results)["strategies"]["light"]


def test_the_zip_holds_the_same_files_and_the_same_bytes_each_time(
    tmp_path: Path, results: Sequence[StrategyResult]
) -> None:
    written = write_results(tmp_path / "out", IMAGE, "the light", "doubles", results)
    one, other = (
        write_results_zip(tmp_path / name, IMAGE, "the light", "doubles", results) for name in ("one.zip", "other.zip")
    )
    assert one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            path.name: path.read_bytes() for path in written
        }


def test_pictures_hold_pixels_and_nothing_else() -> None:
    chunks, data = [], png_bytes(IMAGE)
    place = 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4])
        chunks.append(data[place + 4 : place + 8])
        place += 12 + length
    assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}


def test_a_folder_that_cannot_be_made_is_named_in_the_error(tmp_path: Path, results: Sequence[StrategyResult]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cannot write .*file.out.*: Not a directory"):
        write_results(tmp_path / "file" / "out", IMAGE, "the light", "doubles", results)


def test_a_write_that_fails_leaves_the_old_file_and_no_part_of_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "result.json"
    target.write_bytes(b"old")

    def break_off(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", break_off)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        write_whole(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert target.read_bytes() == b"old"


def test_asking_whether_a_file_can_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="it is a folder"):
        check_writable(tmp_path)


def test_values_that_json_lacks_become_null_lists_or_text() -> None:
    value = {
        "nan": float("nan"),
        "infinity": [np.float32("inf"), torch.tensor([1.0, float("-inf")])],
        "array": np.arange(3),
        "set of one": {1},
        "path": Path("x"),
        5: (True, None),
    }
    assert as_json_value(value) == {
        "nan": None,
        "infinity": [None, [1.0, None]],
        "array": [0, 1, 2],
        "set of one": [1],
        "path": "x",
        "5": [True, None],
    }


@given(st.text())
def test_any_text_from_a_command_line_stays_valid_json(text: str) -> None:
    assert json.loads(json_bytes({"phrase": text + "\udc80"}))["phrase"] == text + "\udc80"


def test_several_phrases_are_exported_one_by_one_and_joined(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    suite = suite_of(tmp_path / "weights", light="load_bright")
    results = list(Comparison(suite).run(IMAGE, "the light; nothing"))
    content = result_dict(IMAGE, "the light; nothing", "doubles", results)
    assert (content["phrase"], content["phrases"]) == ("the light; nothing", ["the light", "nothing"])
    light = content["strategies"]["light"]
    assert [(answer["phrase"], answer["verdict"]) for answer in light["answers"]] == [
        ("the light", "found"),
        ("nothing", "absent"),
    ]
    assert light["answers"][0]["mask_rle"] == light["mask_rle"] == coco_rle(results[0].segmentation.mask)
    assert light["answers"][1]["box"] is None
    written = {path.name: path for path in write_results(tmp_path / "out", IMAGE, "x", "doubles", results)}
    assert {"light-mask.png", "light-mask-1.png", "light-mask-2.png", "light-attention-1.png"} <= set(written)
    assert not {"light-attention.png", "light-attention-2.png"} & set(written)
    lit = np.asarray(Image.open(written["light-mask-1.png"]))
    np.testing.assert_array_equal(lit, np.where(IMAGE[..., 0] > 128, 255, 0))
    assert not np.asarray(Image.open(written["light-mask-2.png"])).any()


def test_a_single_phrase_is_exported_without_a_list_of_answers(results: Sequence[StrategyResult]) -> None:
    content = result_dict(IMAGE, "the light", "doubles", results)
    assert content["phrases"] == ["the light"]
    assert "answers" not in content["strategies"]["light"]
