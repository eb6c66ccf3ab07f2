"""Measure the strategies of a suite on images with known masks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Final

from evfsam.errors import ConfigurationError, EvfSamError
from evfsam.phrases import check_phrase
from evfsam.types import ImageView
from workbench.comparison import Comparison, answers_to, refinable, with_marks
from workbench.datasets.contract import ABSENT, Sample, SampleQuestion
from workbench.datasets.known_datasets import open_dataset
from workbench.evaluation.cost import PeakMemory
from workbench.evaluation.known_marks import known_marks
from workbench.evaluation.measured_answers import (
    Answer,
    Place,
    Scores,
    check_mask_size,
    data_digest,
    measured,
    scores_of,
    unread,
)
from workbench.metrics.masks import ReferenceMask
from workbench.names import SCENES_LIMIT, MarkKind

PHRASES_AT_ONCE: Final = 16
"""Most phrases asked together; bounds memory."""
MOST_SHARDS: Final = 10_000
"""Most parts of a run; each that is missing is named."""

Done = Mapping[tuple[int, int, str], str]
"""The data that answers at hand are about, by index of the sample, index of the question, and strategy."""


class ChangedDataError(ConfigurationError):
    """An image or a known mask is not the one that earlier answers are about."""


@dataclass(frozen=True)
class Shard:
    """One of several parts of a run: every `count`-th image, so that an image is encoded in one part alone.

    Attributes:
        number: from 1 to `count`.
        count: how many parts there are, at most 10,000.

    Raises:
        ConfigurationError: the numbers do not fit.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= MOST_SHARDS:
            raise ConfigurationError(
                f"expected a shard I/N with 1 <= I <= N <= {MOST_SHARDS}, such as 1/4, got {self.number}/{self.count}"
            )

    def path_of(self, path: Path) -> Path:
        """Return where this part of the results goes: beside the name that the whole would have."""
        if self.count == 1:
            return path
        return path.with_name(f"{path.stem}.{self.number}-of-{self.count}{path.suffix}")


def load_dataset(name: str, limit: int | None, root: Path | None = None) -> Iterator[Sample]:
    """Return the samples of a data set in their fixed order; see `limited`.

    Args:
        name: see `workbench.names.DATASET_NAMES`.
        limit: at least 1; None for the whole data set, and for `SCENES_LIMIT` expressions of scenes.
        root: folder of the data set's files.

    Raises:
        ConfigurationError: the name, the limit or the data set's files cannot be used.
    """
    return limited(open_dataset(name, root), checked_limit(name, limit))


def checked_limit(name: str, limit: int | None) -> int | None:
    """Return the limit that holds for a data set; None for none.

    Raises:
        ConfigurationError: it is under 1.
    """
    if limit is not None and limit < 1:
        raise ConfigurationError(f"expected a limit of at least 1 expression, got {limit}")
    return SCENES_LIMIT if limit is None and name.startswith("scenes:") else limit


def limited(samples: Iterable[Sample], limit: int | None) -> Iterator[Sample]:
    """Go through samples until `limit` expressions that are not "absent" are reached; nothing is read ahead.

    "Absent" ones met on the way, those of the last image included, come on top of the limit. So a smaller limit asks
    the beginning of what a larger one asks.
    """
    left = limit if limit is not None else -1
    for sample in samples:
        present = [question for question in sample.questions if question.kind != ABSENT]
        kept = present[:left] if limit is not None else present
        absent = [question for question in sample.questions if question.kind == ABSENT]
        left -= len(kept)
        yield replace(sample, questions=(*kept, *absent))
        if left == 0:
            return


def evaluate(
    comparison: Comparison,
    samples: Iterable[Sample],
    strategies: Sequence[str] | None = None,
    on_question: Callable[[SampleQuestion], None] = lambda _: None,
    marks: MarkKind | None = None,
) -> dict[str, Scores]:
    """Ask every strategy every question and measure the answers.

    Args:
        comparison: the strategies; its cache holds the one embedding a sample needs.
        samples: read once, one at a time.
        strategies: keys; all by default.
        on_question: called after each question, for a progress bar.
        marks: see `measure`.

    Returns:
        Scores by strategy key.

    Raises:
        ConfigurationError: a strategy's key is unknown, or it takes no marks.
        EvfSamError: a strategy cannot be loaded; measuring a failure a thousand times would help nobody.
    """
    chosen = comparison.choose(strategies)
    scores = {key: Scores() for key in chosen}
    for answers in measure(comparison, samples, chosen, on_question=on_question, marks=marks):
        for key, more in scores_of(answers).items():
            scores[key] += more
    return scores


