"""Files of one run add up, whatever their order; figures carry intervals over images."""

from dataclasses import replace
from pathlib import Path

import pytest

from workbench.evaluation.evaluation import Shard
from workbench.evaluation.measured_answers import Answer, Place
from workbench.evaluation.merging import merged_runs
from workbench.evaluation.result_lines import ResultsError, ResultsFile
from workbench.evaluation.run_figures import ratios
from workbench.evaluation.run_identity import Header, RunIdentity
from workbench.metrics.intervals import wilson_interval

RUN = RunIdentity("mini", "refcoco:val", None, {"light": "a1", "dark": "b2"}, "cpu")


def answer(sample: int, question: int, strategy: str = "light", **changes: object) -> Answer:
    kept = Answer(
        Place(sample, str(changes.pop("place_id", sample)), question, strategy),
        "the light",
        "category",
        "found",
        intersection=30 + sample,
        union=50,
        marked=40,
        wanted=40,
        size=(10, 20),
        boundary_f=0.5,
        box_iou=0.6,
        attention_mass=0.8,
    )
    return replace(kept, **changes)


def written(
    path: Path, answers: list[Answer], *, run: RunIdentity = RUN, shard: Shard | None = None, ended: bool = True
) -> Path:
    with ResultsFile(path, Header(run, shard or Shard())) as file:
        file.append(answers)
        if ended:
            file.finish()
    return path


ANSWERS = [answer(sample, question, key) for sample in range(6) for question in (0, 1) for key in RUN.strategies]


