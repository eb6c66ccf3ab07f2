"""Answers of two strategies, weights or number types to the same questions, held against each other."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Final

from workbench.datasets.refer import SPLIT_SETS
from workbench.evaluation.measured_answers import Answer, Scores
from workbench.evaluation.merging import MergedRun
from workbench.evaluation.run_figures import main_region
from workbench.metrics.intervals import holm
from workbench.metrics.masks import Tally
from workbench.metrics.paired import Difference, paired_difference

COMPARED: Final = ("cIoU", "gIoU")
"""The figures whose differences are tested."""
_DIGITS: Final = 8
_DECIDERS: Final = 4
"""Most deciding questions kept of a pair."""
_LEVELS: Final = 6
"""What a label may tell beside the strategy's key."""

_Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class Contestant:
    """One strategy's answers of one run.

    Attributes:
        label: tells it from the others it is compared with.
        run: where the answers are.
        strategy: key in the run.
    """

    label: str
    run: MergedRun
    strategy: str

    @cached_property
    def by_question(self) -> dict[_Key, Answer]:
        """Answers by image and phrase; which of several equal ones is told by a number. Unread ones are left out."""
        met: Counter[tuple[str, str, str]] = Counter()
        answers = {}
        for answer in self.run.answers:
            if answer.place.strategy == self.strategy:
                question = (answer.place.sample_id, answer.phrase, answer.kind)
                met[question] += 1
                answers[*question, met[question]] = answer
        return {key: answer for key, answer in answers.items() if answer.outcome != "unread"}

    @cached_property
    def regions(self) -> dict[_Key, Tally]:
        """What each answer adds to cIoU and gIoU by the benchmark's convention; nothing where it does not count."""
        dataset = self.run.run.dataset
        return {key: main_region(dataset, Scores.of(answer)) for key, answer in self.by_question.items()}


@dataclass(frozen=True)
class Decider:
    """A question on which two contestants are far apart: the answers of both, and their IoUs."""

    answers: tuple[Answer, Answer]
    ious: tuple[float, float]


@dataclass(frozen=True)
class Pair:
    """Two contestants on the questions that both answered.

    Attributes:
        one, other: who.
        image_count, question_count: shared by both.
        left_out_count: questions of either that the other was not asked, or was asked about another image or mask.
        differences: of the figures in `COMPARED`, `one` minus `other`; without those that nothing counts for.
        p_values: of the differences, corrected for the number of pairs that are shown together.
        wins, losses, ties: questions on which `one` has the higher, the lower, the same IoU.
        deciders: questions on which the IoU differs most, largest difference first.
    """

    one: Contestant
    other: Contestant
    image_count: int
    question_count: int
    left_out_count: int
    differences: Mapping[str, Difference]
    p_values: Mapping[str, float]
    wins: int
    losses: int
    ties: int
    deciders: tuple[Decider, ...]


def all_pairs(runs: Sequence[MergedRun]) -> dict[str, list[Pair]]:
    """Compare every two contestants that answered questions of one data set, by data set.

    Args:
        runs: of any data sets.

    Returns:
        Pairs that share a question, by the data set's name in the first of its runs; p-values are corrected within a
        data set and figure by Holm's rule.
    """
    by_dataset: dict[str, list[MergedRun]] = defaultdict(list)
    for run in runs:
        by_dataset[_plain_name(run.run.dataset)].append(run)
    found = {}
    for of_dataset in by_dataset.values():
        dataset = of_dataset[0].run.dataset
        pairs = [_pair(one, other) for one, other in combinations(contestants(of_dataset), 2)]
        pairs = _corrected([pair for pair in pairs if pair.question_count])
        if pairs:
            found[dataset] = pairs
    return found


def _plain_name(dataset: str) -> str:
    """Return what a data set is called whatever its name was typed as; pairs compare images and masks besides."""
    family, _, rest = dataset.partition(":")
    base, _, split_set = family.partition("/")
    if base in SPLIT_SETS:
        return f"{base}/{split_set or SPLIT_SETS[base][0]}:{rest}"
    return f"{family}:{Path(rest).name}" if family in ("coco", "folder") else dataset


