"""The zip of all formats: complete, equal for equal runs, and described by its manifest."""

import io
import json
import zipfile
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from evfsam.errors import ConfigurationError, GeometryError
from tests.workbench.doubles import card_of
from tests.workbench.export.runs import IMAGE, PHRASES, ring, run_of_two_phrases
from workbench.export import formats
from workbench.export.formats import FORMATS, cut_out_png, export_files, write_bundle, write_format
from workbench.export.manifest import weight_digests
from workbench.suites.registry import StrategyEntry, Suite


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(write_bundle(tmp_path_factory.mktemp("bundle"), run_of_two_phrases()))


def test_the_manifest_lists_every_other_file_with_its_digest(opened: zipfile.ZipFile) -> None:
    manifest = json.loads(opened.read("manifest.json"))
    assert sorted(entry["name"] for entry in manifest["files"]) == sorted(set(opened.namelist()) - {"manifest.json"})
    for entry in manifest["files"]:
        content = opened.read(entry["name"])
        assert (entry["sha256"], entry["bytes"]) == (sha256(content).hexdigest(), len(content))
        assert entry["content"]


def test_the_manifest_says_how_the_run_was_made(opened: zipfile.ZipFile) -> None:
    manifest = json.loads(opened.read("manifest.json"))
    assert (manifest["suite"], manifest["phrases"]) == ("doubles", list(PHRASES))
    assert manifest["image"]["title"] == "bus.png"
    assert manifest["image"]["pixels_sha256"] == sha256(IMAGE.tobytes()).hexdigest()
    assert {"python", "torch"} <= set(manifest["versions"])
    strategies = manifest["strategies"]
    assert list(strategies) == ["evf-sam", "clip-text", "broken"]
    assert strategies["evf-sam"]["weights_sha256"] == {"model.safetensors": "0" * 64}
    assert strategies["clip-text"]["options"] == {"variant": "text"}
    assert strategies["evf-sam"]["seconds"]["total"] == 0.5
    assert [answer["reason"] for answer in strategies["broken"]["answers"]] == ["It broke."] * 2


def test_masks_and_cut_outs_are_without_loss(opened: zipfile.ZipFile) -> None:
    with Image.open(opened.open("masks/evf-sam-1.png")) as picture:
        np.testing.assert_array_equal(np.asarray(picture), ring() * 255)
    with Image.open(opened.open("cut-outs/evf-sam-1.png")) as picture:
        pixels = np.asarray(picture)
    np.testing.assert_array_equal(pixels[..., :3][ring()], IMAGE[ring()])
    assert not pixels[~ring()].any(), "what was cut away is not hidden in the file"
    np.testing.assert_array_equal(pixels[..., 3], ring() * 255)


def test_the_arrays_hold_logits_candidates_and_attention(opened: zipfile.ZipFile) -> None:
    with np.load(io.BytesIO(opened.read("arrays-evf-sam.npz"))) as arrays:
        np.testing.assert_array_equal(arrays["mask_logits_1"] > 0, ring())
        np.testing.assert_array_equal(arrays["mask_1"], ring())
        assert arrays["low_res_logits_2_1"].shape == (1, 10, 15)
        assert arrays["pred_ious_1_1"].tolist() == pytest.approx([1.02])
        np.testing.assert_allclose(arrays["attention_1"].astype(np.float32).sum(axis=-1), 1, atol=5e-3)
        assert arrays["text_tokens_1"].tolist() == ["<s>", "\u2581bus"]


def test_equal_runs_make_equal_bytes(tmp_path: Path) -> None:
    one, other = (write_bundle(tmp_path / name, run_of_two_phrases()).read_bytes() for name in "ab")
    assert one == other


def test_large_mask_logits_are_left_out_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MOST_LOGITS", 2 * IMAGE.shape[0] * IMAGE.shape[1] * 4 - 1)
    with zipfile.ZipFile(write_bundle(tmp_path, run_of_two_phrases())) as archive:
        listed = {entry["name"]: entry["content"] for entry in json.loads(archive.read("manifest.json"))["files"]}
        with np.load(io.BytesIO(archive.read("arrays-evf-sam.npz"))) as arrays:
            assert "mask_logits_1" not in arrays
            assert {"mask_1", "low_res_logits_1_1"} <= set(arrays)
    assert "mask logits left out" in listed["arrays-evf-sam.npz"]


@pytest.mark.parametrize("key", ["image", "masks", None])
def test_no_more_is_written_than_is_bounded(key: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LARGEST_EXPORT", 200)
    with pytest.raises(ConfigurationError, match="expected at most 0 MB of files at a time"):
        write_format(tmp_path, run_of_two_phrases(), key) if key else write_bundle(tmp_path, run_of_two_phrases())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", list(FORMATS))
def test_each_format_can_be_had_alone(key: str, tmp_path: Path) -> None:
    run = run_of_two_phrases()
    path = write_format(tmp_path, run, key)
    files = list(export_files(run, key))
    if len(files) == 1:
        assert path.read_bytes() == files[0][1]
    else:
        with zipfile.ZipFile(path) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == {n: c for n, c, _ in files}


def test_an_unknown_format_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown export format 'cocoa'.*did you mean coco"):
        list(export_files(run_of_two_phrases(), "cocoa"))


def test_a_mask_of_another_size_cuts_nothing_out() -> None:
    with pytest.raises(GeometryError, match=r"image's size \(40, 60\), got \(3, 3\)"):
        cut_out_png(IMAGE, np.eye(3, dtype=bool))


def test_weights_are_digested_and_digested_again_when_they_change(tmp_path: Path) -> None:
    (tmp_path / "sam").mkdir()
    weights = tmp_path / "sam" / "model.safetensors"
    weights.write_bytes(b"one")
    suite = Suite("s", "S", "", MappingProxyType({"a": StrategyEntry(card_of("a", "A"), "m:f", tmp_path)}))
    assert weight_digests(suite, ["a"]) == {"a": {"sam/model.safetensors": sha256(b"one").hexdigest()}}
    weights.write_bytes(b"two, longer")
    assert weight_digests(suite, ["a"])["a"]["sam/model.safetensors"] == sha256(b"two, longer").hexdigest()
