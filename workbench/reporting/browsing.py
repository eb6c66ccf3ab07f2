"""The samples of a run, in an order that is worth looking at, drawn one by one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, get_args

from evfsam.errors import EvfSamError
from workbench.datasets.contract import Dataset, IndexedDataset, Sample, SampleQuestion
from workbench.datasets.known_datasets import open_dataset
from workbench.evaluation.measured_answers import Answer
from workbench.evaluation.merging import MergedRun
from workbench.reporting.showcase import Exhibit, Spot, answers_by_spot, dispute, draw_exhibit

SampleOrder = Literal["data", "worst", "best", "disputed", "absent"]
"""As in the data set; by the IoU of one strategy; by how far answers are apart; marked though absent."""

ORDERS: Final[tuple[SampleOrder, ...]] = get_args(SampleOrder)
PICTURE_SIDE: Final = 720


@dataclass(frozen=True, eq=False)
class Browsing:
    """A run whose samples are looked at.

    Attributes:
        run: the run.
    """

    run: MergedRun

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of expressions, sorted."""
        return tuple(sorted({answer.kind for answer in self.run.answers}))

    def spots(self, order: SampleOrder, strategy: str, kind: str = "") -> list[Spot]:
        """Return which questions are shown, and in which order.

        Args:
            order: see `SampleOrder`.
            strategy: whose answers decide the orders "worst", "best" and "absent".
            kind: of the expressions; "" for all.
        """
        found = self._by_spot
        if kind:
            found = {spot: answers for spot, answers in found.items() if answers[0].kind == kind}
        if order == "data":
            return sorted(found)
        if order == "disputed":
            return sorted(found, key=lambda spot: (-self._disputes[spot], spot))
        mine = {spot: each for spot, answers in found.items() for each in answers if each.place.strategy == strategy}
        if order == "absent":
            wrong = {spot: each for spot, each in mine.items() if each.is_about_nothing and each.marked}
            return sorted(wrong, key=lambda spot: (-wrong[spot].marked, spot))
        told = {spot: each for spot, each in mine.items() if each.outcome != "unread" and not each.is_about_nothing}
        sign = 1 if order == "worst" else -1
        return sorted(told, key=lambda spot: (sign * told[spot].iou, spot))

    def answers(self, spot: Spot) -> Sequence[Answer]:
        """Return what every strategy answered to a question."""
        return self._by_spot[spot]

    def exhibit(self, spot: Spot) -> Exhibit:
        """Draw a question: the known mask and every strategy's; without pictures where the data are not at hand."""
        answers = self._by_spot[spot]
        sample = self._sample(spot[0])
        question = None if sample is None else _question(sample, answers[0], self._places[spot])
        if sample is None or question is None:
            return draw_exhibit("", answers, None, PICTURE_SIDE)
        position = answers[0].place.question_index
        shown = replace(sample, questions=(question,) * (position + 1))
        return draw_exhibit("", answers, shown, PICTURE_SIDE)

    @cached_property
    def _by_spot(self) -> Mapping[Spot, list[Answer]]:
        return MappingProxyType(answers_by_spot(self.run.answers))

    @cached_property
    def _disputes(self) -> dict[Spot, float]:
        return {spot: dispute(answers) for spot, answers in self._by_spot.items()}

    @cached_property
    def _places(self) -> dict[Spot, int]:
        """Which of several equal phrases about an image a question is, from 0."""
        met: Counter[tuple[int, str, str]] = Counter()
        places = {}
        for spot in sorted(self._by_spot):
            first = self._by_spot[spot][0]
            read_alike = (spot[0], first.phrase, first.kind)
            places[spot] = met[read_alike]
            met[read_alike] += 1
        return places

    @cached_property
    def _dataset(self) -> Dataset | None:
        try:
            return open_dataset(self.run.run.dataset, Path(self.run.root) if self.run.root else None)
        except EvfSamError:
            return None

    def _sample(self, index: int) -> Sample | None:
        dataset = self._dataset
        try:
            if isinstance(dataset, IndexedDataset):
                return dataset[index]
            return None if dataset is None else next(islice(iter(dataset), index, None), None)
        except (EvfSamError, IndexError):
            return None


def _question(sample: Sample, answer: Answer, place: int) -> SampleQuestion | None:
    """Find the question of an answer among all of an image: a limit leaves questions out, and moves others."""
    alike = (each for each in sample.questions if (each.phrase, each.kind) == (answer.phrase, answer.kind))
    return next(islice(alike, place, None), None)
