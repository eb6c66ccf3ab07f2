"""Two answers to the same questions are paired question by question, whatever files and orders they come from."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.workbench.evaluation.test_merging import RUN, answer, written
from workbench.evaluation.measured_answers import Answer
from workbench.evaluation.merging import MergedRun, merged_runs
from workbench.evaluation.pairs import all_pairs, contestants
from workbench.evaluation.run_identity import RunIdentity

ONE, OTHER = (replace(RUN, strategies={"light": digest}) for digest in ("a1", "b2"))


def runs(tmp_path: Path, **answers: tuple[RunIdentity, list[Answer]]) -> list[MergedRun]:
    return merged_runs([written(tmp_path / f"{name}.jsonl", each, run=run) for name, (run, each) in answers.items()])


def test_a_pair_is_what_the_answers_come_to_by_hand(tmp_path: Path) -> None:
    shared = {"union": 100, "data": "d"}
    mine = [answer(0, 0, intersection=80, **shared), answer(1, 0, intersection=60, **shared)]
    theirs = [answer(1, 0, intersection=60, **shared), answer(0, 0, intersection=40, union=50, data="d")]
    (pair,) = all_pairs(runs(tmp_path, mine=(ONE, mine), theirs=(OTHER, theirs)))["refcoco:val"]
    assert (pair.one.label, pair.other.label) == ("light (mini, a1)", "light (mini, b2)")
    # 140/200 - 100/150; image 0 exchanged: 100/150 - 140/200, image 1 changes nothing: all four are as far apart.
    assert pair.differences["cIoU"].value == pytest.approx(0.7 - 2 / 3)
    assert pair.p_values["cIoU"] == 1.0
    # 0.8 and 0.8 in image 0, 0.6 and 0.6 in image 1.
    assert (pair.differences["gIoU"].value, pair.wins, pair.losses, pair.ties) == (0.0, 0, 0, 2)
    assert (pair.image_count, pair.question_count, pair.left_out_count, pair.deciders) == (2, 2, 0, ())


def test_what_only_one_was_asked_or_could_be_asked_is_left_out(tmp_path: Path) -> None:
    mine = [answer(sample, 0, data="d") for sample in range(4)]
    theirs = [
        answer(0, 0, data="d", intersection=50),
        answer(1, 0, data="another picture"),
        answer(2, 0, outcome="unread"),
        answer(3, 0, data="d", phrase="another phrase"),
    ]
    (pair,) = all_pairs(runs(tmp_path, mine=(ONE, mine), theirs=(OTHER, theirs)))["refcoco:val"]
    assert (pair.question_count, pair.left_out_count, pair.losses) == (1, 5, 1)


def test_a_limited_run_is_paired_with_a_whole_one_where_they_overlap(tmp_path: Path) -> None:
    nothing = {"kind": "absent", "phrase": "the moon", "wanted": 0, "boundary_f": None, "box_iou": None}
    whole = [answer(0, 0), answer(0, 1, phrase="the other"), answer(0, 2, **nothing, intersection=0, union=7, marked=7)]
    part = [answer(0, 0, intersection=10), answer(0, 1, **nothing, intersection=0, union=0, marked=0)]
    limited = replace(OTHER, limit=1)
    (pair,) = all_pairs(runs(tmp_path, whole=(ONE, whole), part=(limited, part)))["refcoco:val"]
    assert (pair.question_count, pair.left_out_count) == (1, 1)
    grefcoco = {"dataset": "grefcoco:val"}
    of_grefcoco = runs(
        tmp_path / "g", whole=(replace(ONE, **grefcoco), whole), part=(replace(limited, **grefcoco), part)
    )
    (pair,) = all_pairs(of_grefcoco)["grefcoco:val"]
    # There what names nothing is counted: 0.6 and 0 against 0.2 and 1.
    assert (pair.question_count, pair.wins, pair.losses) == (2, 1, 1)
    assert pair.differences["gIoU"].value == pytest.approx(0.3 - 0.6)


def test_equal_phrases_about_one_image_are_paired_in_turn(tmp_path: Path) -> None:
    mine = [answer(0, 0, intersection=50), answer(0, 1, intersection=10)]
    theirs = [answer(0, 0, intersection=40), answer(0, 1, intersection=20)]
    (pair,) = all_pairs(runs(tmp_path, mine=(ONE, mine), theirs=(OTHER, theirs)))["refcoco:val"]
    assert (pair.wins, pair.losses) == (1, 1)
    assert [decider.ious for decider in pair.deciders] == [(1.0, 0.8), (0.2, 0.4)]


@pytest.mark.parametrize(
    ("one", "other"),
    [("refcoco:val", "refcoco/unc:val"), ("refcocog/umd:val", "refcocog:val"), ("coco:x.json", "coco:/data/x.json")],
)
def test_a_data_set_is_the_same_however_its_name_was_typed(one: str, other: str, tmp_path: Path) -> None:
    mine, theirs = replace(ONE, dataset=one), replace(OTHER, dataset=other)
    found = all_pairs(runs(tmp_path, mine=(mine, [answer(0, 0, data="d")]), theirs=(theirs, [answer(0, 0, data="d")])))
    assert [len(pairs) for pairs in found.values()] == [1]
    assert list(found) == [one]
    apart = replace(theirs, dataset="refcoco/google:val")
    assert not all_pairs(runs(tmp_path / "a", mine=(mine, [answer(0, 0)]), theirs=(apart, [answer(0, 0)])))


def test_many_pairs_are_corrected_together(tmp_path: Path) -> None:
    keys = {"light": "a1", "dark": "b2", "dim": "c3"}
    hits = {"light": 40, "dark": 30, "dim": 20}
    answers = [answer(sample, 0, key, intersection=hit) for sample in range(6) for key, hit in hits.items()]
    pairs = all_pairs(runs(tmp_path, all=(replace(RUN, strategies=keys), answers)))["refcoco:val"]
    # Six images of one difference: 2 of 64 exchanges are as far out; three such pairs make it 6 of 64.
    assert [pair.differences["gIoU"].p_value for pair in pairs] == [2 / 64] * 3
    assert [pair.p_values["gIoU"] for pair in pairs] == [6 / 64] * 3
    assert [(pair.one.label, pair.other.label) for pair in pairs] == [
        ("light", "dark"),
        ("light", "dim"),
        ("dark", "dim"),
    ]


def test_labels_tell_contestants_apart_by_as_little_as_does(tmp_path: Path) -> None:
    found = runs(tmp_path, mine=(ONE, []), half=(replace(ONE, dtype="bfloat16"), []), part=(replace(ONE, limit=3), []))
    assert [each.label for each in contestants(found[:1])] == ["light"]
    assert [each.label for each in contestants(found[:2])] == [
        "light (mini, a1, float32 on cpu)",
        "light (mini, a1, bfloat16 on cpu)",
    ]
    assert [each.label for each in contestants([found[0], found[2]])] == [
        "light (mini, a1, float32 on cpu)",
        "light (mini, a1, float32 on cpu, first 3 expressions)",
    ]


def test_labels_tell_marks_and_number_runs_and_not_strategies(tmp_path: Path) -> None:
    both = replace(RUN, strategies={"light": "a1", "dark": "b2"})
    clicked, changed = replace(both, marks="click"), replace(both, samples="other phrases")
    found = runs(tmp_path, plain=(both, []), clicked=(clicked, []), changed=(changed, []))
    assert [each.label for each in contestants(found[:2])][::2] == [
        "light (mini, a1, float32 on cpu)",
        "light (mini, a1, float32 on cpu, a click beside each phrase)",
    ]
    assert [each.label for each in contestants([found[0], found[2]])][2:] == [
        "light (mini, a1, float32 on cpu, run 2)",
        "dark (mini, b2, float32 on cpu, run 2)",
    ]


def test_two_saved_files_have_no_number_type(tmp_path: Path) -> None:
    saved = replace(RUN, suite="saved", strategies={"mine": "a1"}, device="", dtype="")
    found = runs(tmp_path, one=(saved, []), other=(replace(saved, limit=3), []))
    assert [each.label for each in contestants(found)] == [
        "mine (saved, a1)",
        "mine (saved, a1, first 3 expressions)",
    ]
