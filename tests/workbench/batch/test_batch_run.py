"""Many phrases about many images: encoded once each, kept at every moment, gone on with, the same as one comparison."""

import csv
import io
import json
import zipfile
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from evfsam.errors import ConfigurationError, EvfSamError
from tests.webui.fakes import channel_mask, fake_comparison, three_colours
from tests.workbench.doubles import suite_of
from tests.workbench.test_zero_gpu import FakeSpaces
from workbench.__main__ import main
from workbench.batch.batch_files import COMMAND_LIMITS, BatchError, read_sources
from workbench.batch.batch_plan import plan_batch
from workbench.batch.batch_run import BatchRun, open_batch
from workbench.batch.own_results import ARCHIVE_NAME
from workbench.comparison import Comparison
from workbench.request_memory import question_bytes
from workbench.zero_gpu import LONGEST_SECONDS, GpuUnavailableError, ZeroGpuComparison

SIZE = (40, 60)
KEYS = ["evf-sam", "clip-text"]


def opened(
    images: Path, out: Path, comparison: Comparison, *phrases: str, keys: list[str] = KEYS, at_once: int = 2
) -> BatchRun:
    plan = plan_batch(read_sources([("images", images)], COMMAND_LIMITS), phrases, COMMAND_LIMITS)
    return open_batch(out, comparison, plan, keys, phrases_at_once=at_once)


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "masks.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_image_is_encoded_once_for_all_phrases_and_strategies(images: Path, tmp_path: Path) -> None:
    comparison, backbone = fake_comparison()
    run = opened(images, tmp_path / "out", comparison, *"abcde")
    assert [progress.done_count for progress in run.work()][-1] == 2 * 5 * 2
    assert backbone.encoded_count == 2


def test_answers_are_those_of_one_comparison_as_png_and_as_rle(images: Path, tmp_path: Path) -> None:
    comparison, _ = fake_comparison()
    run = opened(images, tmp_path / "out", comparison, "a square", "an absent square")
    list(run.work())
    for line in lines(tmp_path / "out"):
        image = three_colours(SIZE, shift=int(str(line["image"])[0]))
        (expected,) = comparison.run(image, [str(line["phrase"])], [str(line["strategy"])])
        segmentation = expected.segmentation
        assert (line["verdict"], line["pred_iou"]) == (segmentation.verdict.kind, segmentation.pred_iou)
        mask = np.asarray(Image.open(tmp_path / "out" / str(line["mask"])))
        assert np.array_equal(mask, segmentation.mask * np.uint8(255))
        rle = line["rle"]
        assert isinstance(rle, dict)
        assert np.array_equal(coco_mask.decode({**rle, "counts": rle["counts"].encode()}), segmentation.mask)


