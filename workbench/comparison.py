"""Run several strategies on one image, one after the other, over one shared image embedding.

What goes wrong in a strategy becomes an answer that says so; the others go on.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from time import perf_counter
from typing import Final, Protocol, runtime_checkable

import torch

from evfsam.errors import ConfigurationError, EvfSamError, GeometryError, Sentence
from evfsam.geometry import check_box, check_point
from evfsam.phrases import Phrase, check_phrases, split_phrases
from evfsam.types import (
    BoxXyxy,
    EmbeddingStore,
    ImageView,
    PromptPoint,
    RgbImage,
    SamPrompt,
    Segmentation,
    Strategy,
    StrategyCard,
    Verdict,
    VerdictKind,
)
from workbench.embedding_cache import EmbeddingCache
from workbench.heap import keep_freed_memory
from workbench.names import unknown_name
from workbench.request_memory import check_memory
from workbench.suites.memory_plan import is_out_of_memory, out_of_memory_reason
from workbench.suites.registry import Suite, configured
from workbench.turns import Turns

logger = logging.getLogger(__name__)

MOST_POINTS: Final = 100
"""Clicks of a person in one question; what SAM needs for them grows with their square."""
_RANKS: Final[tuple[VerdictKind, ...]] = ("found", "absent", "failed")

StrategyOptions = Mapping[str, Mapping[str, object]]
"""Options by strategy key, such as {"point-query": {"threshold": 0.8}}."""


@runtime_checkable
class BatchingStrategy(Protocol):
    """A strategy that answers several phrases about one image together."""

    def segment_many(self, view: ImageView, phrases: Sequence[str]) -> Sequence[Segmentation]:
        """Segment what each phrase names, in their order."""
        ...


@dataclass(frozen=True, eq=False)
class PhraseResult:
    """What a strategy answered to one of several phrases.

    Attributes:
        phrase: as it was checked.
        segmentation: the answer.
    """

    phrase: str
    segmentation: Segmentation


def answers_to(strategy: Strategy, key: str, view: ImageView, phrases: Sequence[str]) -> tuple[Segmentation, ...]:
    """Ask the phrases together where the strategy can, else one after the other; nothing is raised.

    A phrase that the strategy refuses takes no other along: where it was asked together with others, each is asked
    again by itself.

    Args:
        strategy: any.
        key: its key, for messages.
        view: the image.
        phrases: one or more.

    Returns:
        An answer a phrase, "failed" with the reason where something went wrong.
    """
    if len(phrases) > 1 and isinstance(strategy, BatchingStrategy):
        batching = strategy
        together = _tried(key, lambda: tuple(batching.segment_many(view, phrases)), view, len(phrases))
        if isinstance(together, tuple):
            return together
        logger.warning("strategy %s could not answer %d phrases together", key, len(phrases), exc_info=together)

    def alone(phrase: str) -> tuple[Segmentation, ...]:
        return (strategy.segment(view, phrase),)

    asked = (_tried(key, partial(alone, phrase), view, 1) for phrase in phrases)
    return tuple(answer[0] if isinstance(answer, tuple) else failure(view, key, answer) for answer in asked)


def failure(view: ImageView, key: str, error: Exception) -> Segmentation:
    """Return the answer of a strategy that raised; what nobody expected goes to the log."""
    reason = str(error)
    if is_out_of_memory(error):
        reason = out_of_memory_reason(error)
    elif not isinstance(error, EvfSamError):
        logger.error("strategy %s failed", key, exc_info=error)
        reason = Sentence(
            "an unexpected error ({kind}) stopped this strategy; the log has the details", kind=type(error).__name__
        )
    return Segmentation.undrawn(Verdict("failed", reason), view.size)


def joined(found: Sequence[Segmentation]) -> Segmentation:
    """Join the answers to several phrases into one: the masks united, prompts and traces in turn, no attention."""
    kinds = [one.verdict.kind for one in found]
    verdict = next(one.verdict for one in found if one.verdict.kind == min(kinds, key=_RANKS.index))
    ious = [one.pred_iou for one in found if one.pred_iou is not None]
    return Segmentation(
        verdict=verdict,
        pred_iou=min(ious) if ious else None,
        prompts=tuple(prompt for one in found for prompt in one.prompts),
        predictions=tuple(prediction for one in found for prediction in one.predictions),
        trace=tuple(entry for one in found for entry in one.trace),
        seconds={
            stage: sum(one.seconds.get(stage, 0.0) for one in found)
            for stage in dict.fromkeys(stage for one in found for stage in one.seconds)
        },
        embedding_was_cached=all(one.embedding_was_cached for one in found),
        sources=tuple(found),
    )


def _tried(
    key: str, ask: Callable[[], tuple[Segmentation, ...]], view: ImageView, count: int
) -> tuple[Segmentation, ...] | Exception:
    try:
        with torch.inference_mode():
            found = ask()
        sizes = [one.size for one in found]
        if sizes != [view.size] * count:
            raise RuntimeError(f"expected {count} times mask logits {view.size} of {key}, got {sizes}")
    except Exception as error:
        return error
    return found


@runtime_checkable
class RefinableStrategy(Protocol):
    """A strategy that can give SAM a person's clicks and box beside its own prompt."""

    def with_prompt(self, points: Sequence[PromptPoint] = (), box: BoxXyxy | None = None) -> Strategy:
        """Return a copy that does, sharing the weights; original pixels."""
        ...


