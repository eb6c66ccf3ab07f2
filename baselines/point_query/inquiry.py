"""A phrase on its way through the point query: what was asked and answered so far, and what came of it.

Several phrases about one image go side by side, a step for all before the next step; a phrase that came to its end
earlier is left out of the steps that follow.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from baselines.point_query.dialects import SpokenBox
from baselines.point_query.dialogue import Message
from evfsam.types import SamPrompt, TraceEntry, Verdict

Resolution = tuple[SamPrompt, ...] | Verdict
"""What SAM is to be prompted with, or why it is not asked."""


@dataclass(eq=False)
class Inquiry:
    """One phrase.

    Attributes:
        phrase: in words.
        dialogue: turns so far, which questions about points go on from.
        boxes: that the language model named.
        outcome: None as long as there is more to ask.
        steps, seconds: for the trace; what is done for several phrases at once is shared out evenly.
        remark: what a person should know of an answer that was found.
    """

    phrase: str
    dialogue: list[Message] = field(default_factory=list)
    boxes: tuple[SpokenBox, ...] = ()
    outcome: Resolution | None = None
    steps: list[TraceEntry] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    remark: str = ""


def unfinished(inquiries: Sequence[Inquiry]) -> list[Inquiry]:
    """Return those that have no outcome yet."""
    return [each for each in inquiries if each.outcome is None]


@contextmanager
def timed(inquiries: Sequence[Inquiry], stage: str) -> Iterator[None]:
    """Share out the seconds of some work evenly among the phrases that it is done for."""
    start = time.perf_counter()
    yield
    share = (time.perf_counter() - start) / max(len(inquiries), 1)
    for each in inquiries:
        each.seconds[stage] = each.seconds.get(stage, 0.0) + share
