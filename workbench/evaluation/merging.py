"""Files of results brought together: the shards of a run, and several runs, with figures of groups of expressions."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Final

from workbench.datasets.contract import ABSENT
from workbench.evaluation.measured_answers import Answer, Scores, scores_of
from workbench.evaluation.result_lines import Results, ResultsError, read_results
from workbench.evaluation.run_figures import Figure, figure_of, figure_of_parts, ratios
from workbench.evaluation.run_identity import Facts, RunIdentity
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
    by_image: dict[str, list[float]] = defaultdict(lambda: [0.0] * 5)
    for answer in answers:
        iou = iou_of(answer.intersection, answer.union)
        more = (answer.intersection, answer.union, iou, float(iou >= HIT_IOUS[0]), 1.0)
        sums = by_image[answer.place.sample_id]
        for place, value in enumerate(more):
            sums[place] += value
    images = list(by_image.values())
    parts = {"cIoU": (0, 1), "gIoU": (2, 4), f"Pr@{HIT_IOUS[0]}": (3, 4)}
    figures = {
        name: figure_of_parts(name, [(image[top], image[bottom]) for image in images])
        for name, (top, bottom) in parts.items()
    }
    return GroupScores(figures, int(sum(image[4] for image in images)), len(images))


@dataclass(frozen=True)
class MergedRun:
    """All there is of one run.

    Attributes:
        run: what it was.
        root: where the data set's files were; "" where it has none.
        answers: in the order of the data set, whatever the order of files and lines.
        notes: what is missing, a sentence each; empty where the run reached its end.
        facts: beside the run.
        parameters: how many numbers the weights of each strategy have, by key, as far as known.
    """

    run: RunIdentity
    root: str
    answers: tuple[Answer, ...]
    notes: tuple[str, ...]
    facts: Facts = field(default_factory=Facts)
    parameters: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether every question of the data set was put: none is missing, unreadable or beyond a limit."""
        spots = {(each.place.sample_index, each.place.question_index) for each in self.answers if each.kind != ABSENT}
        is_all = self.run.limit is None or len(spots) < self.run.limit
        return is_all and not self.notes and all(each.outcome != "unread" for each in self.answers)

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Scores by strategy."""
        return scores_of(self.answers, self.run.strategies)

    @cached_property
    def figures(self) -> dict[str, dict[str, Figure]]:
        """Every figure with its interval, by strategy and name out of `ratios`."""
        return {key: self._figures_of(key) for key in self.run.strategies}

    @cached_property
    def groups(self) -> dict[str, dict[str, dict[str, GroupScores]]]:
        """Scores of groups of expressions, by criterion, group and strategy."""
        return grouped(self.answers)

    @property
    def figure_names(self) -> tuple[str, ...]:
        """The figures that say something of this run, in the order of reading."""
        has_absent = any(scores.absent.count for scores in self.scores.values())
        names = ratios(self.run.dataset)
        return tuple(name for name in names if has_absent or not name.endswith(("of targets", "with absent")))

    def images_of(self, strategy: str) -> dict[str, Scores]:
        """Scores of one strategy by the image's id, in the order of the data set; samples may share an image."""
        by_image: dict[str, Scores] = defaultdict(Scores)
        for answer in self.answers:
            if answer.place.strategy == strategy:
                by_image[answer.place.sample_id] += Scores.of(answer)
        return dict(by_image)

    def _figures_of(self, strategy: str) -> dict[str, Figure]:
        images = list(self.images_of(strategy).values())
        named = ratios(self.run.dataset).items()
        return {name: figure_of(name, ratio, self.scores[strategy], images) for name, ratio in named}


def merged_runs(paths: Sequence[Path]) -> list[MergedRun]:
    """Read files of results and bring those of one run together, in the order in which runs are first met.

    Raises:
        ResultsError: a file cannot be read, two have the same answer, or a run is in parts of different divisions.
    """
    by_run: dict[str, list[Results]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        results = read_results(path)
        by_run[results.header.run.fingerprint].append(results)
    return [_merged(parts) for parts in by_run.values()]


def _merged(parts: Sequence[Results]) -> MergedRun:
    _check_one_division(parts)
    answers: dict[tuple[int, int, str], Answer] = {}
    source: dict[tuple[int, int, str], Path] = {}
    for part in parts:
        for answer in part.answers:
            place = (answer.place.sample_index, answer.place.question_index, answer.place.strategy)
            if place in answers:
                raise ResultsError(f"{source[place]} and {part.path} have the same answers; give one of them")
            answers[place], source[place] = answer, part.path
    header = parts[0].header
    order = {key: number for number, key in enumerate(header.run.strategies)}
    places = sorted(answers, key=lambda place: (place[0], place[1], order[place[2]]))
    ordered = tuple(answers[place] for place in places)
    parameters = {key: count for part in parts for key, count in part.parameters.items()}
    return MergedRun(header.run, header.root, ordered, tuple(_notes(parts)), header.facts, parameters)


def _check_one_division(parts: Sequence[Results]) -> None:
    """Refuse shards of two divisions: which images neither holds cannot be told from their numbers."""
    first = parts[0]
    other = next((part for part in parts if part.header.shard.count != first.header.shard.count), first)
    if other is not first:
        shards = [f"{part.header.shard.number} of {part.header.shard.count} in {part.path}" for part in (first, other)]
        raise ResultsError(f"expected the shards of one division of a run, got {' and '.join(shards)}; leave one out")


def _notes(parts: Sequence[Results]) -> Iterable[str]:
    for part in parts:
        if not part.is_complete:
            yield f"{part.path.name} ends before its run did; run the same command again and it goes on from there"
    shards = [part.header.shard for part in parts]
    missing = set(range(1, shards[0].count + 1)) - {shard.number for shard in shards}
    for number in sorted(missing):
        yield f"shard {number} of {shards[0].count} is missing"