def measure(
    comparison: Comparison,
    samples: Iterable[Sample],
    strategies: Sequence[str] | None = None,
    *,
    shard: Shard | None = None,
    done: Done = MappingProxyType({}),
    on_question: Callable[[SampleQuestion], None] = lambda _: None,
    marks: MarkKind | None = None,
) -> Iterator[list[Answer]]:
    """Ask every strategy every question; the weights are read before this returns.

    Args:
        comparison: the strategies.
        samples: read once, one at a time.
        strategies: keys; all by default.
        shard: which part of the samples; by default all.
        done: answers at hand already: they are not given again, but their images and masks are read and compared
            with those that they are about.
        on_question: called after each question.
        marks: what SAM sees beside each phrase, read off its known mask; phrases about nothing are asked without.

    Returns:
        The answers of one image after the other, strategy by strategy.

    Raises:
        ConfigurationError, EvfSamError: see `evaluate`; while the answers are gone through, a ChangedDataError where
            an answer in `done` is about other data.
    """
    chosen = comparison.choose(strategies)
    for key in chosen:
        strategy = comparison.strategy(key)
        if marks is not None:
            refinable(strategy, key)
    return _measured(comparison, _of_shard(samples, shard or Shard()), chosen, done, on_question, marks)


def _measured(
    comparison: Comparison,
    samples: Iterable[tuple[int, Sample]],
    chosen: Sequence[str],
    done: Done,
    on_question: Callable[[SampleQuestion], None],
    marks: MarkKind | None,
) -> Iterator[list[Answer]]:
    for index, sample in samples:
        count = len(sample.questions)
        missing = {key: [i for i in range(count) if (index, i, key) not in done] for key in chosen}
        _check_unchanged(
            sample, [(i, done[index, i, key]) for key in chosen for i in range(count) if i not in missing[key]]
        )
        if any(missing.values()):
            yield list(_sample_answers(comparison, index, sample, missing, marks))
        for question in sample.questions:
            on_question(question)


def _check_unchanged(sample: Sample, known: Sequence[tuple[int, str]]) -> None:
    """Compare an image and its masks with the digests that earlier answers have, by the question's index."""
    if not known:
        return
    digests: dict[int, str] = {}
    try:
        view = ImageView(sample.image)
    except EvfSamError:
        view = None
    if view is not None:
        references, _ = _read_questions(sample, view.size)
        digests = {position: data_digest(view, reference) for position, reference in references.items()}
    for position, digest in known:
        if digests.get(position, "") != digest:
            raise ChangedDataError(
                f"the image {sample.sample_id or 'without a name'} or the known mask of "
                f"{sample.questions[position].phrase!r} has changed since it was answered; bring the data back, or "
                "choose another file with --out"
            )


def _sample_answers(
    comparison: Comparison, index: int, sample: Sample, missing: Mapping[str, Sequence[int]], marks: MarkKind | None
) -> Iterator[Answer]:
    """Answer the questions that are missing, given by their indices for each strategy."""
    faults: dict[int, str] = {}
    references: dict[int, ReferenceMask] = {}
    try:
        view = comparison.view(sample.image)
    except EvfSamError as error:
        view = None
        faults = dict.fromkeys(range(len(sample.questions)), str(error))
    if view is not None:
        references, faults = _read_questions(sample, view.size)
    for key, positions in missing.items():
        places = {i: Place(index, sample.sample_id or str(index), i, key) for i in positions}
        for position in positions:
            if position in faults:
                yield unread(places[position], sample.questions[position], faults[position])
        if view is not None:
            asked = [(places[i], references[i]) for i in positions if i in references]
            yield from _asked(comparison, view, sample, asked, marks)


def _read_questions(sample: Sample, size: tuple[int, int]) -> tuple[dict[int, ReferenceMask], dict[int, str]]:
    """Return the known masks, and why there is none, by the question's index."""
    references: dict[int, ReferenceMask] = {}
    faults: dict[int, str] = {}
    for position, question in enumerate(sample.questions):
        try:
            check_phrase(question.phrase)
            reference = question.reference
            check_mask_size(reference, size)
            references[position] = reference
        except EvfSamError as error:
            faults[position] = str(error)
    return references, faults


def _asked(
    comparison: Comparison,
    view: ImageView,
    sample: Sample,
    asked: Sequence[tuple[Place, ReferenceMask]],
    marks: MarkKind | None,
) -> Iterator[Answer]:
    """Ask one strategy about one image, phrases together where it can; a segmentation goes once it is measured."""
    memory = PeakMemory(comparison.device)
    for start in range(0, len(asked), PHRASES_AT_ONCE):
        part = [
            (place, sample.questions[place.question_index], known) for place, known in asked[start:][:PHRASES_AT_ONCE]
        ]
        phrases = [check_phrase(question.phrase) for _, question, _ in part]
        key = part[0][0].strategy
        memory.start()
        strategy = comparison.strategy(key)
        if marks is None:
            found = answers_to(strategy, key, view, phrases)
        else:
            marked = [with_marks(strategy, key, known_marks(marks, known)) for _, _, known in part]
            found = tuple(answers_to(one, key, view, [said])[0] for one, said in zip(marked, phrases, strict=True))
        peak = memory.bytes()
        for (place, question, known), segmentation in zip(part, found, strict=True):
            answer = measured(place, question, known, segmentation)
            yield replace(answer, data=data_digest(view, known), peak_bytes=peak)


def _of_shard(samples: Iterable[Sample], shard: Shard) -> Iterator[tuple[int, Sample]]:
    return islice(enumerate(samples), shard.number - 1, None, shard.count)
