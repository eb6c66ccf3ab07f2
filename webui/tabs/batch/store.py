"""The batches of the visitors: each in a folder of its own, found by a key that nobody can guess, bounded in bytes."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Final

from webui.bounded_store import BoundedStore, GoneError
from workbench.batch.batch_files import PAGE_LIMITS, BatchError, read_sources
from workbench.batch.batch_plan import BatchPlan, plan_batch
from workbench.batch.batch_run import BatchRun, open_batch
from workbench.comparison import Comparison, StrategyOptions

DEFAULT_MAX_BYTES: Final = 2 * 2**30
PHRASES_AT_ONCE: Final = 4
"""Few, so that others get in between."""


@dataclass(frozen=True)
class BatchRequest:
    """What a visitor asks for; equal requests, equal batches.

    Attributes:
        files: name and path of each upload; Gradio keeps equal bytes at equal paths.
        phrases: as they were typed, one a line.
        strategies: keys.
        options: as text, in a fixed order.
    """

    files: tuple[tuple[str, str], ...]
    phrases: str
    strategies: tuple[str, ...]
    options: str

    def plan(self, directory: Path | None = None) -> BatchPlan:
        """Look through the files without decoding an image.

        Args:
            directory: of copies made with `copy_files`; by default the uploads themselves.

        Raises:
            BatchError: nothing is left to ask, or more than the page's limits allow.
        """
        if len(self.files) > PAGE_LIMITS.entries:
            raise BatchError(
                "expected at most {most} files, got {got}; pack them as a zip",
                most=PAGE_LIMITS.entries,
                got=len(self.files),
            )
        paths = [
            Path(path) if directory is None else directory / str(index) for index, (_, path) in enumerate(self.files)
        ]
        named = [(name, path) for (name, _), path in zip(self.files, paths, strict=True)]
        return plan_batch(read_sources(named, PAGE_LIMITS), self.phrases.splitlines(), PAGE_LIMITS)

    def copy_files(self, directory: Path) -> None:
        """Keep the uploads under a name of their own: Gradio sweeps its folder after an hour."""
        directory.mkdir()
        for index, (_, path) in enumerate(self.files):
            target = directory / str(index)
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)


@dataclass(eq=False)
class VisitorBatch:
    """A batch and the folder it lives in.

    Attributes:
        request: what was asked for.
        run: asks what is missing.
        place: deleted with the batch.
        page: of the answers shown, from 0.
        problem: why it stopped by itself; "" otherwise.
        at_work: held while its answers are made.
        thumbnails: pictures for the page, by file.
    """

    request: BatchRequest
    run: BatchRun
    place: TemporaryDirectory[str]
    page: int = 0
    problem: str = ""
    at_work: Lock = field(default_factory=Lock)
    thumbnails: dict[str, str] = field(default_factory=dict)


def open_visitor_batch(
    comparison: Comparison, request: BatchRequest, strategies: Sequence[str], options: StrategyOptions
) -> VisitorBatch:
    """Make a folder for a request, with its files and room for the answers.

    Raises:
        EvfSamError: the request cannot be asked.
    """
    request.plan()  # before anything is kept
    place = TemporaryDirectory(prefix="batch-", ignore_cleanup_errors=True)
    sources = Path(place.name) / "sources"
    request.copy_files(sources)
    run = open_batch(
        Path(place.name) / "results",
        comparison,
        request.plan(sources),
        strategies,
        options,
        phrases_at_once=PHRASES_AT_ONCE,
    )
    return VisitorBatch(request, run, place)


class BatchStore(BoundedStore[VisitorBatch]):
    """Keeps the batches of the visitors, each in its folder; one at work stays.

    Args:
        max_bytes: bound on what their folders hold.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        super().__init__(
            max_bytes,
            lambda batch: _folder_bytes(Path(batch.place.name)),
            "batch",
            "Press Ask all to ask it again.",
            is_busy=lambda batch: batch.at_work.locked(),
            put_away=_put_away,
        )

    def find(self, key: str) -> VisitorBatch | None:
        """Return the batch under a key; None where it is gone, or never was."""
        try:
            return self.get(key)
        except GoneError:
            return None

    def gone(self, key: str) -> str:
        """Say why there is no batch under a key."""
        try:
            self.get(key)
        except GoneError as error:
            return str(error)
        return ""


def _put_away(batch: VisitorBatch) -> None:
    """Stop a batch; its folder goes once nothing is written there any more."""
    batch.run.stop()
    if batch.at_work.acquire(blocking=False):
        batch.at_work.release()
        batch.place.cleanup()


def _folder_bytes(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total
