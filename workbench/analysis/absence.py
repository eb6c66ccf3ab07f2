"""Whether a phrase probably names nothing in the image, from figures that every answer has."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from evfsam.types import Segmentation
from workbench.analysis.finishing import decision_logits, stability_score


@dataclass(frozen=True)
class AbsenceRule:
    """Thresholds below which an answer is taken for no answer; one of the last two has to be undercut.

    Attributes:
        sure_pred_iou: with a pred_iou of at least this, the answer stands whatever the other figures say.
        least_stability: of the mask; see `workbench.analysis.finishing.stability_score`.
        least_mean_logit: mean of the logits on the mask.
        source: what the thresholds were found with, and how often they are right.
    """

    sure_pred_iou: float
    least_stability: float
    least_mean_logit: float
    source: str


@dataclass(frozen=True)
class AbsenceJudgement:
    """What the figures of one answer say about the presence of its phrase.

    Attributes:
        is_likely_absent: True or False; None where nobody has calibrated figures of this strategy.
        reason: one sentence for a person.
        pred_iou: None where SAM was not asked.
        stability: in [0, 1].
        mean_logit: on the mask; None where the mask is empty.
    """

    is_likely_absent: bool | None
    reason: str
    pred_iou: float | None
    stability: float
    mean_logit: float | None


EVF_SAM_MINI: Final = AbsenceRule(
    sure_pred_iou=0.65,
    least_stability=0.35,
    least_mean_logit=1.15,
    source=(
        "python -m benchmarks.absence --split val --scenes 150: 94.0 % of 150 absent expressions are called absent and "
        "97.4 % of 926 present ones present, where the empty mask alone reaches 91.3 % and 98.6 %; on the test split, "
        "not used for the thresholds, 94.0 % and 97.6 %, where the empty mask alone reaches 92.0 % and 98.7 %; the "
        "thresholds were chosen for the weights before the last fine-tuning"
    ),
)

RULES: Final[Mapping[tuple[str, str], AbsenceRule]] = MappingProxyType({("mini", "evf-sam"): EVF_SAM_MINI})
"""By suite and strategy. The mini CLIP-text and point-query have none: on the same scenes no threshold on these figures
tells present from absent better than in 55 % of cases, both kinds weighed alike."""


def judge_presence(segmentation: Segmentation, suite_key: str, strategy_key: str) -> AbsenceJudgement:
    """Say whether the phrase is probably not in the image.

    An answer without a mask says so itself. For the others the strategy's rule decides, if it has one.

    Args:
        segmentation: one answer that did not fail.
        suite_key: whose weights answered.
        strategy_key: who answered.
    """
    logits = decision_logits(segmentation)
    mask = logits > 0
    mean_logit = float(logits[mask].mean(dtype=np.float64)) if mask.any() else None
    figures = segmentation.pred_iou, stability_score(logits), mean_logit
    if segmentation.verdict.kind == "absent" or mean_logit is None:
        return AbsenceJudgement(True, "Probably not in this image: the mask is empty.", *figures)
    rule = RULES.get((suite_key, strategy_key))
    if rule is None:
        return AbsenceJudgement(None, "No rule for this strategy: its figures do not tell what is absent.", *figures)
    pred_iou, stability, _ = figures
    doubts = []
    if stability < rule.least_stability:
        doubts.append(f"stability {stability:.2f} is below {rule.least_stability}")
    if mean_logit < rule.least_mean_logit:
        doubts.append(f"the mean logit {mean_logit:.2f} is below {rule.least_mean_logit}")
    is_sure = pred_iou is not None and pred_iou >= rule.sure_pred_iou
    if doubts and not is_sure:
        return AbsenceJudgement(True, f"Probably not in this image: {' and '.join(doubts)}.", *figures)
    return AbsenceJudgement(False, "The figures give no reason to doubt the mask.", *figures)
