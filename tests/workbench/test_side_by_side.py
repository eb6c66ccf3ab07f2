"""Visitors who ask the same strategies at the same time get what each would get alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from evfsam.types import RgbImage
from workbench.comparison import Comparison
from workbench.datasets.scenes import scene, split_seeds
from workbench.suites.registry import MINI


def test_two_visitors_at_once_are_answered_as_one_after_the_other() -> None:
    comparison = Comparison(MINI)
    drawn = [scene(seed) for seed in split_seeds("val")[:2]]
    questions = [(each.image, expression.text) for each in drawn for expression in each.expressions[:4]]

    def masks(question: tuple[RgbImage, str]) -> list[np.ndarray]:
        return [result.segmentation.mask for result in comparison.run(*question)]

    alone = [masks(question) for question in questions]
    with ThreadPoolExecutor(4) as visitors:
        together = list(visitors.map(masks, questions))
    for ours, theirs in zip(together, alone, strict=True):
        assert len(ours) == 3
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, other)
