"""The finished runs that visitors still look at: kept for the tabs beside the comparison, bounded in bytes.

A visitor's session holds a run's key alone, so that a hundred open pages cost no more memory than the shelf may take.
"""

import secrets
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import torch

from evfsam.errors import EvfSamError
from evfsam.types import Segmentation
from webui.known_scenes import KnownScene
from webui.tabs.compare.runs import Progress
from workbench.comparison import StrategyOptions

DEFAULT_MAX_BYTES = 2**30
_KEYS_REMEMBERED = 1000


class RunGoneError(EvfSamError):
    """The run is no longer on the shelf."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A comparison, on the shelf once all strategies have answered.

    Attributes:
        progress: image, phrases and answers.
        options: what was chosen for each strategy, by its key.
        known: the scene on the page, if it is one.
    """

    progress: Progress
    options: StrategyOptions
    known: KnownScene | None

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the image and of all that its answers hold; what several of them share counts once."""
        answers = [one for result in self.progress.results for one in (result.segmentation, *result.by_phrase)]
        height, width = self.progress.view.size
        image_bytes, mask_bytes = self.progress.view.image.nbytes, len(answers) * -(-height * width // 8)
        held = {id(tensor.untyped_storage()): tensor for one in answers for tensor in _tensors_of(one)}
        return image_bytes + mask_bytes + sum(tensor.untyped_storage().nbytes() for tensor in held.values())


class RunShelf:
    """Keeps the runs put or asked for last; safe to share between visitors.

    Args:
        max_bytes: bound on what the runs hold; one that alone exceeds it is not kept.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._runs: OrderedDict[str, FinishedRun] = OrderedDict()
        self._too_large: OrderedDict[str, int] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._runs)

    def put(self, run: FinishedRun) -> str:
        """Keep a run; returns a key that nobody can guess. Of a run that is too large, the key alone is kept."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            if run.nbytes > self._max_bytes:
                self._too_large[key] = run.nbytes
                while len(self._too_large) > _KEYS_REMEMBERED:
                    self._too_large.popitem(last=False)
                return key
            self._runs[key] = run
            while sum(kept.nbytes for kept in self._runs.values()) > self._max_bytes:
                self._runs.popitem(last=False)
        return key

    def get(self, key: str) -> FinishedRun:
        """Return the run under a key.

        Raises:
            RunGoneError: it made room for others, or was too large to be kept.
        """
        with self._lock:
            if key in self._too_large:
                size, most = (f"{count / 2**20:,.0f}" for count in (self._too_large[key], self._max_bytes))
                raise RunGoneError(
                    f"This run takes {size} MiB, more than the {most} MiB that are kept for these tabs. "
                    "Ask fewer phrases or strategies at once, or take a smaller picture."
                )
            if key not in self._runs:
                raise RunGoneError("This run is no longer kept. Press Compare to run it again.")
            self._runs.move_to_end(key)
            return self._runs[key]


def _tensors_of(segmentation: Segmentation) -> Iterator[torch.Tensor]:
    held = [segmentation.given_logits]
    held += [each.low_res_logits for each in segmentation.predictions]
    held += [segmentation.attention.probabilities] if segmentation.attention is not None else []
    return (tensor for tensor in held if tensor is not None)
