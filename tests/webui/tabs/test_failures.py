"""Every outcome of every question has its sentence, for every strategy; none promises more than was measured."""

from typing import get_args

import pytest

from webui.tabs.failures import evidence_of, line_of, meaning_of, title_of, verdict_of
from workbench.failures.cases import FAILURE_CASES, FailureCase
from workbench.failures.gallery import CaseOutcome, KeptAnswer
from workbench.suites.registry import MINI


def kept(strategy: str, outcome: CaseOutcome, **values: object) -> KeptAnswer:
    return KeptAnswer(strategy, "found", "", 0.1, 0.2, outcome, **values)


@pytest.mark.parametrize("case", FAILURE_CASES, ids=lambda case: case.key)
def test_every_strategy_and_outcome_has_a_sentence_and_a_reason(case: FailureCase) -> None:
    assert title_of(case)
    assert meaning_of(case)
    for strategy in MINI.strategies:
        told = {
            outcome: line_of(case, kept(strategy, outcome)) for outcome in get_args(CaseOutcome) if outcome != "failed"
        }
        assert all(what and why for what, why in told.values())
        assert told["right"][1] == told["refused"][1] != told["wrong"][1]


def test_the_wrong_object_is_named_and_a_failure_gives_its_reason() -> None:
    case = FAILURE_CASES[0]
    assert line_of(case, kept("evf-sam", "wrong", others=("the bell", "the hat")))[0].endswith("the bell, the hat.")
    failed = KeptAnswer("evf-sam", "failed", "the weights are missing", 0.0, 0.0, "failed")
    assert line_of(case, failed) == ("It failed.", "the weights are missing")


def test_an_empty_mask_is_said_to_be_not_in_the_image() -> None:
    assert verdict_of(kept("evf-sam", "wrong")) == "Marked: 10 % of the image"
    assert verdict_of(KeptAnswer("evf-sam", "found", "", 0.0, 0.0, "denied")) == "Not in the image"


def test_evidence_says_what_the_trace_has_and_nothing_of_what_was_meant_where_nothing_was() -> None:
    absent = next(case for case in FAILURE_CASES if not case.wanted)
    facts = {"attention_wanted": 0.0, "attention_mask": 0.4, "box_iou": 0.0, "points": 25, "yes": 7, "pred_iou": 0.5}
    told = evidence_of(absent, kept("x", "invented", facts=facts))
    assert "40 % on its own mask" in told
    assert "7 of 25 points" in told
    assert "meant" not in told
    assert "overlaps what was meant with an IoU of 0.00" in evidence_of(
        FAILURE_CASES[0], kept("x", "wrong", facts=facts)
    )
    assert evidence_of(FAILURE_CASES[0], kept("x", "wrong")) == ""