def test_a_stopped_batch_keeps_its_answers_and_asks_only_the_others_when_it_goes_on(
    images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = opened(images, out, fake_comparison()[0], "a square")
    for progress in run.work():
        if progress.done_count == 3:
            run.stop()
    kept = lines(out)
    assert len(kept) == 3
    again = opened(images, out, fake_comparison()[0], "a square")
    assert again.progress.done_count == 3
    assert [progress.done_count for progress in again.work()] == [4, 4]
    assert lines(out)[:3] == kept
    assert again.progress.is_done


def test_work_ends_in_time_and_goes_on_where_it_ended(images: Path, tmp_path: Path) -> None:
    run = opened(images, tmp_path / "out", fake_comparison()[0], "a", "b", "c", at_once=1)
    slices = 0
    while not run.is_over:
        assert len(list(run.work(seconds=0))) <= len(KEYS)
        slices += 1
    assert slices >= 6
    assert len(lines(tmp_path / "out")) == 12


def test_a_line_cut_short_and_a_failed_answer_are_asked_again(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = opened(images, out, fake_comparison()[0], "explode")
    list(first.work())
    assert [line["verdict"] for line in lines(out)].count("failed") == 2
    journal = (out / "masks.jsonl").read_bytes().splitlines(keepends=True)
    (out / "masks.jsonl").write_bytes(b"".join(journal[:-1]) + journal[-1][:20])
    again = opened(images, out, fake_comparison()[0], "explode")
    assert again.progress.done_count == 2
    list(again.work())
    assert len(lines(out)) == 4


def test_what_takes_too_much_memory_at_once_is_asked_in_parts(images: Path, tmp_path: Path) -> None:
    keys = ["evf-sam", "clip-text", "point-query"]
    alone = question_bytes(SIZE, 1, [None])
    comparison, _ = fake_comparison(question_bytes=question_bytes(SIZE, 2, [None] * 3))
    list(opened(images, tmp_path / "out", comparison, *"abcde", keys=keys, at_once=5).work())
    assert len(lines(tmp_path / "out")) == 2 * 5 * 3
    comparison, _ = fake_comparison(question_bytes=alone)
    list(opened(images, tmp_path / "few", comparison, "a", keys=keys).work())
    assert len(lines(tmp_path / "few")) == 2 * 3


def test_an_image_too_large_for_any_question_is_named_and_the_others_are_asked(images: Path, tmp_path: Path) -> None:
    Image.fromarray(three_colours((800, 1200))).save(images / "0.png")
    comparison, _ = fake_comparison(question_bytes=question_bytes(SIZE, 2, [None]))
    run = opened(images, tmp_path / "out", comparison, "a square", "a circle", keys=["evf-sam"])
    progress = list(run.work())[-1]
    assert (progress.done_count, progress.skipped_count, progress.total_count) == (2, 2, 4)
    run.finish()
    assert [(fault.place, "of memory" in fault.reason) for fault in run.faults] == [("0.png", True)]


def test_another_image_under_an_old_name_is_asked_anew(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    list(opened(images, out, fake_comparison()[0], "a square").work())
    Image.fromarray(three_colours(SIZE, shift=5)).save(images / "0.png")
    again = opened(images, out, fake_comparison()[0], "a square")
    assert list(again.work())[-1].is_done
    assert len(lines(out)) == 4


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_asked(images: Path, tmp_path: Path) -> None:
    (images / "0.png").write_bytes(b"no image")
    run = opened(images, tmp_path / "out", fake_comparison()[0], "a square", "a circle")
    progress = list(run.work())[-1]
    assert (progress.done_count, progress.skipped_count, progress.total_count) == (4, 4, 8)
    assert progress.is_done
    run.finish()
    faults = list(csv.reader(io.StringIO((tmp_path / "out" / "faults.csv").read_text(encoding="utf-8-sig"))))
    assert faults[1][0] == "0.png"
    assert "expected an image" in faults[1][1]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"] == {
        "images": 2,
        "questions": 4,
        "answers_asked_for": 8,
        "answers": 4,
        "answers_failed": 0,
        "answers_without_image": 4,
        "faults": 1,
    }


def test_the_zip_holds_exactly_what_its_manifest_lists(images: Path, tmp_path: Path) -> None:
    run = opened(images, tmp_path / "out", fake_comparison()[0], "a square", "explode; a square")
    list(run.work())
    run.finish()
    path = run.folder.write_zip(tmp_path / ARCHIVE_NAME)
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert {file["name"] for file in manifest["files"]} == set(archive.namelist()) - {"manifest.json"}
        figures = list(csv.DictReader(io.StringIO(archive.read("figures.csv").decode("utf-8-sig"))))
        assert len([name for name in archive.namelist() if name.startswith("masks/")]) == 6
    failed = [row for row in figures if row["verdict"] == "failed"]
    assert [(row["mask"], row["overlay"]) for row in failed] == [("", ""), ("", "")]
    found = next(row for row in figures if row["verdict"] == "found" and row["strategy"] == "evf-sam")
    rows, columns = np.nonzero(channel_mask(three_colours(SIZE, shift=int(found["image"][0])), 0))
    assert [float(found[name]) for name in ("x1", "y1", "x2", "y2")] == [
        columns.min(),
        rows.min(),
        columns.max() + 1,
        rows.max() + 1,
    ]


def test_a_folder_of_another_batch_is_refused(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    opened(images, out, fake_comparison()[0], "a square")
    other = "holds a batch with other strategies, options, weights, device or number type"
    with pytest.raises(BatchError, match=other):
        opened(images, out, fake_comparison()[0], "a square", keys=["point-query"])
    comparison = fake_comparison()[0]
    with pytest.raises(BatchError, match=other):
        opened(images, out, Comparison(comparison.suite, dtype=torch.bfloat16), "a square")
    opened(images, out, Comparison(comparison.suite, dtype=torch.float32), "a square")
    (out / "manifest.json").write_text('{"format": 1}')
    with pytest.raises(BatchError, match="holds something else than a batch"):
        opened(images, out, fake_comparison()[0], "a square")
    (out / "manifest.json").unlink()
    (out / "masks.jsonl").write_text("")
    with pytest.raises(BatchError, match=r"has masks\.jsonl without manifest\.json"):
        opened(images, out, fake_comparison()[0], "a square")
    with pytest.raises(ConfigurationError, match="nobody"):
        opened(images, tmp_path / "new", fake_comparison()[0], "a square", keys=["nobody"])


def test_names_that_look_alike_get_files_of_their_own(images: Path, tmp_path: Path) -> None:
    run = opened(images, tmp_path / "out", fake_comparison()[0], "a square!", "a square?", "正方形", "../../x")
    list(run.work())
    names = [str(line["mask"]) for line in lines(tmp_path / "out")]
    assert len(set(names)) == len(names) == 16
    written = {f"masks/{path.name}" for path in (tmp_path / "out" / "masks").iterdir()}
    assert written == set(names)


def test_on_a_lent_gpu_a_call_is_short_enough_and_a_refusal_keeps_what_is_done(images: Path, tmp_path: Path) -> None:
    spaces = FakeSpaces()
    (tmp_path / "weights").mkdir()
    suite = suite_of(tmp_path / "weights", **{"point-query": "load_bright", "clip-ranking": "load_bright"})
    comparison = ZeroGpuComparison(suite, "cpu", torch.float32, spaces.gpu)
    run = opened(images, tmp_path / "out", comparison, *"abcdefghijklmnop", keys=list(suite.strategies), at_once=16)
    work = run.work()
    for _ in range(2):
        next(work)
    spaces.fault = RuntimeError("No GPU was available after 60s")
    with pytest.raises(GpuUnavailableError, match="All GPUs are busy"):
        list(work)
    assert max(spaces.seconds) < LONGEST_SECONDS
    assert 0 < len(lines(tmp_path / "out")) == run.progress.done_count


def test_the_command_names_faults_and_goes_on_with_a_folder(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weights").mkdir()
    suite = suite_of(tmp_path / "weights", light="load_bright")
    monkeypatch.setattr("workbench.suites.registry.SUITES", MappingProxyType({"mini": suite}))
    (tmp_path / "q.csv").write_text("image,phrase\n0.png,the lamp\n9.png,the lamp\n")
    out = tmp_path / "out"
    command = ["batch", str(images), "--phrases", "the light", "nothing", "--out", str(out)]
    assert main([*command, "--csv", str(tmp_path / "q.csv")]) == 3
    assert capsys.readouterr().out.splitlines() == [
        f"5 of 5 answers are in {out}",
        "light        3 found, 2 absent, 0 failed",
        "1 could not be used:",
        "  q.csv, line 3: there is no image “9.png”",
    ]
    before = (out / "masks.jsonl").read_bytes()
    assert main(command) == 0
    assert (out / "masks.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--phrases", "a"], "got no such file: nowhere"),
        (["--phrases", "a"], "the following arguments are required: IMAGES"),
    ],
)
def test_a_command_that_cannot_be_carried_out_says_so_in_a_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", *arguments, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


def test_errors_of_a_batch_are_told_to_people() -> None:
    assert issubclass(BatchError, EvfSamError)