@dataclass(frozen=True, eq=False)
class StrategyResult:
    """What one strategy answered.

    Attributes:
        key: of the strategy.
        card: its card; a provisional one where the strategy could not be loaded.
        segmentation: the answer; its verdict is "failed" where the strategy raised. Of several phrases it is their
            answers joined: found where one was found, a pixel is masked where one mask has it, without attention.
        seconds: the answer took this long, weights not counted.
        load_seconds: reading the weights took this long; close to 0 once they are there.
        answers: one a phrase where several were asked together; empty for a single phrase.
    """

    key: str
    card: StrategyCard
    segmentation: Segmentation
    seconds: float
    load_seconds: float = 0.0
    answers: tuple[PhraseResult, ...] = ()

    @property
    def by_phrase(self) -> tuple[Segmentation, ...]:
        """The answers one by one: as many as phrases were asked."""
        return tuple(answer.segmentation for answer in self.answers) or (self.segmentation,)


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked, as `Comparison.run` has checked it. Can be pickled.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        phrases: one or more.
        keys: of the strategies, each once, in the order in which they are asked.
        options: by strategy key, of values that only the strategies check.
        refinement: points and box, given to SAM beside what each strategy makes of a phrase.
    """

    image: RgbImage
    phrases: tuple[Phrase, ...]
    keys: tuple[str, ...]
    options: StrategyOptions
    refinement: SamPrompt

    @property
    def phrase(self) -> str:
        """The phrases as one text."""
        return "; ".join(self.phrases)


class Run(Iterator[StrategyResult]):
    """The answers to a question; each is worked out when it is asked for.

    Args:
        view: the image.
        question: what is asked.
        answers: one a strategy.
    """

    def __init__(self, view: ImageView, question: Question, answers: Iterator[StrategyResult]) -> None:
        self.view = view
        self.question = question
        self._answers = answers

    def __next__(self) -> StrategyResult:
        """Return the next strategy's answer."""
        return next(self._answers)


