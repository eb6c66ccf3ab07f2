"""One run of the page: from what a visitor sent to answers that come one by one.

Nothing is held between runs but the number of each visitor's picture, and views of pictures that kept runs hold.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from time import monotonic, perf_counter
from typing import Final, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from evfsam.errors import ImageFormatError
from evfsam.types import ImageView, RgbImage
from webui.bounded_store import visitor
from webui.file_quota import mark_used
from webui.known_scenes import KnownScene, measured_iou
from workbench.analysis.attention_view import AttentionView, attention_view
from workbench.comparison import Comparison, StrategyOptions, StrategyResult
from workbench.kept_run import KeptRun
from workbench.pictures.shown_pictures import read_image

Known = TypeVar("Known")

_Views = WeakValueDictionary[tuple[str, int, int], ImageView]
"""Of uploads, by path, time of change and size."""
_views: WeakKeyDictionary[Comparison, _Views] = WeakKeyDictionary()
_views_lock = Lock()

_VISITORS: Final = 1000
_LONGEST_NAME: Final = 90
"""Bytes of UTF-8: a file's name has at most 255, and two such parts with what names strategy and kind stay below."""
_JUST_ENDED_S: Final = 2.0
"""Who presses Stop no later than this after the last answer meant the run that has ended, and none to come."""


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a run is.

    Attributes:
        view: the decoded image.
        phrases: what was asked, each as it was checked.
        chosen: keys of the strategies asked, in order.
        results: the answers so far.
        seconds: since the image was read.
        known_masks: (H, W) bool, what each phrase means; None where nobody knows.
        name: of the picture, for the names of files.
    """

    view: ImageView
    phrases: tuple[str, ...]
    chosen: tuple[str, ...]
    results: tuple[StrategyResult, ...]
    seconds: float
    known_masks: tuple[NDArray[np.bool_] | None, ...]
    name: str = "image"

    @property
    def file_stem(self) -> str:
        """Picture and phrases as a part of a file's name."""
        return f"{in_a_file_name(self.name)}-{in_a_file_name(self.phrase)}"

    @property
    def phrase(self) -> str:
        """The phrases as one text."""
        return "; ".join(self.phrases)

    @property
    def known_mask(self) -> NDArray[np.bool_] | None:
        """(H, W) bool, what all phrases mean together; None where that of one is not known."""
        known = [mask for mask in self.known_masks if mask is not None]
        return np.logical_or.reduce(known) if len(known) == len(self.phrases) else None

    @property
    def running(self) -> str | None:
        """Key of the strategy at work; None at the end."""
        return None if self.is_done else self.chosen[len(self.results)]

    @property
    def is_done(self) -> bool:
        """Whether every strategy has answered."""
        return len(self.results) == len(self.chosen)

    def iou_of(self, result: StrategyResult) -> float | None:
        """Return the answer's IoU with the known mask; None where there is none, or the strategy failed."""
        if result.segmentation.verdict.kind == "failed":
            return None
        return measured_iou(result.segmentation.mask, self.known_mask)

    def ious_by_phrase(self, result: StrategyResult) -> tuple[float | None, ...]:
        """Return each answer's IoU with the known mask of its phrase, as `iou_of` does."""
        return tuple(
            None if one.verdict.kind == "failed" else measured_iou(one.mask, known)
            for one, known in zip(result.by_phrase, self.known_masks, strict=True)
        )

    def attention_of(self, result: StrategyResult) -> AttentionView | None:
        """Return the answer's attention; of several phrases, the first one's."""
        if not result.answers:
            return attention_view(result, self.view.image, self.phrase)
        first = result.answers[0]
        view = attention_view(replace(result, segmentation=first.segmentation), self.view.image, first.phrase)
        return None if view is None else replace(view, title=f"{view.title}, “{first.phrase}”")


