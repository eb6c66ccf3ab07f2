"""The first thing a visitor of the page sees: a comparison that was made once and is kept with the repository.

`python -m examples.make_failures` asks it anew. What is kept names the weights that answered, and is passed over where
a suite has others.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Final, cast

import torch

from evfsam.errors import sentence_of
from evfsam.geometry import Frame
from evfsam.phrases import Phrase
from evfsam.types import (
    AttentionRecord,
    MaskPrediction,
    PromptPoint,
    SamPrompt,
    Segmentation,
    StrategyCard,
    TraceEntry,
    Verdict,
)
from workbench.comparison import Comparison, StrategyResult
from workbench.export.file_writing import write_whole
from workbench.export.manifest import weight_digests
from workbench.pictures.shown_pictures import read_image

ARRIVAL_NAME: Final = "arrival.pt"
ARRIVAL_EXAMPLE: Final = "scene-colour.png"
ARRIVAL_PHRASE: Final = "the dress at the bottom"
"""One that every strategy of mini finds; where they part ways the next phrases show."""
_KEPT_TYPES: Final[list[Callable[..., object]]] = [
    *(StrategyResult, StrategyCard, Segmentation, Verdict, TraceEntry, AttentionRecord),
    *(MaskPrediction, Frame, SamPrompt, PromptPoint, Phrase, sentence_of),
]
"""All that is read back: a file with anything else is refused, as weights are."""


@dataclass(frozen=True, eq=False)
class KeptRun:
    """A comparison read back.

    Attributes:
        example: name of the picture among the examples.
        phrase: what was asked.
        results: every strategy's answer.
    """

    example: str
    phrase: str
    results: tuple[StrategyResult, ...]


def keep_run(comparison: Comparison, examples: Path) -> Path:
    """Ask all strategies the first question and write their answers beside the examples; returns the file.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    view = comparison.view(read_image(examples / ARRIVAL_EXAMPLE))
    for key in comparison.keys:
        comparison.strategy(key)  # so that no answer tells of reading weights
    content = {
        "suite": comparison.suite.key,
        "example": ARRIVAL_EXAMPLE,
        "phrase": ARRIVAL_PHRASE,
        "weights_sha256": weight_digests(comparison.suite, comparison.keys),
        "results": tuple(_plain(result) for result in comparison.run(view, [ARRIVAL_PHRASE])),
    }
    buffer = BytesIO()
    torch.save(content, buffer)
    return write_whole(examples / ARRIVAL_NAME, buffer.getvalue())


def read_kept_run(comparison: Comparison, examples: Path) -> KeptRun | None:
    """Read the first question's answers; None where none are kept, or other weights than this suite's gave them."""
    file = examples / ARRIVAL_NAME
    if not file.is_file():
        return None
    with torch.serialization.safe_globals([*_KEPT_TYPES]):
        content = torch.load(file, map_location="cpu", weights_only=True)
    suite = comparison.suite
    if content["suite"] != suite.key or content["weights_sha256"] != weight_digests(suite, comparison.keys):
        return None
    return KeptRun(content["example"], content["phrase"], cast(tuple[StrategyResult, ...], content["results"]))


def _plain(result: StrategyResult) -> StrategyResult:
    """Drop what an answer only remembers, as its mask is made from the logits again, and make what it would make."""
    answer = result.segmentation
    attention = None if answer.attention is None else answer.attention.at_once()
    return replace(result, segmentation=replace(answer, mask_logits=answer.given_logits, attention=attention))
