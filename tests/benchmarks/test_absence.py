import numpy as np
import pytest

from benchmarks.absence import AnswerFigures, best_rule, best_sureness, best_threshold, report, shares_right


def answers() -> AnswerFigures:
    """Six answers: one absent is empty, one has a low figure, one a high one; all present ones are in between."""
    is_absent = np.array([True, True, True, False, False, False])
    is_empty = np.array([True, False, False, False, False, False])
    values = np.array([0.0, 0.2, 0.95, 0.7, 0.8, 0.9])
    judged = np.array([True, True, False, True, False, False])
    sure, match = np.array([False] * 5 + [True]), np.array([False] * 4 + [True, True])
    return AnswerFigures(
        is_absent, is_empty, judged, sure, match, dict.fromkeys(("pred_iou", "stability", "mean_logit"), values)
    )


def test_shares_weigh_absent_and_present_alike() -> None:
    given = answers()
    assert shares_right(given.is_judged_absent, given.is_absent) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_the_best_threshold_parts_low_from_high() -> None:
    assert 0.2 < best_threshold(answers(), "pred_iou") <= 0.7


def test_the_report_compares_the_rule_with_the_empty_mask() -> None:
    lines = report("evf-sam", answers()).splitlines()
    assert lines[0] == "evf-sam: 3 absent and 3 present expressions"
    assert lines[1].split()[-6:] == ["absent", "33.3", "present", "100.0", "mean", "66.7"]
    assert lines[2].split()[:2] == ["the", "rule"]
    assert lines[6].strip().startswith("best rule: pred_iou ")
    assert lines[7].strip() == "of 2 masks that match, 1 are called sure; of 1 others, 0"
    assert len(lines) == 9


def test_the_best_rules_part_what_they_can() -> None:
    given = answers()
    sure, stability, mean_logit = best_rule(given)
    doubted = (given.figures["pred_iou"] < sure) & (
        (given.figures["stability"] < stability) | (given.figures["mean_logit"] < mean_logit)
    )
    assert list(given.is_empty | doubted) == [True, True, False, False, False, False]
    guess, least = best_sureness(given)
    called = (given.figures["pred_iou"] >= guess) & (given.figures["stability"] >= least)
    assert list(called[[2, 4, 5]]) == [True, True, True], "the absent one has the highest figures: nothing parts it"
