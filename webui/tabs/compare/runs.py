"""One run of the page: from what a visitor sent to answers that come one by one. Holds nothing between runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from evfsam.errors import ConfigurationError
from evfsam.types import ImageView
from webui.known_scenes import KnownScene, measured_iou
from webui.tabs.compare.uploads import read_upload
from workbench.analysis.attention_view import AttentionView, attention_view
from workbench.comparison import Comparison, StrategyOptions, StrategyResult


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
    """

    view: ImageView
    phrases: tuple[str, ...]
    chosen: tuple[str, ...]
    results: tuple[StrategyResult, ...]
    seconds: float
    known_masks: tuple[NDArray[np.bool_] | None, ...]

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
        phrase: as it came; several with ";" between them.
        strategies: as they came; a client may send anything.
        options: by strategy key.
        known: the scene on the visitor's page, if it is one.

    Raises:
        EvfSamError: the input cannot be used; the message says why.
    """
    chosen = comparison.choose(_keys(strategies))
    view = comparison.view(read_upload(payload))
    phrases = comparison.phrases(phrase if isinstance(phrase, str) else "")
    answers = comparison.run(view, phrases, chosen, options)
    known_masks = tuple(known.mask_of(view, each) if known else None for each in phrases)
    started = perf_counter()
    results: tuple[StrategyResult, ...] = ()
    yield Progress(view, phrases, chosen, results, 0.0, known_masks)
    for answer in answers:
        results = (*results, answer)
        yield Progress(view, phrases, chosen, results, perf_counter() - started, known_masks)


def _keys(strategies: object) -> tuple[str, ...]:
    if not isinstance(strategies, Sequence) or isinstance(strategies, str) or not strategies:
        raise ConfigurationError("No strategy is chosen. Choose at least one.")
    return tuple(str(key) for key in strategies)