class Comparison:
    """The strategies of a suite, ready to be asked by several visitors at once.

    Weights are read when a strategy is first used, once. Holds no image and no result.

    Args:
        suite: which strategies.
        device, dtype: where and how they run; see `workbench.placement`.
        cache: shared image embeddings; by default a cache of its own.
        question_bytes: memory that one question may take beside the weights; None for no bound.
        at_once: how many strategies answer at a time, whoever asks.

    Attributes:
        turns: at the models.
    """

    def __init__(
        self,
        suite: Suite,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        cache: EmbeddingStore | None = None,
        question_bytes: int | None = None,
        at_once: int = 1,
    ) -> None:
        keep_freed_memory()
        self.suite = suite
        self._question_bytes = question_bytes
        self._device = torch.device(device)
        self._dtype = dtype
        self._cache: EmbeddingStore = cache if cache is not None else EmbeddingCache()
        self._strategies: dict[str, Strategy] = {}
        self.turns = Turns(at_once)
        self._locks = {key: Lock() for key in suite.strategies}

    @property
    def device(self) -> torch.device:
        """Where the strategies run."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """The number type of their weights and activations."""
        return self._dtype

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all strategies, in the order in which they run."""
        return tuple(self.suite.strategies)

    @property
    def cards(self) -> dict[str, StrategyCard]:
        """Cards of all strategies by key: full where the weights are loaded, title and summary alone elsewhere."""
        return {key: self._card(key) for key in self.keys}

    def view(self, image: RgbImage) -> ImageView:
        """Return a view of the image whose embeddings live in the shared cache."""
        return ImageView(image, self._cache)

    def strategy(self, key: str) -> Strategy:
        """Return the strategy, reading its weights if this is its first use.

        Raises:
            ConfigurationError: the suite has no such strategy.
            CheckpointError: its weights are missing or damaged.
        """
        (key,) = self.choose([key])
        with self._locks[key]:
            if key not in self._strategies:
                self._strategies[key] = self.suite.strategies[key].load(self._device, self._dtype)
            return self._strategies[key]

    def loaded(self, key: str) -> Strategy | None:
        """Return the strategy if its weights have been read, else None."""
        return self._strategies.get(key)

    def choose(self, strategies: object) -> tuple[str, ...]:
        """Check a choice of strategies: all for None, each once, in the order given.

        Raises:
            ConfigurationError: it is no list of keys, is empty or names a strategy that the suite lacks.
        """
        if strategies is None:
            return self.keys
        if not isinstance(strategies, Sequence) or isinstance(strategies, str):
            raise ConfigurationError(
                "expected a list of strategies' keys, got {value!r:.60}; put them into a list", value=strategies
            )
        if not strategies:
            raise ConfigurationError(
                "No strategy is chosen. Choose at least one strategy out of {choices}, got none",
                choices=", ".join(self.keys),
            )
        for key in strategies:
            if not isinstance(key, str):
                raise ConfigurationError(
                    "expected the key of a strategy as text, got {value!r:.60}; expected one of {choices}",
                    value=key,
                    choices=", ".join(self.keys),
                )
            if key not in self.suite.strategies:
                raise ConfigurationError(unknown_name("strategy", key, self.keys))
        return tuple(dict.fromkeys(strategies))

    def check_options(self, options: StrategyOptions) -> None:
        """Refuse options that their strategy does not take; a strategy whose weights cannot be read says so when asked.

        Raises:
            ConfigurationError: an option is unknown, out of range, or filed under no strategy.
        """
        for key, chosen in options.items():
            self.choose([key])
            try:
                strategy = self.strategy(key)
            except EvfSamError:
                continue
            configured(strategy, key, chosen)

    def run(
        self,
        image: RgbImage | ImageView,
        phrase: object,
        strategies: object = None,
        options: StrategyOptions | None = None,
        refinement: SamPrompt | None = None,
    ) -> Run:
        """Ask each strategy in turn; results come as each ends.

        This is the door: the arguments are checked before this returns, all but the options' values, since a strategy
        knows them once its weights are read; `check_options` does both. After that nothing is raised: what goes wrong
        in a strategy, its options included, is that strategy's result, with the verdict "failed" and the reason.

        Args:
            image: (H, W, 3) uint8 RGB, or a view made by `view`, which saves hashing it again.
            phrase: what to segment; several phrases with ";" between them, or as a list, whose phrases are taken as
                they are. Each gets a mask of its own.
            strategies: keys; all by default.
            options: passed to `with_options` of the strategy they are filed under.
            refinement: points and box in original pixels, given to SAM beside what each strategy makes of the phrase.

        Raises:
            ImageFormatError: the array is not an RGB image.
            PhraseError: a phrase is empty or too long, or there are too many.
            ConfigurationError: a strategy's key is unknown, here or in `options`.
            GeometryError: a point or the box of the refinement leaves the image.
            MemoryBudgetError: the question would take more memory than there is for one.
        """
        chosen = self.choose(strategies)
        filed = {key: dict(values) for key, values in (options or {}).items()}
        if filed:
            self.choose(tuple(filed))
        phrases = check_phrases(phrase) if isinstance(phrase, list | tuple) else split_phrases(phrase)
        view = image if isinstance(image, ImageView) else self.view(image)
        given = refinement or SamPrompt()
        check_refinement(given, view.size)
        if self._question_bytes is not None:
            check_memory(view.size, len(phrases), [self.loaded(key) for key in chosen], self._question_bytes)
        question = Question(view.image, phrases, chosen, filed, given)
        return Run(view, question, self.answers(view, question))

    def answers(self, view: ImageView, question: Question) -> Iterator[StrategyResult]:
        """Answer a question that was checked, about a view of its image."""
        return (self._ask(key, view, question) for key in question.keys)

    def takes_marks(self, key: str) -> bool:
        """Whether a strategy takes points and a box beside the phrase; its card tells before its weights are read."""
        strategy = self._strategies.get(key)
        return self._card(key).takes_marks if strategy is None else isinstance(strategy, RefinableStrategy)

    def _ask(self, key: str, view: ImageView, question: Question) -> StrategyResult:
        with self.turns.taken():
            return self.answer(key, view, question)

    def answer(self, key: str, view: ImageView, question: Question) -> StrategyResult:
        """Ask one strategy a question that was checked, without waiting for a turn."""
        phrases, options = question.phrases, question.options.get(key, {})
        started = loaded = perf_counter()
        try:
            strategy = self.strategy(key)
            loaded = perf_counter()
            prepared = with_marks(configured(strategy, key, options), key, question.refinement)
            found = answers_to(prepared, key, view, phrases)
        except Exception as error:
            found = (failure(view, key, error),) * len(phrases)
        seconds, load_seconds = perf_counter() - loaded, loaded - started
        if len(found) == 1:
            return StrategyResult(key, self._card(key), found[0], seconds, load_seconds)
        answers = tuple(PhraseResult(phrase, one) for phrase, one in zip(phrases, found, strict=True))
        return StrategyResult(key, self._card(key), joined(found), seconds, load_seconds, answers)

    def _card(self, key: str) -> StrategyCard:
        strategy, entry = self._strategies.get(key), self.suite.strategies[key]
        if strategy is None:
            return replace(entry.card, key=key)
        # A strategy that is there twice is told apart by its entry.
        return strategy.card if strategy.card.key == key else replace(strategy.card, key=key, title=entry.card.title)