def contestants(runs: Sequence[MergedRun]) -> list[Contestant]:
    """Return every strategy of every run, with a label that no other has."""
    every = [(number, run, key) for number, run in enumerate(runs, 1) for key in run.run.strategies]
    labels: list[str] = []
    for level in range(_LEVELS + 1):
        labels = [_label(number, run, key, level) for number, run, key in every]
        if len(set(labels)) == len(labels):
            break
    return [Contestant(label, run, key) for label, (_, run, key) in zip(labels, every, strict=True)]


def _label(number: int, run: MergedRun, key: str, level: int) -> str:
    """Name a strategy of a run with more of what may tell it apart, up to the run's number among those compared."""
    of = run.run
    made_with = [
        of.suite,
        of.strategies[key][:_DIGITS],
        f"{of.dtype} on {of.device}" if of.device else "",
        f"a {of.marks} beside each phrase" if of.marks else "",
        "" if of.limit is None else f"first {of.limit} expressions",
        f"run {number}",
    ]
    told = [part for part in made_with[:level] if part]
    return f"{key} ({', '.join(told)})" if told else key


def _pair(one: Contestant, other: Contestant) -> Pair:
    mine, theirs = one.by_question, other.by_question
    shared = [key for key in mine if key in theirs and _is_same(mine[key], theirs[key])]
    counted = []
    for key in shared:
        first, second = one.regions[key].giou, other.regions[key].giou
        if first is not None and second is not None:
            counted.append(Decider((mine[key], theirs[key]), (first, second)))
    gains = [decider.ious[0] - decider.ious[1] for decider in counted]
    ranked = sorted(counted, key=lambda decider: -round(abs(decider.ious[0] - decider.ious[1]), 9))
    return Pair(
        one,
        other,
        image_count=len({each.answers[0].place.sample_id for each in counted}),
        question_count=len(counted),
        left_out_count=len(mine) + len(theirs) - 2 * len(shared),
        differences=_differences(one, other, shared),
        p_values={},
        wins=sum(gain > 0 for gain in gains),
        losses=sum(gain < 0 for gain in gains),
        ties=sum(gain == 0 for gain in gains),
        deciders=tuple(each for each in ranked[:_DECIDERS] if each.ious[0] != each.ious[1]),
    )


def _is_same(one: Answer, other: Answer) -> bool:
    """Whether two answers are about the same image and mask; files written before digests were kept hold sizes."""
    if one.data and other.data:
        return one.data == other.data
    return (one.size, one.wanted) == (other.size, other.wanted)


def _differences(one: Contestant, other: Contestant, shared: Sequence[_Key]) -> dict[str, Difference]:
    firsts, seconds = (_by_image(contestant.regions, shared) for contestant in (one, other))
    differences = {
        "cIoU": paired_difference([each[:2] for each in firsts], [each[:2] for each in seconds]),
        "gIoU": paired_difference([each[2:] for each in firsts], [each[2:] for each in seconds]),
    }
    return {name: difference for name, difference in differences.items() if difference is not None}


def _by_image(regions: Mapping[_Key, Tally], keys: Iterable[_Key]) -> list[tuple[float, float, float, float]]:
    """Sum intersection, union, IoU and expressions by image, images in the order in which they are met."""
    by_image: dict[str, list[float]] = defaultdict(lambda: [0.0] * 4)
    for key in keys:
        region, sums = regions[key], by_image[key[0]]
        for place, more in enumerate((region.intersection, region.union, float(region.iou_sum), region.count)):
            sums[place] += more
    return [(first, second, third, fourth) for first, second, third, fourth in by_image.values()]


def _corrected(pairs: Sequence[Pair]) -> list[Pair]:
    corrected: list[dict[str, float]] = [{} for _ in pairs]
    for name in COMPARED:
        tested = [place for place, pair in enumerate(pairs) if name in pair.differences]
        p_values = holm([pairs[place].differences[name].p_value for place in tested])
        for place, p_value in zip(tested, p_values, strict=True):
            corrected[place][name] = p_value
    return [replace(pair, p_values=p_values) for pair, p_values in zip(pairs, corrected, strict=True)]
