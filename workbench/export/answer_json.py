"""What programs get of comparisons, attention and scenes; the types are in `workbench.export.answer_types`."""

import math
from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np

from evfsam.types import ImageView, Segmentation, StrategyCard, TraceEntry
from workbench.analysis.absence import judge_presence
from workbench.analysis.agreement import pairwise_iou
from workbench.analysis.attention_view import CAVEAT, AttentionView
from workbench.comparison import Comparison, StrategyResult
from workbench.datasets.scenes import Scene
from workbench.export.answer_types import (
    AttentionAnswer,
    CompareAnswer,
    PhraseAnswer,
    Rle,
    SceneAnswer,
    SegmentAnswer,
    StrategyAnswer,
    StrategyInfo,
    StrategyList,
    TraceStep,
)
from workbench.export.results import coco_rle, segmentation_dict

LONGEST_TRACE_TEXT: Final = 400
_DIGITS: Final = 6


def segment_answer(result: StrategyResult, view: ImageView, phrases: Sequence[str], suite_key: str) -> SegmentAnswer:
    """Say what one strategy found."""
    return {**strategy_answer(result, phrases, suite_key), "image_size": view.size}


def compare_answer(
    results: Sequence[StrategyResult], view: ImageView, phrases: Sequence[str], suite_key: str
) -> CompareAnswer:
    """Say what several strategies found in one image, and how far they agree."""
    agreement = pairwise_iou(results)
    return {
        "image_size": view.size,
        "phrases": list(phrases),
        "answers": [strategy_answer(result, phrases, suite_key) for result in results],
        "agreement_iou": {one: {other: _rounded(iou) for other, iou in row.items()} for one, row in agreement.items()},
    }


def strategy_answer(result: StrategyResult, phrases: Sequence[str], suite_key: str) -> StrategyAnswer:
    """Say what one strategy answered to all phrases together and to each."""
    return {
        **_phrase_answer("; ".join(phrases), result.segmentation, suite_key, result.key),
        "strategy": result.key,
        "title": result.card.title,
        "seconds": _rounded(result.seconds),
        "stage_seconds": {stage: _rounded(seconds) for stage, seconds in result.segmentation.seconds.items()},
        "by_phrase": [
            _phrase_answer(answer.phrase, answer.segmentation, suite_key, result.key) for answer in result.answers
        ],
    }


def attention_answer(result: StrategyResult, attention: AttentionView, layer: int, head: int) -> AttentionAnswer:
    """Say where a strategy looked; layer and head as in `AttentionView.map_of`.

    Raises:
        ConfigurationError: there is no such layer or head.
    """
    grid = attention.map_of(layer, head)
    gain = attention.mass_gain(layer, head)
    verdict = result.segmentation.verdict
    return {
        "strategy": result.key,
        "phrase": attention.phrase,
        "verdict": verdict.kind,
        "reason": verdict.reason,
        "layer": layer,
        "head": head,
        "layer_count": attention.layer_count,
        "head_count": attention.head_count,
        "patch_grid": (grid.shape[0], grid.shape[1]),
        "map": np.round(grid.astype(np.float64), _DIGITS).tolist(),
        "mass_inside_mask": _rounded(attention.mass_inside(layer, head)),
        "mass_gain": None if gain is None else _rounded(gain),
        "tokens": [
            {"text": token.text, "share": _rounded(token.share), "is_special": token.is_special}
            for token in attention.shares_of_tokens(layer, head)
        ],
        "caveat": CAVEAT,
    }


def scene_answer(drawn: Scene) -> SceneAnswer:
    """Say what is in a scene, with the true mask of every phrase."""
    return {
        "seed": drawn.seed,
        "image_size": (drawn.image.shape[0], drawn.image.shape[1]),
        "expressions": [
            {
                "phrase": expression.text,
                "kind": expression.kind,
                "mask_rle": cast(Rle, coco_rle(drawn.mask(expression))),
            }
            for expression in drawn.expressions
        ],
    }


def strategy_list(comparison: Comparison) -> StrategyList:
    """Say which strategies there are."""
    suite = comparison.suite
    cards = comparison.cards.items()
    return {
        "suite": suite.key,
        "notice": suite.notice,
        "strategies": [_strategy_info(key, card) for key, card in cards],
    }


def _strategy_info(key: str, card: StrategyCard) -> StrategyInfo:
    return {
        "key": key,
        "title": card.title,
        "summary": card.summary,
        "can": card.can,
        "cannot": card.cannot,
        "paper": card.paper,
        "licence": card.licence,
    }


def _phrase_answer(phrase: str, segmentation: Segmentation, suite_key: str, strategy_key: str) -> PhraseAnswer:
    told = segmentation_dict(segmentation)
    if segmentation.verdict.kind == "failed":
        told |= {"certainty": "unjudged", "stability": None}
    else:
        judgement = judge_presence(segmentation, suite_key, strategy_key)
        told |= {"certainty": judgement.certainty, "stability": judgement.stability}
    figures = {name: _rounded(told[name]) for name in PhraseAnswer.__annotations__ if name in told}
    trace = [_trace_step(entry) for entry in segmentation.trace]
    return cast(PhraseAnswer, {**figures, "phrase": phrase, "trace": trace})


def _trace_step(entry: TraceEntry) -> TraceStep:
    return {"step": entry.step, "asked": _short(entry.asked), "answered": _short(entry.answered)}


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TRACE_TEXT else text[: LONGEST_TRACE_TEXT - 1] + "…"


def _rounded(value: Any) -> Any:
    """Round a number; one that JSON lacks becomes None, and anything else stays as it is."""
    if not isinstance(value, float | np.floating):
        return value
    return round(float(value), _DIGITS) if math.isfinite(value) else None
