"""A run's expressions in groups: by kind, by wording, by length of the phrase and by size of the object."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from workbench.evaluation.measured_answers import Answer
from workbench.evaluation.run_figures import Figure, figure_of_parts
from workbench.metrics.masks import HIT_IOUS, iou_of

_LENGTHS: Final = ((2, "1 to 2"), (5, "3 to 5"), (10, "6 to 10"))
_LONGER: Final = "over 10"
_SIDES: Final = ((32, "small"), (96, "medium"))
_LARGER: Final = "large"


@dataclass(frozen=True)
class GroupScores:
    """What one strategy reached on one group of expressions that name something.

    Attributes:
        figures: cIoU, gIoU and Pr@0.5 with their intervals.
        expressions: in the group.
        images: that they are about.
    """

    figures: Mapping[str, Figure]
    expressions: int
    images: int


def length_group(phrase: str) -> str:
    """Return the group of a phrase by its number of words."""
    count = len(phrase.split())
    return next((name for most, name in _LENGTHS if count <= most), _LONGER)


def size_group(pixels: int) -> str:
    """Return the group of an object by its pixels, with COCO's bounds: 32 x 32 and 96 x 96."""
    return next((name for side, name in _SIDES if pixels < side**2), _LARGER)


CRITERIA: Final[Mapping[str, Callable[[Answer], str]]] = MappingProxyType(
    {
        "kind": lambda answer: answer.kind,
        "wording": lambda answer: answer.wording,
        "words in the phrase": lambda answer: length_group(answer.phrase),
        "size of the object": lambda answer: size_group(answer.wanted),
    }
)
"""How expressions are put into groups; "" puts one into none."""

_ORDER: Final = (*(name for _, name in _LENGTHS), _LONGER, *(name for _, name in _SIDES), _LARGER)


def grouped(answers: Sequence[Answer]) -> dict[str, dict[str, dict[str, GroupScores]]]:
    """Return scores by criterion, group and strategy; only criteria that make two groups or more.

    Expressions that name nothing are in no group, nor are those that could not be put.
    """
    counted = [each for each in answers if each.outcome != "unread" and not each.is_about_nothing]
    found = {}
    for criterion, group_of in CRITERIA.items():
        by_group: dict[str, dict[str, list[Answer]]] = defaultdict(lambda: defaultdict(list))
        for answer in counted:
            if group := group_of(answer):
                by_group[group][answer.place.strategy].append(answer)
        if len(by_group) > 1:
            found[criterion] = {
                group: {key: _scores(of_strategy) for key, of_strategy in by_group[group].items()}
                for group in sorted(by_group, key=_rank)
            }
    return found


def _rank(group: str) -> tuple[int, str]:
    return (_ORDER.index(group) if group in _ORDER else -1, group)


def _scores(answers: Iterable[Answer]) -> GroupScores:
    by_image: dict[int, list[float]] = defaultdict(lambda: [0.0] * 5)
    for answer in answers:
        iou = iou_of(answer.intersection, answer.union)
        more = (answer.intersection, answer.union, iou, float(iou >= HIT_IOUS[0]), 1.0)
        sums = by_image[answer.place.sample_index]
        for place, value in enumerate(more):
            sums[place] += value
    images = list(by_image.values())
    parts = {"cIoU": (0, 1), "gIoU": (2, 4), f"Pr@{HIT_IOUS[0]}": (3, 4)}
    figures = {
        name: figure_of_parts(name, [(image[top], image[bottom]) for image in images])
        for name, (top, bottom) in parts.items()
    }
    return GroupScores(figures, int(sum(image[4] for image in images)), len(images))