def check_refinement(refinement: SamPrompt, size: tuple[int, int]) -> None:
    """Refuse a box or points outside an image of `size` (H, W), and too many points.

    Raises:
        GeometryError: see above.
    """
    if len(refinement.points) > MOST_POINTS:
        raise GeometryError(
            "expected at most {most} points, got {got}; leave some out", most=MOST_POINTS, got=len(refinement.points)
        )
    for point in refinement.points:
        check_point(point.x, point.y, size)
    if refinement.box is not None:
        check_box(refinement.box, size)


def with_marks(strategy: Strategy, key: str, refinement: SamPrompt) -> Strategy:
    """Return a strategy that gives SAM points and a box beside its own prompt; itself where there are none.

    Raises:
        ConfigurationError: it takes none.
    """
    if refinement.box is None and not refinement.points:
        return strategy
    return refinable(strategy, key).with_prompt(refinement.points, refinement.box)


def refinable(strategy: Strategy, key: str) -> RefinableStrategy:
    """Return a strategy as one that takes marks.

    Raises:
        ConfigurationError: it takes none.
    """
    if isinstance(strategy, RefinableStrategy):
        return strategy
    raise ConfigurationError(
        "strategy {strategy} takes no points and no box beside the phrase; leave one of them out", strategy=key
    )
