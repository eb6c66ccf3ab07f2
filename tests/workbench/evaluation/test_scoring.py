"""Saved masks, whoever saved them, are held against the right expressions, and none is passed over in silence."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.workbench.datasets import layouts
from tests.workbench.datasets.layouts import polygon, rectangle, run_lengths
from tests.workbench.evaluation.test_merging import answer, written
from workbench.__main__ import main
from workbench.cli.score import Scoring
from workbench.datasets.contract import Sample, SampleQuestion
from workbench.datasets.known_datasets import open_dataset
from workbench.evaluation.measured_answers import Answer
from workbench.evaluation.merging import merged_runs
from workbench.evaluation.result_lines import read_results
from workbench.evaluation.saved_masks import SavedMask, SavedMasks, SavedMasksError, read_saved_masks

RIGHT_MAN = rectangle(20, 4, 28, 20)
"""The known mask of "right man" in the tiny RefCOCO: 8 x 16 pixels; that of "left man" has 100 - 40 + 80 - 40 = 100."""
UPPER_HALF = rectangle(20, 4, 28, 12)
PHRASES = ("left man", "man in red", "right man")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return layouts.refer(tmp_path / "refer")


def scored(root: Path, path: Path, name: str = "refcoco:val") -> tuple[dict[str, Answer], Scoring]:
    scoring = Scoring(read_saved_masks(path))
    answers = [answer for of_image in scoring.answers(open_dataset(name, root)) for answer in of_image]
    return {each.phrase: each for each in answers}, scoring


def saved(path: Path, *records: dict[str, object], by_line: bool = False) -> Path:
    path.write_text("".join(f"{json.dumps(each)}\n" for each in records) if by_line else json.dumps(records))
    return path


@pytest.mark.parametrize("by_line", [False, True])
@pytest.mark.parametrize(
    "image",
    [
        {"image_id": 1},
        {"image_id": "000000000001"},
        {"image": "val/COCO_train2014_000000000001.jpg"},
        {"file_name": "COCO_train2014_000000000001.jpg"},
        {"sample_id": "1"},
    ],
)
def test_masks_of_anyone_are_held_against_the_expression_they_answer(
    image: dict[str, object], by_line: bool, root: Path, tmp_path: Path
) -> None:
    half = {**image, "phrase": "Right  Man", "segmentation": run_lengths(UPPER_HALF)}
    whole = {**image, "caption": "man in red", "rle": None}
    answers, scoring = scored(root, saved(tmp_path / "mine.json", half, whole, by_line=by_line))
    right = answers["right man"]
    assert (right.intersection, right.union, right.wanted, right.iou) == (64, 128, 128, 0.5)
    assert (answers["man in red"].outcome, answers["man in red"].iou) == ("absent", 0.0)
    assert (answers["left man"].outcome, answers["left man"].reason) == (
        "unread",
        "no mask was saved for this expression",
    )
    assert scoring.unused() == {"mine": []}


def test_polygons_and_cocos_own_format_are_read(root: Path, tmp_path: Path) -> None:
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [polygon(20, 4, 28, 12), polygon(20, 12, 28, 20)]},
        {"id": 2, "image_id": 7, "caption": "left man", "segmentation": run_lengths(rectangle(0, 0, 0, 0))},
    ]
    content = layouts.coco({7: "COCO_train2014_000000000001.jpg"}, annotations, [{"id": 3, "name": "right man"}])
    answers, _ = scored(root, layouts.as_json(tmp_path / "coco.json", content))
    assert answers["right man"].iou == 1.0
    assert (answers["left man"].outcome, answers["left man"].union) == ("absent", 100)


def test_what_evaluate_wrote_is_measured_anew(tmp_path: Path, root: Path) -> None:
    mask = {"size": (24, 32), "mask_counts": str(run_lengths(UPPER_HALF)["counts"]), "phrase": "right man"}
    path = written(tmp_path / "old.jsonl", [answer(0, 2, place_id="1", **mask), answer(0, 0, phrase="left man")])
    answers, scoring = scored(root, path)
    assert (answers["right man"].iou, answers["right man"].place.strategy) == (0.5, "light")
    assert [each.phrase for each in scoring.unused()["light"]] == ["left man"], "it is about image 0"


def test_a_number_in_a_files_name_is_no_id_of_another_image(tmp_path: Path) -> None:
    names = {1: "frame_0000.jpg", 2: "frame_0001.jpg", 3: "cat.v2.jpg"}
    annotations = [
        {"id": number, "image_id": number, "caption": "man", "segmentation": [polygon(number, 0, number + 6, 6)]}
        for number in names
    ]
    data = layouts.as_json(tmp_path / "data.json", layouts.coco(names, annotations, []))
    # The file that the journal of a batch is, in another order, and with an id that would be another image's number.
    masks = {name: run_lengths(rectangle(number, 0, number + 6, 6)) for number, name in names.items()}
    for saved_as in (
        [{"image": name, "phrase": "man", "rle": mask} for name, mask in masks.items()][::-1],
        [{"image": Path(name).stem, "phrase": "man", "rle": mask} for name, mask in masks.items()],
        [{"image_id": number, "phrase": "man", "rle": masks[name]} for number, name in names.items()],
    ):
        scoring = Scoring(read_saved_masks(saved(tmp_path / "mine.json", *saved_as)))
        found = [each for of_image in scoring.answers(open_dataset(f"coco:{data}")) for each in of_image]
        assert [each.iou for each in found] == [1.0, 1.0, 1.0]
    alone = saved(tmp_path / "mine.json", {"image": "frame_0001.jpg", "phrase": "man", "rle": masks["frame_0001.jpg"]})
    scoring = Scoring(read_saved_masks(alone))
    found = [each for of_image in scoring.answers(open_dataset(f"coco:{data}")) for each in of_image]
    assert [each.outcome for each in found] == ["unread", "found", "unread"]


def test_an_id_goes_before_the_number_that_coco_writes_into_a_name() -> None:
    masks = [SavedMask((name,), "man", None) for name in ("000000000002.jpg", "2")]
    assert SavedMasks("mine", "", tuple(masks)).find("2", "man", 0, "000000000001.jpg") is masks[1]
    assert SavedMasks("mine", "", tuple(masks[:1])).find("2", "man", 0, "000000000001.jpg") is None
    assert SavedMasks("mine", "", tuple(masks[:1])).find("2", "man", 0) is masks[0]


def test_a_mask_that_would_answer_about_two_images_is_refused(tmp_path: Path) -> None:
    names = {1: "a/0.jpg", 2: "b/0.jpg"}
    annotations = [
        {"id": number, "image_id": number, "caption": "man", "segmentation": [polygon(0, 0, 6, 6)]} for number in names
    ]
    data = layouts.as_json(tmp_path / "data.json", layouts.coco(names, annotations, []))
    scoring = Scoring(read_saved_masks(saved(tmp_path / "mine.json", {"image": "0.jpg", "phrase": "man", "rle": None})))
    with pytest.raises(SavedMasksError, match=r"'man' about 0\.jpg, which names the images 1 and 2"):
        list(scoring.answers(open_dataset(f"coco:{data}")))


def test_equal_phrases_about_an_image_whose_rows_stand_apart_are_answered_in_turn(tmp_path: Path) -> None:
    asked = [SampleQuestion("man", "phrase", mask) for mask in (RIGHT_MAN, NOTHING_RIGHT)]
    samples = [Sample(np.zeros((24, 32, 3), np.uint8), (each,), "7") for each in asked]
    masks = [{"image_id": 7, "phrase": "man", "rle": run_lengths(each)} for each in (RIGHT_MAN, NOTHING_RIGHT)]
    scoring = Scoring(read_saved_masks(saved(tmp_path / "mine.json", *masks)))
    assert [each.iou for of_image in scoring.answers(samples) for each in of_image] == [1.0, 1.0]


def test_a_run_under_another_limit_answers_the_same_expressions(tmp_path: Path) -> None:
    mask = {"size": (24, 32), "mask_counts": str(run_lengths(UPPER_HALF)["counts"])}
    absent = {"kind": "absent", "phrase": "the moon", "wanted": 0}
    path = written(
        tmp_path / "old.jsonl", [answer(0, 0, phrase="a man", **mask), answer(0, 1, **absent), answer(0, 2, **absent)]
    )
    found = read_saved_masks(path)["light"]
    # With a larger limit a second present expression stands before the absent ones.
    assert [found.find("0", "the  Moon", place) for place in (0, 1)] == list(found.masks[1:])
    assert found.find("0", "a man", 1) is None


def test_a_last_line_that_a_kill_cut_short_does_not_count(root: Path, tmp_path: Path) -> None:
    records = [{"image_id": 1, "phrase": each, "rle": run_lengths(RIGHT_MAN)} for each in ("right man", "left man")]
    path = saved(tmp_path / "masks.jsonl", *records, by_line=True)
    path.write_bytes(path.read_bytes()[:-9])
    answers, _ = scored(root, path)
    assert (answers["right man"].iou, answers["left man"].outcome) == (1.0, "unread")
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(SavedMasksError, match="expected JSON"):
        read_saved_masks(path)


def test_failed_answers_of_a_batch_stay_failed_and_strategies_apart(root: Path, tmp_path: Path) -> None:
    base = {"image": "COCO_train2014_000000000001.jpg", "phrase": "right man"}
    path = saved(
        tmp_path / "masks.jsonl",
        {**base, "strategy": "one", "verdict": "found", "rle": run_lengths(RIGHT_MAN)},
        {**base, "strategy": "two", "verdict": "failed", "rle": None},
        by_line=True,
    )
    scoring = Scoring(read_saved_masks(path))
    found = [each for of_image in scoring.answers(open_dataset("refcoco:val", root)) for each in of_image]
    outcomes = {each.place.strategy: each.outcome for each in found if each.phrase == "right man"}
    assert outcomes == {"one": "found", "two": "failed"}


def test_expressions_that_read_alike_are_answered_in_turn(tmp_path: Path) -> None:
    root = layouts.refer(tmp_path / "refer")
    refs = [layouts.ref(1, 1, 11, "val", "the man"), layouts.ref(2, 1, 12, "val", "the  Man")]
    (root / "refcoco/refs(unc).p").write_bytes(layouts.python_2_pickle(refs))
    masks = [{"image_id": 1, "phrase": "the man", "rle": run_lengths(each)} for each in (NOTHING_RIGHT, RIGHT_MAN)]
    scoring = Scoring(read_saved_masks(saved(tmp_path / "mine.json", *masks, masks[0])))
    ((first, second),) = scoring.answers(open_dataset("refcoco:val", root))
    assert (first.iou, second.iou) == (0.0, 1.0)
    assert len(scoring.unused()["mine"]) == 1


NOTHING_RIGHT = rectangle(0, 20, 4, 24)


def test_a_mask_of_another_size_or_a_damaged_one_is_told_and_not_counted(root: Path, tmp_path: Path) -> None:
    small = {"size": [2, 2], "counts": "04"}
    path = saved(
        tmp_path / "mine.json",
        {"image_id": 1, "phrase": "left man", "rle": small},
        {"image_id": 1, "phrase": "right man", "rle": {"size": [24, 32], "counts": "o~"}},
    )
    answers, _ = scored(root, path)
    assert answers["left man"].outcome == answers["right man"].outcome == "unread"
    assert "expected a mask of the image's size (24, 32), got [2, 2]" in answers["left man"].reason


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nonsense", "expected JSON, or a JSON object a line"),
        ("[]", "expected masks in .*, found none"),
        ("[7]", "expected an object as record 1"),
        (
            '[{"image_id": 1, "rle": null}]',
            r"a phrase \(phrase, caption.* in record 1 of .*, got the fields image_id, rle",
        ),
        ('[{"phrase": "man", "rle": null}]', r"expected an image \(sample_id, image_id"),
        ('{"annotations": [], "images": [1]}', "expected images and categories in COCO's format"),
        (
            '[{"image_id": 1, "phrase": "man", "mask": {}}]',
            r"expected a mask \(segmentation, rle, .* or null for nothing",
        ),
        ('[{"image_id": true, "phrase": "man", "rle": null}]', "expected an image"),
        ('[{"image_id": NaN, "phrase": "man", "rle": null}]', "expected an image"),
        ('[{"image_id": [1], "phrase": "man", "rle": null}]', "expected an image"),
        (
            '[{"image_id": 1, "phrase": "man", "rle": null, "strategy": {"a": 1}}]',
            "expected text as strategy in record 1",
        ),
        ('{"annotations": [], "images": [{"id": 1, "file_name": "a"}, {"id": "1", "file_name": "b"}]}', "'1' twice"),
        ("[" * 100_000, "expected JSON, or a JSON object a line"),
        ('{"annotations": null}', "expected a list of annotations in COCO's format"),
        ('[{"image_id": 1' + "0" * 400 + ', "rle": null}]', "and a phrase"),
    ],
)
def test_a_file_of_something_else_is_refused_by_record(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(SavedMasksError, match=said):
        read_saved_masks(path)


@pytest.mark.parametrize("mask", ["", {}, 0, False, "masks/a.png", RIGHT_MAN.astype(int).tolist()])
def test_a_mask_in_no_notation_is_told_and_not_counted_as_nothing_found(
    mask: object, root: Path, tmp_path: Path
) -> None:
    answers, _ = scored(root, saved(tmp_path / "mine.json", {"image_id": 1, "phrase": "left man", "rle": mask}))
    assert (answers["left man"].outcome, "expected " in answers["left man"].reason) == ("unread", True)


def score(*words: object) -> int:
    return main(["score", *(str(word) for word in words)])


def test_the_command_prints_figures_and_writes_answers_that_report_compares(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = {"whole": (None, None, RIGHT_MAN), "half": (None, None, UPPER_HALF)}
    for name, found in masks.items():
        records = [
            {"image_id": 1, "phrase": phrase, "rle": None if mask is None else run_lengths(mask)}
            for phrase, mask in zip(PHRASES, found, strict=True)
        ]
        saved(tmp_path / f"{name}.json", *records)
    out = tmp_path / "scores.jsonl"
    files = (tmp_path / "whole.json", f"other={tmp_path / 'half.json'}")
    data = ("--dataset", "refcoco:val", "--root", root)
    assert score(*files, *data, "--out", out) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("refcoco:val, saved masks: 3 expressions")
    # 128 pixels found of 100 + 100 + 128, and one expression of three right; of the other 64, and an IoU of 0.5.
    lines = [line.split() for line in printed.splitlines() if line.startswith("all but absent")]
    assert lines == [
        ["all", "but", "absent", "39.0", "33.3", "33.3", "3"],
        ["all", "but", "absent", "19.5", "16.7", "33.3", "3"],
    ]
    (run,) = merged_runs([out])
    assert (run.run.suite, list(run.run.strategies), run.facts.weights["other"]) == (
        "saved",
        ["whole", "other"],
        "half.json",
    )
    assert run.is_whole
    content = out.read_bytes()
    assert score(*files, *data, "--out", out) == 0
    assert out.read_bytes() == content
    assert main(["report", str(out)]) == 0
    report = capsys.readouterr().out
    assert "| whole | other | +19.5 |" in report


def test_missing_masks_and_masks_about_nothing_there_are_told(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(
        tmp_path / "mine.json",
        {"image_id": 1, "phrase": "right man", "rle": run_lengths(RIGHT_MAN)},
        {"image_id": 1, "phrase": "wrong man", "rle": run_lengths(RIGHT_MAN)},
    )
    data = ("--dataset", "refcoco:val", "--root", root)
    assert score(path, *data) == 3
    said = capsys.readouterr()
    assert "2 expressions could not be asked and are in no figure" in said.out
    assert "1 masks of mine in mine.json are about no expression of refcoco:val" in said.err
    assert "'wrong man' about 1" in said.err
    assert "2 expressions of refcoco:val have no mask of mine in mine.json, such as 'left man' about 1" in said.err
    assert "--missing-is-empty" in said.err
    assert score(path, *data, "--missing-is-empty", "--out", tmp_path / "figures.json") == 3
    figures = json.loads((tmp_path / "figures.json").read_text())["strategies"]["mine"]
    assert (figures["count"], figures["gIoU"]) == (3, pytest.approx(1 / 3))


def test_a_larger_limit_goes_on_with_a_file_and_ends_as_a_run_with_that_limit(root: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.json", *({"image_id": 1, "phrase": each, "rle": None} for each in PHRASES))
    out, fresh = tmp_path / "scores.jsonl", tmp_path / "fresh.jsonl"
    data = ("--dataset", "refcoco:val", "--root", root)
    score(path, *data, "--limit", 2, "--out", out)
    assert len(read_results(out).answers) == 2
    assert score(path, *data, "--limit", 3, "--out", out) == score(path, *data, "--limit", 3, "--out", fresh) == 0
    assert set(read_results(out).answers) == set(read_results(fresh).answers)
    assert (read_results(out).header.run.limit, read_results(out).is_complete) == (3, True)


def test_a_file_about_other_known_masks_is_not_gone_on_with(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "mine.json", *({"image_id": 1, "phrase": each, "rle": None} for each in PHRASES))
    words = (path, "--dataset", "refcoco:val", "--root", root, "--out", tmp_path / "scores.jsonl")
    assert score(*words) == 0
    content = (tmp_path / "scores.jsonl").read_bytes()
    instances = root / "refcoco/instances.json"
    annotations = json.loads(instances.read_text())
    for each in annotations["annotations"]:
        each["segmentation"] = [polygon(0, 0, 4, 4)]
    instances.write_text(json.dumps(annotations))
    assert score(*words) == 2
    assert "the known mask of 'left man' is another than when" in capsys.readouterr().err
    assert (tmp_path / "scores.jsonl").read_bytes() == content


def test_a_file_is_gone_on_with_once_images_can_be_read_again(root: Path, tmp_path: Path) -> None:
    path = saved(tmp_path / "mine.json", *({"image_id": 1, "phrase": each, "rle": None} for each in PHRASES))
    words = (path, "--dataset", "refcoco:val", "--root", root, "--out", tmp_path / "scores.jsonl")
    assert score(*words) == 0
    images = {each: each.read_bytes() for each in root.rglob("*.jpg")}
    for each in images:
        each.unlink()
    assert score(*words) == 0
    (tmp_path / "scores.jsonl").unlink()
    assert score(*words) == 0
    for each, content in images.items():
        each.write_bytes(content)
    assert score(*words) == 0


def test_counting_what_is_missing_as_empty_is_another_run(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "mine.json", {"image_id": 1, "phrase": "right man", "rle": run_lengths(RIGHT_MAN)})
    words = (path, "--dataset", "refcoco:val", "--root", root, "--out", tmp_path / "scores.jsonl")
    assert score(*words) == 3
    assert score(*words, "--missing-is-empty") == 2
    assert "suite was 'saved' and is 'saved, missing is empty'; choose another file" in capsys.readouterr().err
    assert score(*words[:-1], tmp_path / "empty.jsonl", "--missing-is-empty") == 0
    assert len(merged_runs([tmp_path / "scores.jsonl", tmp_path / "empty.jsonl"])) == 2


def test_two_files_of_one_name_are_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "mine.json", {"image_id": 1, "phrase": "right man", "rle": None})
    assert score(path, path, "--dataset", "refcoco:val", "--root", root) == 2
    assert "mine is there twice; name the files apart, as NAME=FILE" in capsys.readouterr().err


def test_a_file_whose_path_holds_an_equals_sign_is_read_as_it_is(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lr=0.1").mkdir()
    path = saved(tmp_path / "lr=0.1/mine.json", *({"image_id": 1, "phrase": each, "rle": None} for each in PHRASES))
    data = ("--dataset", "refcoco:val", "--root", root)
    monkeypatch.chdir(tmp_path)
    for named in (path, "lr=0.1/mine.json", f"ours={path}"):
        assert score(named, *data) == 0
    assert score(tmp_path / "lr=0.2/mine.json", *data) == 2
    assert "lr=0.2/mine.json" in capsys.readouterr().err


def test_masks_are_measured_without_the_images(root: Path, tmp_path: Path) -> None:
    for path in root.rglob("*.jpg"):
        path.unlink()
    path = saved(tmp_path / "mine.json", {"image_id": 1, "phrase": "right man", "rle": run_lengths(RIGHT_MAN)})
    answers, _ = scored(root, path)
    assert (answers["right man"].iou, answers["right man"].data) == (1.0, "")
    assert np.count_nonzero(RIGHT_MAN) == answers["right man"].marked
