"""An answer is doubted where its figures fall below the strategy's thresholds, and never without a reason."""

import numpy as np
import pytest
import torch

from evfsam.types import Segmentation, Verdict
from workbench.analysis import absence
from workbench.analysis.absence import EVF_SAM_MINI, RULES, SURENESS, AbsenceRule, judge_presence, outcome_of

RULE = EVF_SAM_MINI
UNSURE = RULE.sure_pred_iou - 0.01


def answer(logit: float, pred_iou: float | None, *, border: float = -9.0) -> Segmentation:
    """A mask of one logit everywhere, on a ground of another."""
    logits = torch.full((50, 50), border)
    logits[5:15, 5:15] = logit
    return Segmentation(Verdict("found"), logits, pred_iou=pred_iou)


def judged(segmentation: Segmentation, strategy: str = "evf-sam") -> tuple[bool | None, str]:
    judgement = judge_presence(segmentation, "mini", strategy)
    return judgement.is_likely_absent, judgement.reason


def test_a_firm_mask_stands() -> None:
    judgement = judge_presence(answer(6.0, 0.9), "mini", "evf-sam")
    assert (judgement.is_likely_absent, judgement.certainty) == (False, "sure")
    assert judgement.reason == "The figures give no reason to doubt the mask."


def test_faint_logits_are_doubted_with_their_figure() -> None:
    faint = RULE.least_mean_logit - 0.05
    assert judged(answer(faint, UNSURE)) == (
        True,
        f"Probably not in this image: the mean logit {faint:.2f} is below {RULE.least_mean_logit}.",
    )
    assert judged(answer(RULE.least_mean_logit + 0.05, UNSURE))[0] is False


def test_an_unstable_mask_is_doubted_by_a_rule_that_asks_for_stability(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = AbsenceRule(sure_pred_iou=0.4, least_stability=0.05, least_mean_logit=0.3, source="made up")
    monkeypatch.setattr(absence, "RULES", {("mini", "evf-sam"): rule})
    # The ground is just below 0: with the threshold one lower, the mask is 25 times as large.
    is_absent, reason = judged(answer(6.0, UNSURE, border=-0.5))
    assert is_absent is True
    assert "stability 0.04 is below 0.05" in reason


def test_a_sure_pred_iou_outweighs_the_doubts() -> None:
    faint = RULE.least_mean_logit / 2
    assert judged(answer(faint, RULE.sure_pred_iou))[0] is False
    assert judged(answer(faint, UNSURE))[0] is True
    assert judged(answer(faint, None))[0] is True


@pytest.mark.parametrize("strategy", ["evf-sam", "clip-text"])
def test_an_empty_mask_says_so_itself(strategy: str) -> None:
    nothing = Segmentation(Verdict("absent", "It says so."), torch.full((3, 3), -torch.inf))
    assert judged(nothing, strategy) == (True, "Probably not in this image: the mask is empty.")


def test_strategies_without_a_rule_are_not_judged_but_measured() -> None:
    assert ("mini", "clip-text") not in RULES
    judgement = judge_presence(answer(0.5, 0.3), "mini", "clip-text")
    assert judgement.is_likely_absent is None
    assert judge_presence(answer(0.5, 0.3), "full", "evf-sam").certainty == "unjudged"
    assert (judgement.pred_iou, judgement.mean_logit) == (0.3, 0.5)
    assert judge_presence(answer(0.5, 0.3), "full", "evf-sam").is_likely_absent is None


def test_a_mask_with_a_weak_guess_is_unsure_and_names_it() -> None:
    rule = SURENESS["mini", "evf-sam"]
    firm = judge_presence(answer(9.0, rule.least_pred_iou), "mini", "evf-sam")
    weak = judge_presence(answer(9.0, rule.least_pred_iou - 0.01), "mini", "evf-sam")
    assert (firm.certainty, weak.certainty) == ("sure", "unsure")
    assert f"pred_iou {rule.least_pred_iou - 0.01:.2f} is below {rule.least_pred_iou}" in weak.reason


def test_a_mask_with_a_wide_edge_is_unsure_and_names_it() -> None:
    # The ground is just below 0: with the threshold one lower, the mask is 25 times as large.
    firm, weak = (judge_presence(answer(9.0, 0.9, border=border), "mini", "evf-sam") for border in (-9.0, -0.5))
    assert (firm.certainty, weak.certainty) == ("sure", "unsure")
    assert f"stability 0.04 is below {SURENESS['mini', 'evf-sam'].least_stability}" in weak.reason


def test_an_answer_is_compared_with_what_was_meant() -> None:
    nothing, left, right = np.zeros((3, 10, 10), dtype=bool)
    left[:, :5], right[:, 5:] = True, True
    part = left & (np.arange(10) < 1)
    assert outcome_of(left, left) == "match"
    assert outcome_of(part, left) == "partly"
    assert outcome_of(right, left) == "wrong"
    assert outcome_of(nothing, left) == "missed"
    assert outcome_of(left, nothing) == "invented"
    assert outcome_of(nothing, nothing) == "refused"
