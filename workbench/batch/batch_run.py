"""Ask strategies many phrases about many images, each image decoded and encoded once; what is done is kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Final

from evfsam.errors import EvfSamError, MemoryBudgetError
from evfsam.phrases import MAX_PHRASES
from evfsam.preprocess import load_image
from evfsam.types import ImageView
from workbench.batch.batch_files import Fault
from workbench.batch.batch_folder import BatchAnswer, BatchFolder, ReadImage
from workbench.batch.batch_plan import AskedImage, BatchPlan
from workbench.comparison import Comparison, StrategyOptions
from workbench.export.manifest import weight_digests
from workbench.suites.hub_entries import HubEntry
from workbench.suites.registry import Suite
from workbench.zero_gpu import LONGEST_SECONDS, ZeroGpuComparison

PHRASES_AT_ONCE: Final = MAX_PHRASES


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is.

    Attributes:
        done_count: answers that are there, failed ones and those of an earlier start among them.
        skipped_count: answers that will never be: their image cannot be read.
        total_count: images times phrases times strategies.
        image_name: the image at work.
        seconds_left: estimate; None until a first answer came.
    """

    done_count: int
    skipped_count: int
    total_count: int
    image_name: str = ""
    seconds_left: float | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to ask."""
        return self.done_count + self.skipped_count >= self.total_count


def batch_settings(
    comparison: Comparison, strategies: Sequence[str], options: StrategyOptions | None = None
) -> dict[str, object]:
    """Return what decides every answer, for a batch's manifest."""
    cards, suite = comparison.cards, comparison.suite
    chosen = {
        key: {
            "title": cards[key].title,
            "options": {**suite.strategies[key].options, **(options or {}).get(key, {})},
            "weights": _weights(suite, key),
        }
        for key in strategies
    }
    return {
        "suite": suite.key,
        "strategies": chosen,
        "device": comparison.device.type,
        "dtype": str(comparison.dtype).removeprefix("torch."),
    }


