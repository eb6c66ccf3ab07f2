"""Measure the strategies of a suite on images with known masks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from evfsam.errors import ConfigurationError
from evfsam.types import RgbImage, Segmentation
from workbench.comparison import Comparison
from workbench.datasets.scenes import Scene, Split, scene, split_seeds
from workbench.metrics import AbsentTally, Tally
from workbench.suites import unknown_name

ABSENT: Final = "absent"
"""The kind of expressions that name nothing in the image. They have no place in cIoU, gIoU and Pr@0.5."""

SPLITS: Final[tuple[Split, ...]] = get_args(Split)


@dataclass(frozen=True, eq=False)
class Question:
    """One expression about an image, with its known answer.

    Attributes:
        phrase: the expression.
        kind: of the expression.
        reference: (H, W) bool; empty for the kind "absent".
    """

    phrase: str
    kind: str
    reference: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with all the questions asked about it, together, so that it is encoded once.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        questions: in the order in which they are asked.
    """

    image: RgbImage
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Scores:
    """What one strategy reached; `+` merges two parts of a run.

    Attributes:
        kinds: tallies by kind of expression, all but "absent".
        absent: of the expressions that name nothing.
        failed_count: expressions on which the strategy failed; they count as an empty mask, and as wrong where absent.
    """

    kinds: dict[str, Tally] = field(default_factory=dict)
    absent: AbsentTally = field(default_factory=AbsentTally)
    failed_count: int = 0

    def __add__(self, other: "Scores") -> "Scores":
        kinds = dict(self.kinds)
        for kind, tally in other.kinds.items():
            kinds[kind] = kinds.get(kind, Tally()) + tally
        return Scores(kinds, self.absent + other.absent, self.failed_count + other.failed_count)

    @property
    def total(self) -> Tally:
        """All kinds together."""
        return sum(self.kinds.values(), Tally())

    @classmethod
    def of(cls, question: Question, segmentation: Segmentation) -> "Scores":
        """Measure one answer."""
        is_failed = segmentation.verdict.kind == "failed"
        if question.kind == ABSENT:
            is_right = not is_failed and not segmentation.mask.any()
            return cls({}, AbsentTally(int(is_right), 1), int(is_failed))
        return cls({question.kind: Tally.of(segmentation.mask, question.reference)}, AbsentTally(), int(is_failed))


def load_dataset(name: str, limit: int) -> Iterator[Sample]:
    """Return the samples of a data set in their fixed order, drawn as they are asked for.

    Scenes come in the order of their seeds, and their expressions in the order of the scene, until `limit`
    expressions that are not "absent" are reached. "Absent" ones met on the way, those of the last scene included,
    come on top of the limit. So a smaller limit asks the beginning of what a larger one asks.

    Args:
        name: "scenes:SPLIT", such as "scenes:test".
        limit: at least 1.

    Raises:
        ConfigurationError: the name or the limit cannot be used.
    """
    splits = {f"scenes:{split}": split for split in SPLITS}
    if name not in splits:
        raise ConfigurationError(unknown_name("data set", name, tuple(splits)))
    if limit < 1:
        raise ConfigurationError(f"expected a limit of at least 1 expression, got {limit}")
    return _limited((_scene_sample(scene(seed)) for seed in split_seeds(splits[name])), limit)


def evaluate(
    comparison: Comparison,
    samples: Iterable[Sample],
    strategies: Sequence[str] | None = None,
    on_question: Callable[[Question], None] = lambda _: None,
) -> dict[str, Scores]:
    """Ask every strategy every question and measure the answers.

    Args:
        comparison: the strategies; its cache holds the one embedding a sample needs.
        samples: read once, one at a time.
        strategies: keys; all by default.
        on_question: called after each question, for a progress bar.

    Returns:
        Scores by strategy key.

    Raises:
        ConfigurationError: a strategy's key is unknown.
        EvfSamError: a strategy cannot be loaded; measuring a failure a thousand times would help nobody.
    """
    chosen = comparison.choose(strategies)
    for key in chosen:
        comparison.strategy(key)
    scores = {key: Scores() for key in chosen}
    for sample in samples:
        view = comparison.view(sample.image)
        for question in sample.questions:
            for result in comparison.run(view, question.phrase, chosen):
                scores[result.key] += Scores.of(question, result.segmentation)
            on_question(question)
    return scores


def _scene_sample(drawn: Scene) -> Sample:
    questions = (Question(each.text, each.kind, drawn.mask(each)) for each in drawn.expressions)
    return Sample(drawn.image, tuple(questions))


def _limited(samples: Iterable[Sample], limit: int) -> Iterator[Sample]:
    left = limit
    for sample in samples:
        present = [question for question in sample.questions if question.kind != ABSENT][:left]
        absent = [question for question in sample.questions if question.kind == ABSENT]
        left -= len(present)
        yield Sample(sample.image, (*present, *absent))
        if left == 0:
            return
