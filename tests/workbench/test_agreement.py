from pathlib import Path

import numpy as np
import torch

from evfsam.types import Segmentation, StrategyCard, Verdict
from tests.workbench.doubles import half_lit, suite_of
from workbench.agreement import pairwise_iou
from workbench.comparison import Comparison, StrategyResult

CARD = StrategyCard("", "", "", "", "", "", "")


def result(key: str, mask: np.ndarray) -> StrategyResult:
    logits = torch.where(torch.from_numpy(mask), 1.0, -1.0)
    return StrategyResult(key, CARD, Segmentation(Verdict("found"), logits), 0.0)


def test_agreement_is_the_iou_of_every_two_masks() -> None:
    masks = [np.array([[1, 1, 0, 0]], dtype=bool), np.array([[0, 1, 1, 0]], dtype=bool)]
    assert pairwise_iou(result(key, mask) for key, mask in zip("ab", masks, strict=True)) == {
        "a": {"a": 1.0, "b": 1 / 3},
        "b": {"a": 1 / 3, "b": 1.0},
    }


def test_strategies_that_both_found_nothing_agree() -> None:
    empty = np.zeros((2, 2), dtype=bool)
    assert pairwise_iou([result("a", empty), result("b", empty)])["a"]["b"] == 1.0


def test_a_failed_strategy_has_no_opinion(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, one="load_bright", broken="load_buggy", two="load_bright")
    table = pairwise_iou(Comparison(suite).run(half_lit(), "the light"))
    assert list(table) == list(table["one"]) == ["one", "two"]