def ask_strategies(
    comparison: Comparison,
    payload: object,
    phrase: object,
    strategies: object,
    options: StrategyOptions | None = None,
    known: KnownScene | None = None,
) -> Iterator[Progress]:
    """Check what came, then ask the strategies; yields once before the first answer and after each.

    Args:
        comparison: the strategies.
        payload: unprocessed value of the image field.
        phrase: as it came; several with ";" between them.
        strategies: as they came; a client may send anything.
        options: by strategy key.
        known: the scene on the visitor's page, if it is one.

    Raises:
        EvfSamError: the input cannot be used; the message says why.
    """
    uploaded, asked = view_of_upload(comparison, payload), phrase if isinstance(phrase, str) else ""
    answers = comparison.run(uploaded, asked, strategies if isinstance(strategies, list) else (), options)
    view, phrases, chosen = answers.view, answers.question.phrases, answers.question.keys
    known_masks = tuple(known.mask_of(view, each) if known else None for each in phrases)
    started = perf_counter()
    results: tuple[StrategyResult, ...] = ()
    yield Progress(view, phrases, chosen, results, 0.0, known_masks)
    for answer in answers:
        results = (*results, answer)
        yield Progress(view, phrases, chosen, results, perf_counter() - started, known_masks)


def kept_progress(view: ImageView, kept: KeptRun, known: KnownScene | None) -> Progress:
    """Return a comparison that was kept as if it had just ended."""
    seconds = sum(result.seconds for result in kept.results)
    known_mask = known.mask_of(view, kept.phrase) if known else None
    keys = tuple(result.key for result in kept.results)
    return Progress(view, (kept.phrase,), keys, kept.results, seconds, (known_mask,), Path(kept.example).stem)


def in_a_file_name(text: str) -> str:
    """Return text with which a file can be named, in the visitor's own letters."""
    cut = re.sub(r"\W+", "-", text).encode("utf-8", "ignore")[:_LONGEST_NAME].decode("utf-8", "ignore")
    return cut.strip("-") or "phrase"


@dataclass(frozen=True)
class _Version:
    """The visitor's picture: its number, and its file where the visitor uploaded it."""

    number: int
    path: str | None


class ImageVersions:
    """Numbers the pictures of each visitor; safe to share between threads, bounded in visitors.

    A run on an earlier picture must not write its answers beside the new one. It is asked for with the number that was
    on the page when the button was pressed, and looks before every answer whether that is still the visitor's. Gradio's
    own `cancels` acts on the browser's side, some time after the press: it can hit the run that was asked for next, and
    leave it unfinished for good.
    """

    def __init__(self) -> None:
        self._versions: OrderedDict[str, _Version] = OrderedDict()
        self._lock = Lock()

    def begin(self, path: str | None = None) -> int:
        """Count another picture of this visitor and return its number.

        Args:
            path: file of an uploaded picture: runs on it count as current before the page has its number.
        """
        with self._lock:
            return self._begin(path)

    def number(self) -> int:
        """Return the number of this visitor's picture; 0 for the one that the page opened with."""
        with self._lock:
            version = self._versions.get(visitor())
        return 0 if version is None else version.number

    def is_untouched(self) -> bool:
        """Whether this visitor is still at the picture that the page opened with, which has no number."""
        with self._lock:
            return visitor() not in self._versions

    def is_current(self, number: object, path: str | None = None) -> bool:
        """Whether a run belongs to this visitor's picture; one of a visitor who is not known here does.

        Args:
            number: as the page sent it with the run.
            path: file of the run's picture.
        """
        with self._lock:
            version = self._versions.get(visitor())
        return version is None or number == version.number or (version.path is not None and path == version.path)

    def _begin(self, path: str | None) -> int:
        before = self._versions.get(visitor())
        version = _Version(1 if before is None else before.number + 1, path)
        _remember(self._versions, version)
        return version.number


@dataclass
class _Runs:
    """What is known of a visitor's runs: how many began, which has the page or was stopped, when the latest ended."""

    begun: int = 0
    on_page: int = 0
    stopped: int = 0
    under_way: int = 0
    ended_at: float = float("-inf")
    is_next_stopped: bool = False


