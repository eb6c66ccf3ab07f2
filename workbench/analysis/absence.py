"""What an answer is worth, said in one place: absent, unsure or sure by its figures, right where truth is known."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np

from evfsam.errors import Sentence
from evfsam.types import Segmentation
from workbench.analysis.finishing import STABILITY_OFFSET
from workbench.metrics.masks import Mask, iou_of, mask_iou

Certainty = Literal["sure", "unsure", "absent", "unjudged"]
Outcome = Literal["match", "partly", "wrong", "missed", "invented", "refused"]

MATCH_IOU: Final = 0.5
"""An answer that overlaps what was meant at least this much is a match, as Pr@0.5 counts."""
PARTLY_IOU: Final = 0.1
"""Below, it marks something else."""


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
class SurenessRule:
    """Figures from which on a mask is more likely to match what was meant than not.

    Attributes:
        least_pred_iou: SAM's own guess.
        least_stability: of the mask.
        source: what they were found with, and how often they are right.
    """

    least_pred_iou: float
    least_stability: float
    source: str


@dataclass(frozen=True)
class AbsenceJudgement:
    """What the figures of one answer say about the presence of its phrase.

    Attributes:
        is_likely_absent: True or False; None where nobody has calibrated figures of this strategy.
        certainty: "absent" where it probably is; else "sure" or "unsure" of the mask; "unjudged" without a rule.
        reason: one sentence for a person.
        pred_iou: None where SAM was not asked.
        stability: in [0, 1].
        mean_logit: on the mask; None where the mask is empty.
    """

    is_likely_absent: bool | None
    certainty: Certainty
    reason: Sentence
    pred_iou: float | None
    stability: float
    mean_logit: float | None

    @property
    def why(self) -> Sentence:
        """The figures that make it doubtful, without what follows from them."""
        why = self.reason.values.get("why", self.reason)
        return why if isinstance(why, Sentence) else self.reason


EVF_SAM_MINI: Final = AbsenceRule(
    sure_pred_iou=0.15,
    least_stability=0.0,
    least_mean_logit=0.2,
    source=(
        "answers as python -m benchmarks.absence collects them: of the validation split's first 150 scenes, 93.3 % of "
        "150 absent expressions are called absent and 99.2 % of 1,365 present ones present, where the empty mask alone "
        "reaches 92.7 % and 99.2 %; of the test split's first 60, not used for the thresholds, 88.3 % and 99.4 %, as "
        "by the empty mask alone"
    ),
)

RULES: Final[Mapping[tuple[str, str], AbsenceRule]] = MappingProxyType({("mini", "evf-sam"): EVF_SAM_MINI})
"""By suite and strategy. The mini CLIP-text and point-query have none: on the same scenes no threshold on these figures
tells present from absent better than in 60 % of cases, both kinds weighed alike."""


SURENESS: Final[Mapping[tuple[str, str], SurenessRule]] = MappingProxyType(
    {
        ("mini", "evf-sam"): SurenessRule(
            least_pred_iou=0.75,
            least_stability=0.8,
            source=(
                "answers as python -m benchmarks.absence collects them: of the validation split's first 150 scenes, "
                "1,025 of 1,282 masks that match what was meant are called sure, and 25 of 82 others; of the test "
                "split's first 60, not used for the thresholds, 427 of 510 and 13 of 37"
            ),
        ),
        ("mini", "clip-text"): SurenessRule(
            least_pred_iou=0.6,
            least_stability=0.6,
            source=(
                "answers as python -m benchmarks.absence collects them: of the validation split's first 150 scenes, "
                "33 of 381 masks that match what was meant are called sure, and 10 of 1,079 others; of the test "
                "split's first 60, not used for the thresholds, 18 of 173 and 5 of 410; milder ones call more masks "
                "sure that are wrong"
            ),
        ),
    }
)
"""By suite and strategy, for masks that are there. Point query has none: on the same scenes its figures tell right from
wrong in no more than 60 % of cases, both kinds weighed alike."""


def judge_presence(segmentation: Segmentation, suite_key: str, strategy_key: str) -> AbsenceJudgement:
    """Say whether the phrase is probably not in the image, and how sure the mask is where it probably is.

    An answer without a mask says so itself. For the others the strategy's rules decide, if it has any.

    Args:
        segmentation: one answer that did not fail.
        suite_key: whose weights answered.
        strategy_key: who answered.
    """
    stability, mean_logit = _steadiness(segmentation)
    figures = segmentation.pred_iou, stability, mean_logit
    if segmentation.verdict.kind == "absent" or mean_logit is None:
        empty = Sentence("Probably not in this image: {why}.", why=Sentence("the mask is empty"))
        return AbsenceJudgement(True, "absent", empty, *figures)
    pred_iou = segmentation.pred_iou
    rule, sureness = RULES.get((suite_key, strategy_key)), SURENESS.get((suite_key, strategy_key))
    doubts = _doubts(rule, pred_iou, stability, mean_logit) if rule else []
    if doubts:
        return AbsenceJudgement(
            True, "absent", Sentence("Probably not in this image: {why}.", why=_both(doubts)), *figures
        )
    is_absent = None if rule is None else False
    if sureness is None:
        reason = Sentence("No rule for this strategy: its figures do not tell what is absent.")
        return AbsenceJudgement(is_absent, "unjudged", reason, *figures)
    weak = _weak_figures(sureness, pred_iou, stability)
    if weak:
        return AbsenceJudgement(is_absent, "unsure", Sentence("Doubtful: {why}.", why=_both(weak)), *figures)
    certain = Sentence("The figures give no reason to doubt the mask.")
    return AbsenceJudgement(is_absent, "sure", certain, *figures)


def p_no_object(segmentation: Segmentation) -> float | None:
    """Return how probable the strategy itself held it that there is no such thing; None where it was not asked."""
    said = [entry.values["p_absent"] for entry in segmentation.trace if "p_absent" in entry.values]
    return float(said[0]) if len(said) == 1 and isinstance(said[0], int | float) else None


def outcome_of(mask: Mask, truth: Mask) -> Outcome:
    """Compare an answer with what was meant.

    Args:
        mask: (H, W) bool.
        truth: (H, W) bool; empty where there is no such thing.

    Returns:
        "match"; "partly", "wrong": it marks only a part, or too much, or something else; "missed": nothing where there
        is something; "invented": something where there is nothing; "refused": rightly nothing.
    """
    if not truth.any():
        return "invented" if mask.any() else "refused"
    if not mask.any():
        return "missed"
    iou = mask_iou(mask, truth)
    return "match" if iou >= MATCH_IOU else "partly" if iou >= PARTLY_IOU else "wrong"


def _steadiness(segmentation: Segmentation) -> tuple[float, float | None]:
    """Return a mask's stability, and the mean of the logits on it; None where the mask is empty.

    Of a large image, whose logits are seen a band at a time, the last places may be rounded otherwise.
    """
    inner = outer = area = 0
    total = 0.0
    for logits in segmentation.logit_bands():
        on_mask = logits[logits > 0]
        inner += int(np.count_nonzero(on_mask > STABILITY_OFFSET))
        outer += int(np.count_nonzero(logits > -STABILITY_OFFSET))
        area += on_mask.size
        total += float(on_mask.sum(dtype=np.float64))
    return iou_of(inner, outer), total / area if area else None


def _doubts(rule: AbsenceRule, pred_iou: float | None, stability: float, mean_logit: float) -> list[Sentence]:
    if pred_iou is not None and pred_iou >= rule.sure_pred_iou:
        return []
    doubts = []
    if stability < rule.least_stability:
        doubts.append(_weak_stability(stability, rule.least_stability))
    if mean_logit < rule.least_mean_logit:
        least = rule.least_mean_logit
        doubts.append(Sentence("the mean logit {value:.2f} is below {least}", value=mean_logit, least=least))
    return doubts


def _weak_figures(rule: SurenessRule, pred_iou: float | None, stability: float) -> list[Sentence]:
    weak = []
    if pred_iou is not None and pred_iou < rule.least_pred_iou:
        weak.append(Sentence("pred_iou {value:.2f} is below {least}", value=pred_iou, least=rule.least_pred_iou))
    if stability < rule.least_stability:
        weak.append(_weak_stability(stability, rule.least_stability))
    return weak


def _weak_stability(stability: float, least: float) -> Sentence:
    return Sentence("stability {value:.2f} is below {least}", value=stability, least=least)


def _both(reasons: list[Sentence]) -> Sentence:
    """Join one or two reasons."""
    return reasons[0] if len(reasons) == 1 else Sentence("{one} and {other}", one=reasons[0], other=reasons[1])