def test_shards_in_any_order_are_the_run(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.jsonl", ANSWERS)
    parts = [
        written(
            tmp_path / f"{number}.jsonl",
            [each for each in ANSWERS[::-1] if each.place.sample_index % 3 == number - 1],
            shard=Shard(number, 3),
        )
        for number in (2, 3, 1)
    ]
    (expected,), (together,) = merged_runs([whole]), merged_runs(parts)
    assert together == expected
    assert together.figures == expected.figures


def test_figures_are_those_of_the_answers(tmp_path: Path) -> None:
    absent = answer(9, 0, kind="absent", intersection=0, union=7, marked=7, wanted=0, boundary_f=None, box_iou=None)
    path = written(tmp_path / "a.jsonl", [answer(0, 0), answer(1, 0, intersection=10, marked=0), absent])
    (run,) = merged_runs([path])
    values = {name: figure.value for name, figure in run.figures["light"].items()}
    assert values == {
        "cIoU": 0.4,
        "gIoU": pytest.approx(0.4),
        "cIoU with absent": pytest.approx(40 / 107),
        "gIoU with absent": pytest.approx(0.8 / 3),
        "Pr@0.5": 0.5,
        "Pr@0.6": 0.5,
        "Pr@0.7": 0.0,
        "Pr@0.8": 0.0,
        "Pr@0.9": 0.0,
        "boundary F": 0.5,
        "box accuracy": 1.0,
        "T-acc": 0.5,
        "N-acc": 0.0,
        "attention mass": pytest.approx(0.8),
        "attention gain": pytest.approx(4.0),
    }
    assert set(values) == set(ratios("refcoco:val"))
    assert run.figures["light"]["cIoU"].interval == (pytest.approx(0.2), pytest.approx(0.6))
    assert run.figures["dark"]["cIoU"].value is None


def test_a_missing_shard_and_an_unfinished_file_are_named(tmp_path: Path) -> None:
    path = written(tmp_path / "second.jsonl", ANSWERS[:2], shard=Shard(2, 3), ended=False)
    (run,) = merged_runs([path])
    assert run.notes == (
        "second.jsonl ends before its run did; run the same command again and it goes on from there",
        "shard 1 of 3 is missing",
        "shard 3 of 3 is missing",
    )


def test_shards_of_two_divisions_are_no_whole(tmp_path: Path) -> None:
    first = written(tmp_path / "1-of-2.jsonl", ANSWERS[:2], shard=Shard(1, 2))
    second = written(tmp_path / "2-of-4.jsonl", ANSWERS[4:6], shard=Shard(2, 4))
    with pytest.raises(ResultsError, match=r"got 1 of 2 in .*1-of-2\.jsonl and 2 of 4 in .*2-of-4\.jsonl; leave one"):
        merged_runs([first, second])


def test_other_runs_stand_apart_and_the_same_answers_are_refused(tmp_path: Path) -> None:
    one = written(tmp_path / "one.jsonl", ANSWERS)
    other = written(tmp_path / "other.jsonl", ANSWERS, run=replace(RUN, dataset="refcoco:testA"))
    copy = written(tmp_path / "copy.jsonl", ANSWERS)
    assert [run.run.dataset for run in merged_runs([one, other, one])] == ["refcoco:val", "refcoco:testA"]
    with pytest.raises(ResultsError, match=r"one\.jsonl and .*copy\.jsonl have the same answers; give one of them"):
        merged_runs([one, copy])


def test_grefcoco_counts_expressions_without_a_target_as_its_authors_do(tmp_path: Path) -> None:
    nothing = {"kind": "absent", "wanted": 0, "boundary_f": None, "box_iou": None, "intersection": 0}
    answers = [
        answer(0, 0, intersection=30, union=50),
        answer(1, 0, intersection=10, union=50),
        answer(2, 0, **nothing, union=0, marked=0),
        answer(3, 0, **nothing, union=25, marked=25),
    ]
    run = replace(RUN, dataset="grefcoco:val", strategies={"light": "a1"})
    (merged,) = merged_runs([written(tmp_path / "a.jsonl", answers, run=run)])
    values = {name: figure.value for name, figure in merged.figures["light"].items()}
    # By hand: (0.6 + 0.2 + 1 + 0) / 4, and (30 + 10) / (50 + 50 + 0 + 25); Pr@X is of targets alone.
    assert (values["gIoU"], values["cIoU"]) == (pytest.approx(0.45), pytest.approx(0.32))
    assert (values["gIoU of targets"], values["cIoU of targets"]) == (pytest.approx(0.4), pytest.approx(0.4))
    assert (values["Pr@0.6"], values["N-acc"], values["T-acc"]) == (0.5, 0.5, 1.0)
    assert merged.figure_names[:4] == ("cIoU", "gIoU", "cIoU of targets", "gIoU of targets")


def test_rates_of_0_and_100_percent_have_intervals_with_a_width(tmp_path: Path) -> None:
    answers = [answer(sample, 0, intersection=50, union=50, marked=50, box_iou=1.0) for sample in range(20)]
    (run,) = merged_runs([written(tmp_path / "a.jsonl", answers)])
    figures = run.figures["light"]
    for name in ("cIoU", "gIoU", "Pr@0.9", "box accuracy", "T-acc"):
        assert (figures[name].value, figures[name].interval) == (1.0, wilson_interval(1.0, 20)), name
    assert "cIoU with absent" not in run.figure_names


def test_other_rates_have_wilsons_interval_too(tmp_path: Path) -> None:
    hits = [answer(sample, 0, intersection=40 if sample < 5 else 10, marked=40 * (sample > 1)) for sample in range(20)]
    (run,) = merged_runs([written(tmp_path / "a.jsonl", hits)])
    figures = run.figures["light"]
    assert (figures["Pr@0.5"].value, figures["T-acc"].value) == (0.25, 0.9)
    assert figures["Pr@0.5"].interval == pytest.approx(wilson_interval(0.25, 20))
    assert figures["T-acc"].interval == pytest.approx(wilson_interval(0.9, 20))


def test_one_image_tells_nothing_of_others(tmp_path: Path) -> None:
    (run,) = merged_runs([written(tmp_path / "a.jsonl", [answer(0, 0), answer(0, 1)])])
    assert (run.figures["light"]["cIoU"].value, run.figures["light"]["cIoU"].interval) == (0.6, None)


def test_samples_of_one_image_stand_and_fall_together(tmp_path: Path) -> None:
    hits = [answer(sample, 0, place_id=f"image {sample // 2}", kind=f"k{sample}") for sample in range(2)]
    more = [answer(2, 0, place_id="another", kind="k0")]
    one, two = (merged_runs([written(tmp_path / f"{len(each)}.jsonl", each)])[0] for each in (hits, hits + more))
    assert one.figures["light"]["gIoU"].interval is None, "both rows are of one image"
    assert list(two.images_of("light")) == ["image 0", "another"]
    assert two.groups["kind"]["k0"]["light"].images == 2