class StopMarks:
    """Says of each visitor's runs which are to end; safe to share between threads, bounded in visitors.

    A run is to end once it was stopped, or once one that was asked later is on the page: Enter, Compare and the phrases
    to try are events of their own to Gradio, which lets two of them run side by side where models may.

    It ends itself before it shows another answer. Gradio's own `cancels` lets go of it in the browser alone: answers on
    their way are drawn after what Stop said, and what had asked waits for an end that never comes, so that Enter asked
    for nothing any more.
    """

    def __init__(self) -> None:
        self._visitors: OrderedDict[str, _Runs] = OrderedDict()
        self._lock = Lock()

    def begin(self) -> int:
        """Count another run of this visitor and return its number."""
        with self._lock:
            runs = self._of_visitor()
            runs.begun += 1
            runs.under_way += 1
            if runs.is_next_stopped:
                runs.stopped, runs.is_next_stopped = runs.begun, False
            return runs.begun

    def has_page(self, run: int) -> bool:
        """Take the page for a run of this visitor, and say whether it has it: one that was asked later keeps it."""
        with self._lock:
            runs = self._of_visitor()
            runs.on_page = max(runs.on_page, run)
            return runs.on_page == run

    def end(self) -> None:
        """Say that a run of this visitor has ended."""
        with self._lock:
            runs = self._of_visitor()
            runs.under_way, runs.ended_at = max(0, runs.under_way - 1), monotonic()

    def stop(self) -> None:
        """Stop this visitor's run: the one under way, or the one that waits for its turn."""
        with self._lock:
            runs = self._of_visitor()
            if runs.under_way:
                runs.stopped = runs.begun
            elif monotonic() - runs.ended_at > _JUST_ENDED_S:
                runs.is_next_stopped = True

    def forget_next(self) -> None:
        """Let the next run of this visitor begin after all: the one that a stop was meant for never will."""
        with self._lock:
            self._of_visitor().is_next_stopped = False

    def is_stopped(self, run: int) -> bool:
        """Whether the visitor's run of that number is to end."""
        with self._lock:
            return run <= self._of_visitor().stopped

    def _of_visitor(self) -> _Runs:
        runs = self._visitors.get(visitor()) or _Runs()
        _remember(self._visitors, runs)
        return runs


def _remember(visitors: OrderedDict[str, Known], known: Known) -> None:
    """Keep what is known of the visitor who asks now; whoever was last heard of the longest ago is forgotten."""
    asking = visitor()
    visitors[asking] = known
    visitors.move_to_end(asking)
    while len(visitors) > _VISITORS:
        visitors.popitem(last=False)


def read_upload(payload: object) -> RgbImage:
    """Decode the image field's unprocessed value.

    Gradio's own decoding is passed over: it has no bound on the size and no plain words for a broken file.

    Args:
        payload: a mapping whose "path" is the uploaded file, already checked by Gradio to lie in its upload folder.

    Returns:
        (H, W, 3) uint8 RGB, upright, without metadata.

    Raises:
        ImageFormatError: there is no image, or it cannot be read.
    """
    return read_image(_upload_path(payload))


def view_of_upload(comparison: Comparison, payload: object) -> ImageView:
    """Return a comparison's view of an upload: the one at hand as long as a run on it is kept, else a new one.

    A photograph of 12 megapixels takes 200 ms to decode, copy and hash; a further phrase about it a fifth of that.

    Args:
        comparison: where its embeddings live.
        payload: as for `read_upload`.

    Raises:
        ImageFormatError: as `read_upload`.
    """
    path = _upload_path(payload)
    with _views_lock:
        views = _views.setdefault(comparison, WeakValueDictionary())
    try:
        facts = Path(path).stat()
    except OSError:
        return comparison.view(read_image(path))  # which says in words what is wrong
    key = path, facts.st_mtime_ns, facts.st_size
    view = views.get(key)
    if view is None:
        views[key] = view = comparison.view(read_image(path))
    return view


def _upload_path(payload: object) -> str:
    if payload is None:
        raise ImageFormatError("There is no image yet. Upload or paste one, or take a random scene.")
    path = payload.get("path") if isinstance(payload, Mapping) else None
    if not isinstance(path, str) or not path:
        raise ImageFormatError("expected an uploaded image file, got something else; upload the image again")
    mark_used(path)
    return path
