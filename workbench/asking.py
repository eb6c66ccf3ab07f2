"""Ask one strategy one or several phrases about one image; what goes wrong becomes an answer that says so."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, runtime_checkable

import torch

from evfsam.errors import EvfSamError
from evfsam.types import ImageView, Segmentation, Strategy, Verdict, VerdictKind
from workbench.suites.memory_plan import out_of_memory_reason

logger = logging.getLogger(__name__)

_RANKS: Final[tuple[VerdictKind, ...]] = ("found", "absent", "failed")


@runtime_checkable
class BatchingStrategy(Protocol):
    """A strategy that answers several phrases about one image together."""

    def segment_many(self, view: ImageView, phrases: Sequence[str]) -> Sequence[Segmentation]:
        """Segment what each phrase names, in their order."""
        ...


@dataclass(frozen=True, eq=False)
class PhraseAnswer:
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
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        reason = out_of_memory_reason(error)
    elif not isinstance(error, EvfSamError):
        logger.error("strategy %s failed", key, exc_info=error)
        reason = f"an unexpected error ({type(error).__name__}) stopped this strategy; the log has the details"
    return Segmentation(Verdict("failed", reason), torch.full(view.size, float("-inf")))


def joined(found: Sequence[Segmentation]) -> Segmentation:
    """Join the answers to several phrases into one: the masks united, prompts and traces in turn, no attention."""
    kinds = [one.verdict.kind for one in found]
    verdict = next(one.verdict for one in found if one.verdict.kind == min(kinds, key=_RANKS.index))
    ious = [one.pred_iou for one in found if one.pred_iou is not None]
    return Segmentation(
        verdict=verdict,
        mask_logits=torch.stack([one.mask_logits for one in found]).amax(dim=0),
        pred_iou=min(ious) if ious else None,
        prompts=tuple(prompt for one in found for prompt in one.prompts),
        predictions=tuple(prediction for one in found for prediction in one.predictions),
        trace=tuple(entry for one in found for entry in one.trace),
        seconds={
            stage: sum(one.seconds.get(stage, 0.0) for one in found)
            for stage in dict.fromkeys(stage for one in found for stage in one.seconds)
        },
        embedding_was_cached=found[0].embedding_was_cached,
    )


def _tried(
    key: str, ask: Callable[[], tuple[Segmentation, ...]], view: ImageView, count: int
) -> tuple[Segmentation, ...] | Exception:
    try:
        with torch.inference_mode():
            found = ask()
        sizes = [tuple(one.mask_logits.shape) for one in found]
        if sizes != [view.size] * count:
            raise RuntimeError(f"expected {count} times mask logits {view.size} of {key}, got {sizes}")
    except Exception as error:
        return error
    return found
