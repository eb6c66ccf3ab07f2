"""Comparisons on a GPU that is lent for one call at a time, as Spaces with ZeroGPU lend it.

There the decorated function runs in a forked process: what it is given and what it yields is pickled, and what it loads
is lost with it. So one call serves one comparison, files are fetched before it, weights are read before the page is
launched, and tensors come back on the CPU. Where the `spaces` package is not at work, nothing of this is in the way.
"""

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import is_dataclass, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

import torch

from evfsam.errors import EvfSamError, Sentence
from evfsam.types import EmbeddingStore, ImageView, Strategy
from workbench.comparison import Comparison, PhraseResult, Question, StrategyResult, failure, joined
from workbench.suites.hub_entries import HubEntry
from workbench.suites.memory_plan import lends_gpu
from workbench.suites.registry import Suite
from workbench.video.clip_run import ClipAsker, ClipOrder, FrameAnswer

Value = TypeVar("Value")
GpuTask = Callable[..., Generator[Any, None, None]]
GpuDecorator = Callable[..., Callable[[GpuTask], GpuTask]]
"""`spaces.GPU`: called with `duration`, a function of the task's own arguments; returns the task's decorator."""

START_SECONDS: Final = 12
"""To start the process and move the weights."""
LOAD_SECONDS: Final = 20
"""More for a strategy whose weights were not read before the page was launched."""
ASK_SECONDS: Final[Mapping[str, int]] = MappingProxyType(
    {"evf-sam": 3, "evf-sam2": 3, "clip-text": 3, "clip-ranking": 8, "point-query": 10, "grounded-sam": 4, "sam3": 4}
)
"""For one phrase. Estimates on the generous side: a call that outlasts its duration is stopped, and one that asks for
too much is refused to visitors with little quota left. Quota is charged by real use."""
_OTHER_SECONDS: Final = 10
_FURTHER_PHRASE_SHARE: Final = 0.5
LONGEST_SECONDS: Final = 80
"""ZeroGPU counts half as much again as is asked for, and lends strangers two minutes a day."""
_LEFT: Final = re.compile(r"\((\d+)s requested vs\. (\d+)s left\)")
_RETRY: Final = re.compile(r"[Tt]ry again in (\d[\w:, ]*)")
_FRAME_SHARE: Final = 1 / 12
"""Of a phrase's seconds, for one frame of a clip, where everything has run once. EVF-SAM gets 0.25 s, so that
`workbench.video.clips.FRAME_LIMIT` frames fit into one call; an H200 took 0.07 (benchmarks/figures-gpu.json)."""


class GpuUnavailableError(EvfSamError):
    """The GPU was not lent, or taken away; the message says why and what helps."""


def zero_gpu_decorator(environment: Mapping[str, str]) -> GpuDecorator | None:
    """Return `spaces.GPU` where this is a Space with ZeroGPU, else None.

    Call it before anything touches CUDA: the package stands in for CUDA outside of calls.
    """
    if not lends_gpu(environment):
        return None
    return cast(GpuDecorator, import_module("spaces").GPU)


class ZeroGpuComparison(Comparison):
    """A comparison of which each run is one call on a lent GPU.

    Args:
        suite, device, dtype, cache: as of `Comparison`; the cache serves within one call.
        gpu: lends the GPU.

    Attributes:
        gpu: the same, for other tasks on these strategies.
    """

    def __init__(
        self,
        suite: Suite,
        device: torch.device | str,
        dtype: torch.dtype,
        gpu: GpuDecorator,
        cache: EmbeddingStore | None = None,
        question_bytes: int | None = None,
    ) -> None:
        super().__init__(suite, device, dtype, cache, question_bytes)
        self.gpu = gpu
        self._on_gpu = gpu(duration=self.duration)(self._task())

    def strategy(self, key: str) -> Strategy:
        """Return the strategy; its encoder's digest is taken while the weights can be read, which they soon cannot."""
        strategy = super().strategy(key)
        backbone = getattr(strategy, "backbone", None)
        if backbone is not None:
            _ = backbone.encoder_identity
        return strategy

    def duration(self, question: Question) -> int:
        """Return the seconds to ask for, of the decorated function's argument."""
        return self.seconds_for(len(question.phrases), question.keys)

    def seconds_for(self, phrase_count: int, keys: Sequence[str]) -> int:
        """Return the seconds to ask for, for strategies that are asked a number of phrases."""
        per_phrase = 1 + _FURTHER_PHRASE_SHARE * (phrase_count - 1)
        asking = sum(self.phrase_seconds(key) for key in keys) * per_phrase
        loading = LOAD_SECONDS * sum(self.loaded(key) is None for key in keys)
        return min(round(START_SECONDS + asking + loading), LONGEST_SECONDS)

    def phrase_seconds(self, key: str) -> int:
        """Return the seconds that a strategy is given for one phrase, whatever it is called beside others."""
        return ASK_SECONDS.get(self.suite.strategies[key].card.key, _OTHER_SECONDS)

    def answers(self, view: ImageView, question: Question) -> Iterator[StrategyResult]:
        """Fetch files here, then ask all strategies in one call; results as in `Comparison`.

        Raises:
            GpuUnavailableError: while iterating: the GPU was not lent, or taken away.
        """
        failed = {key: error for key in question.keys if (error := self._fetch_fault(key)) is not None}
        asked = replace(question, keys=tuple(key for key in question.keys if key not in failed))
        answers = iter(self._on_gpu(asked) if asked.keys else ())
        for key in question.keys:
            if key in failed:
                yield _failed(self, key, view, question.phrases, failed[key])
                continue
            try:
                yield next(answers)
            except StopIteration:
                return
            except EvfSamError:
                raise
            except Exception as error:  # gradio's own, which this room does not import
                raise GpuUnavailableError(gpu_fault_in_words(error)) from error
        for _ in answers:  # lets the call end in good order
            pass

    def fetch(self, key: str) -> None:
        """Fetch the files of a strategy that is not loaded, so that no GPU waits for the network.

        Raises:
            EvfSamError: they cannot be had.
        """
        entry = self.suite.strategies[key]
        if self.loaded(key) is None and isinstance(entry, HubEntry):
            entry.fetch()

    def _fetch_fault(self, key: str) -> Exception | None:
        try:
            self.fetch(key)
        except EvfSamError as error:
            return error
        return None

    def _task(self) -> GpuTask:
        def ask(question: Question) -> Generator[StrategyResult, None, None]:
            for result in Comparison.answers(self, self.view(question.image), question):
                yield on_cpu(result)

        return ask


