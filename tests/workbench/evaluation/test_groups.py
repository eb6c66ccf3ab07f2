"""Groups of expressions have the right members, and figures that can be recomputed by hand."""

import pytest

from tests.workbench.evaluation.test_merging import answer
from workbench.evaluation.merging import grouped, length_group, size_group
from workbench.metrics.intervals import wilson_interval


@pytest.mark.parametrize(
    ("phrase", "group"),
    [
        ("dog", "1 to 2"),
        ("the  dog", "1 to 2"),
        ("the big dog", "3 to 5"),
        ("a b c d e", "3 to 5"),
        ("a b c d e f", "6 to 10"),
        ("a b c d e f g h i j k", "over 10"),
    ],
)
def test_phrases_are_grouped_by_their_words(phrase: str, group: str) -> None:
    assert length_group(phrase) == group


@pytest.mark.parametrize(
    ("pixels", "group"), [(1, "small"), (1023, "small"), (1024, "medium"), (9215, "medium"), (9216, "large")]
)
def test_objects_are_grouped_by_cocos_bounds(pixels: int, group: str) -> None:
    assert size_group(pixels) == group


def test_figures_of_groups_are_those_of_their_expressions() -> None:
    answers = [
        answer(0, 0, phrase="dog", intersection=10, union=40),
        answer(0, 1, phrase="the dog", intersection=30, union=60),
        answer(1, 0, phrase="the big old dog", intersection=50, union=50, wanted=2000),
        answer(1, 1, phrase="the moon", kind="absent", wanted=0),
        answer(2, 0, phrase="cat", outcome="unread"),
    ]
    groups = grouped(answers)
    assert list(groups) == ["words in the phrase", "size of the object"], "one kind and no wording make no groups"
    assert list(groups["words in the phrase"]) == ["1 to 2", "3 to 5"]
    short = groups["words in the phrase"]["1 to 2"]["light"]
    assert (short.expressions, short.images) == (2, 1)
    assert short.figures["cIoU"].value == pytest.approx(40 / 100)
    assert short.figures["gIoU"].value == pytest.approx((0.25 + 0.5) / 2)
    assert (short.figures["Pr@0.5"].value, short.figures["Pr@0.5"].interval) == (0.5, None)
    assert groups["size of the object"]["medium"]["light"].figures["cIoU"].value == 1.0


def test_groups_carry_intervals_over_images() -> None:
    answers = [answer(sample, 0, phrase="dog", intersection=50) for sample in range(8)]
    answers += [answer(8, 0, phrase="the big old dog")]
    (found,) = (groups["1 to 2"]["light"] for groups in grouped(answers).values())
    assert found.figures["Pr@0.5"].interval == found.figures["cIoU"].interval == wilson_interval(1.0, 8)