class BatchRun:
    """A batch at work: asks what is missing, as long as it is let.

    Args:
        comparison: the strategies; its cache holds the embedding of the image at work.
        plan: what to ask.
        folder: where answers go; what it holds already is not asked again.
        strategies: keys, checked.
        options: by strategy key.
        phrases_at_once: asked in one call; fewer let others in, or `stop` work, sooner.
    """

    def __init__(
        self,
        comparison: Comparison,
        plan: BatchPlan,
        folder: BatchFolder,
        strategies: Sequence[str],
        options: StrategyOptions | None = None,
        *,
        phrases_at_once: int = PHRASES_AT_ONCE,
    ) -> None:
        self.plan, self.folder, self.strategies = plan, folder, tuple(strategies)
        self._comparison = comparison
        self._options: StrategyOptions = dict(options or {})
        self._phrases_at_once = phrases_at_once
        self._total = plan.question_count * len(self.strategies)
        self._next = 0
        self._unread: dict[str, Fault] = {}
        self._skipped = 0
        self._planned = {(asked.image.name, phrase) for asked in plan.images for phrase in asked.phrases}
        self._notes: list[str] = []
        self._done = {(answer.image, answer.phrase, answer.strategy) for answer in self.answers}
        self._asked = 0
        self._seconds = 0.0
        self._is_stopped = False

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What could not be used: of the plan, and images that could not be read by now."""
        return (*self.plan.faults, *self._unread.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What else a person should know, a sentence each."""
        return tuple(self._notes)

    @property
    def answers(self) -> list[BatchAnswer]:
        """Those to the questions of this batch; its folder may hold others."""
        return [
            answer
            for answer in self.folder.answers
            if (answer.image, answer.phrase) in self._planned and answer.strategy in self.strategies
        ]

    @property
    def progress(self) -> BatchProgress:
        """How far the batch is now."""
        images = self.plan.images
        name = images[self._next].image.name if self._next < len(images) else ""
        done = len(self._done)
        left = self._total - self._skipped - done
        pace = self._seconds / self._asked if self._asked else None
        return BatchProgress(done, self._skipped, self._total, name, None if pace is None else pace * left)

    @property
    def is_stopped(self) -> bool:
        """Whether somebody stopped it since it last went on."""
        return self._is_stopped

    @property
    def is_over(self) -> bool:
        """Whether every image had its turn."""
        return self._next >= len(self.plan.images)

    def stop(self) -> None:
        """Have the work end after the answer that is being made; may be called from another thread."""
        self._is_stopped = True

    def go_on(self) -> None:
        """Take a stop back."""
        self._is_stopped = False

    def work(self, seconds: float | None = None) -> Iterator[BatchProgress]:
        """Ask what is missing; yields after each answer, and once more at the end.

        Args:
            seconds: ask nothing new after this long; the next `work` goes on. All at once by default.

        Raises:
            GpuUnavailableError: a lent GPU was not lent; what is done is kept.
            ConfigurationError: an answer cannot be written.
        """
        started = perf_counter()
        while not self.is_over:
            for is_call_over in self._image(self.plan.images[self._next]):
                yield self.progress
                is_late = seconds is not None and perf_counter() - started >= seconds
                if self._is_stopped or (is_call_over and is_late):
                    return
            self._next += 1
        yield self.progress

    def finish(self) -> None:
        """Write the tables and the manifest of what is there.

        Raises:
            ConfigurationError: they cannot be written.
        """
        now = self.progress
        counts = {
            "images": len(self.plan.images),
            "questions": self.plan.question_count,
            "answers_asked_for": now.total_count,
            "answers": now.done_count,
            "answers_failed": sum(answer.verdict == "failed" for answer in self.folder.answers),
            "answers_without_image": now.skipped_count,
            "faults": len(self.faults),
        }
        self.folder.finish(self.faults, counts)

    def _image(self, asked: AskedImage) -> Iterator[bool]:
        """Ask what is missing of one image; yields after each strategy's answers, and whether its call is over."""
        try:
            content = asked.image.read()
            digest = sha256(content).hexdigest()
            self._supersede(asked.image.name, digest)
            missing = self._missing(asked, digest)
            if not missing:
                return
            image = ReadImage(asked.image.name, digest, load_image(content))
        except EvfSamError as error:
            self._skip(asked, str(error))
            return
        view = self._comparison.view(image.pixels)
        for phrases, keys in missing.items():
            size = self._call_size(keys)
            for start in range(0, len(phrases), size):
                yield from self._ask(image, view, phrases[start : start + size], keys)

    def _supersede(self, name: str, digest: str) -> None:
        """Drop the answers about a picture that is gone, and say so."""
        if count := self.folder.supersede(name, digest):
            self._done = {(answer.image, answer.phrase, answer.strategy) for answer in self.answers}
            counted = "1 answer" if count == 1 else f"{count} answers"
            self._notes.append(f"{name} is another picture than before: {counted} about the one before went away")

    def _skip(self, asked: AskedImage, reason: str) -> None:
        name = asked.image.name
        self._unread[name] = Fault(name, reason)
        self._done = {done for done in self._done if done[0] != name}
        self._skipped += len(asked.phrases) * len(self.strategies)

    def _missing(self, asked: AskedImage, digest: str) -> dict[tuple[str, ...], list[str]]:
        """Return the strategies by the phrases that they have not answered yet."""
        name, done = asked.image.name, self.folder.done
        missing: dict[tuple[str, ...], list[str]] = {}
        for key in self.strategies:
            phrases = tuple(phrase for phrase in asked.phrases if (name, digest, phrase, key) not in done)
            if phrases:
                missing.setdefault(phrases, []).append(key)
        return missing

    def _ask(self, image: ReadImage, view: ImageView, phrases: Sequence[str], keys: Sequence[str]) -> Iterator[bool]:
        before = perf_counter()
        try:
            run = self._comparison.run(view, phrases, keys, self._chosen_options(keys))
        except MemoryBudgetError as error:
            if len(phrases) == len(keys) == 1:
                self._unread[image.name] = Fault(image.name, str(error))
                self._skipped += 1
                yield True
                return
            for some, few in _halves(phrases, keys):
                yield from self._ask(image, view, some, few)
            return
        for result in run:
            for phrase, segmentation in zip(phrases, result.by_phrase, strict=True):
                self.folder.add(image, phrase, result.key, result.seconds / len(phrases), segmentation)
                self._done.add((image.name, phrase, result.key))
            self._asked += len(phrases)
            self._seconds += max(0.0, perf_counter() - before - result.load_seconds)
            yield result.key == keys[-1]
            before = perf_counter()

    def _chosen_options(self, keys: Sequence[str]) -> StrategyOptions:
        return {key: self._options[key] for key in keys if key in self._options}

    def _call_size(self, keys: Sequence[str]) -> int:
        """Return how many phrases go into one call; one on a lent GPU has to end in time."""
        if not isinstance(self._comparison, ZeroGpuComparison):
            return self._phrases_at_once
        for count in range(MAX_PHRASES, 1, -1):
            if self._comparison.seconds_for(count, keys) < LONGEST_SECONDS:
                return count
        return 1


def open_batch(
    directory: Path,
    comparison: Comparison,
    plan: BatchPlan,
    strategies: Sequence[str] | None = None,
    options: StrategyOptions | None = None,
    *,
    phrases_at_once: int = PHRASES_AT_ONCE,
) -> BatchRun:
    """Open a folder of results for a plan; one that was begun with the same settings goes on.

    Raises:
        ConfigurationError: a strategy is unknown, or the folder cannot be written.
        BatchError: the folder holds something else.
    """
    chosen = comparison.choose(strategies)
    folder = BatchFolder(directory, batch_settings(comparison, chosen, options))
    return BatchRun(comparison, plan, folder, chosen, options, phrases_at_once=phrases_at_once)


def _halves(phrases: Sequence[str], keys: Sequence[str]) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Take a call apart that needs too much memory: by phrases, then by strategies."""
    half, few = len(phrases) // 2, len(keys) // 2
    if half:
        yield phrases[:half], keys
        yield phrases[half:], keys
    else:
        yield phrases, keys[:few]
        yield phrases, keys[few:]


def _weights(suite: Suite, key: str) -> Mapping[str, str]:
    entry = suite.strategies[key]
    return {"digest": entry.digest} if isinstance(entry, HubEntry) else weight_digests(suite, [key])[key]
