"""The finished runs that visitors still look at: kept for the tabs beside the comparison, bounded in bytes.

A visitor's session holds a run's key alone, so that a hundred open pages cost no more memory than the shelf may take.
"""

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import torch

from evfsam.errors import EvfSamError
from webui.known_scenes import KnownScene
from webui.tabs.compare.runs import Progress
from workbench.comparison import StrategyOptions

DEFAULT_MAX_BYTES = 2**30


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

    @property
    def nbytes(self) -> int:
        """Bytes of the image and of the answers' larger tensors."""
        total = self.progress.view.image.nbytes
        for result in self.progress.results:
            for segmentation in (result.segmentation, *result.by_phrase):
                tensors = [segmentation.mask_logits]
                tensors += [t for p in segmentation.predictions for t in (p.low_res_logits, p.mask_logits)]
                tensors += [segmentation.attention.probabilities] if segmentation.attention is not None else []
                total += sum(_nbytes(tensor) for tensor in tensors)
        return total


class RunShelf:
    """Keeps the runs put or asked for last; safe to share between visitors.

    Args:
        max_bytes: bound on what the runs hold. The newest stays even where it alone exceeds it.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._runs: OrderedDict[str, FinishedRun] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._runs)

    def put(self, run: FinishedRun) -> str:
        """Keep a run; returns a key that nobody can guess."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._runs[key] = run
            while len(self._runs) > 1 and sum(kept.nbytes for kept in self._runs.values()) > self._max_bytes:
                self._runs.popitem(last=False)
        return key

    def get(self, key: str) -> FinishedRun:
        """Return the run under a key.

        Raises:
            RunGoneError: it made room for others.
        """
        with self._lock:
            if key not in self._runs:
                raise RunGoneError("This run is no longer kept. Press Compare to run it again.")
            self._runs.move_to_end(key)
            return self._runs[key]


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