def on_cpu(value: Value) -> Value:
    """Return a value that can be pickled: tensors in it on the CPU, read-only mappings as dictionaries."""
    if isinstance(value, torch.Tensor):
        return cast(Value, value.detach().cpu())
    if isinstance(value, Mapping):
        return cast(Value, {key: on_cpu(item) for key, item in value.items()})
    if isinstance(value, (tuple, list)):
        return cast(Value, type(value)(on_cpu(item) for item in value))
    if is_dataclass(value) and not isinstance(value, type):
        moved = copy(value)
        vars(moved).update({name: on_cpu(item) for name, item in vars(value).items()})  # what is held, not what is made
        return moved
    return value


def gpu_fault_in_words(error: BaseException) -> Sentence:
    """Say in plain words why a GPU was not lent, or taken away, and what helps."""
    said = f"{getattr(error, 'title', '')}: {getattr(error, 'message', error)}".strip(": ")
    low = said.lower()
    if "no gpu" in low or "queue" in low:
        return Sentence(
            "All GPUs are busy, and none came free in time. Your image and phrase are still here: try again soon."
        )
    if "quota" in low or "runs limit" in low or "reached its gpu limit" in low:
        left, retry = _LEFT.search(said), _RETRY.search(said)
        numbers = (
            Sentence(" ({left} s are left, this comparison asks for {asked} s)", left=left[2], asked=left[1])
            if left
            else ""
        )
        when = Sentence(" It comes back in {time}.", time=retry[1].strip(" .")) if retry else ""
        return Sentence(
            "Your free GPU time on Hugging Face is used up for now{numbers}.{when} Ask fewer strategies at once, log "
            "in to Hugging Face for more, or run this app on a machine of your own.",
            numbers=numbers,
            when=when,
        )
    if "illegal duration" in low or "larger than the maximum" in low:
        return Sentence(
            "This comparison asks for more GPU time than one call may have. Ask fewer strategies or phrases at once."
        )
    if "pending credits" in low or "too many zerogpu credits" in low:
        return Sentence("Your other GPU tasks on Hugging Face are still running. Try again once they have ended.")
    if "aborted" in low:
        return Sentence(
            "The GPU was taken away before the comparison ended, as when it takes too long. Ask fewer strategies."
        )
    if "token" in low:
        return Sentence("Your session on this page has expired. Reload it and ask again.")
    if "outofmemory" in low.replace(" ", ""):
        return Sentence("The GPU ran out of memory. Ask fewer strategies at once, or take a smaller picture.")
    return Sentence("The GPU call failed ({reason}). Try once more.", reason=said or type(error).__name__)


def _failed(
    comparison: Comparison, key: str, view: ImageView, phrases: tuple[str, ...], error: Exception
) -> StrategyResult:
    found = [failure(view, key, error) for _ in phrases]
    answers = tuple(PhraseResult(phrase, one) for phrase, one in zip(phrases, found, strict=True))
    segmentation = found[0] if len(found) == 1 else joined(found)
    return StrategyResult(key, comparison.cards[key], segmentation, 0.0, 0.0, answers if len(answers) > 1 else ())


class LentClipAsker(ClipAsker):
    """Asks about each clip in one call on a lent GPU: the file's path crosses the process border, not its frames.

    Args:
        comparison: whose strategies, and who lends the GPU.
    """

    def __init__(self, comparison: ZeroGpuComparison) -> None:
        super().__init__(comparison)
        self._lender = comparison
        asked = super().answers

        def ask(order: ClipOrder) -> Generator[FrameAnswer, None, None]:
            yield from asked(order)

        self._on_gpu = comparison.gpu(duration=self.duration)(ask)

    def duration(self, order: ClipOrder) -> int:
        """Return the seconds to ask for; same argument as the decorated function."""
        loading = LOAD_SECONDS if self._lender.loaded(order.strategy) is None else 0
        frames = _FRAME_SHARE * self._lender.phrase_seconds(order.strategy) * order.count
        return min(round(START_SECONDS + loading + frames), LONGEST_SECONDS)

    def answers(self, order: ClipOrder) -> Iterator[FrameAnswer]:
        """Fetch files here, then do as `ClipAsker.answers` in one call.

        Raises:
            GpuUnavailableError: while iterating: the GPU was not lent, or taken away.
            EvfSamError: while iterating, as in `ClipAsker.answers`.
        """
        self._lender.fetch(order.strategy)
        try:
            yield from self._on_gpu(order)
        except EvfSamError:
            raise
        except Exception as error:  # gradio's own, which this room does not import
            raise GpuUnavailableError(gpu_fault_in_words(error)) from error


def clip_asker(comparison: Comparison) -> ClipAsker:
    """Return what asks a comparison's strategies about clips, on a lent GPU where the comparison runs on one."""
    return LentClipAsker(comparison) if isinstance(comparison, ZeroGpuComparison) else ClipAsker(comparison)
