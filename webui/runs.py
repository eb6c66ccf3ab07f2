"""One run of the page: from what a visitor sent to answers that come one by one. Holds nothing between runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from evfsam.errors import ConfigurationError
from evfsam.types import ImageView
from webui.known_scenes import KnownScene, measured_iou
from webui.uploads import read_upload
from workbench.comparison import Comparison, StrategyOptions, StrategyResult


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a run is.

    Attributes:
        view: the decoded image.
        phrase: as it was checked.
        chosen: keys of the strategies asked, in order.
        results: the answers so far.
        seconds: since the image was read.
        known_mask: (H, W) bool, what the phrase means; None where nobody knows.
    """

    view: ImageView
    phrase: str
    chosen: tuple[str, ...]
    results: tuple[StrategyResult, ...]
    seconds: float
    known_mask: NDArray[np.bool_] | None

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


def run(
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
        phrase: as it came.
        strategies: as they came; a client may send anything.
        options: by strategy key.
        known: the scene on the visitor's page, if it is one.

    Raises:
        EvfSamError: the input cannot be used; the message says why.
    """
    chosen = comparison.choose(_keys(strategies))
    view = comparison.view(read_upload(payload))
    answers = comparison.run(view, phrase if isinstance(phrase, str) else "", chosen, options)
    known_mask = known.mask_of(view, str(phrase)) if known else None
    started = perf_counter()
    results: tuple[StrategyResult, ...] = ()
    yield Progress(view, str(phrase).strip(), chosen, results, 0.0, known_mask)
    for answer in answers:
        results = (*results, answer)
        yield Progress(view, str(phrase).strip(), chosen, results, perf_counter() - started, known_mask)


def _keys(strategies: object) -> tuple[str, ...]:
    if not isinstance(strategies, Sequence) or isinstance(strategies, str) or not strategies:
        raise ConfigurationError("No strategy is chosen. Choose at least one.")
    return tuple(str(key) for key in strategies)
