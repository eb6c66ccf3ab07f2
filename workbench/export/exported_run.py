"""A run as the exporters see it: an image, and one mask a strategy and phrase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from evfsam.types import PromptPoint, RgbImage, Segmentation
from workbench.analysis.finishing import decision_logits, stability_score
from workbench.comparison import StrategyOptions, StrategyResult
from workbench.metrics.masks import Mask, ReferenceMask

IMAGE_NAME: Final = "image.png"


@dataclass(frozen=True, eq=False)
class ExportedMask:
    """One mask to take away.

    Attributes:
        strategy, title: of the strategy.
        number: of the phrase in the run, from 1.
        phrase: what was asked.
        segmentation: the whole answer.
    """

    strategy: str
    title: str
    number: int
    phrase: str
    segmentation: Segmentation

    @property
    def mask(self) -> Mask:
        """(H, W) bool, made anew each time: 48 of 64 megapixels would be 3 GB."""
        return self.segmentation.mask

    @cached_property
    def stability(self) -> float:
        """Of the mask, in [0, 1]."""
        return stability_score(decision_logits(self.segmentation))

    @property
    def stem(self) -> str:
        """Beginning of this mask's file names, such as "evf-sam-1"."""
        return f"{self.strategy}-{self.number}"

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(self.mask.sum())

    @property
    def points(self) -> tuple[PromptPoint, ...]:
        """The points that SAM really saw."""
        return tuple(point for prompt in self.segmentation.prompts for point in prompt.points if point.is_kept)


@dataclass(frozen=True, eq=False)
class ExportedRun:
    """Everything that the exporters write, in one value.

    Attributes:
        image: (H, W, 3) uint8 RGB, as the strategies saw it.
        image_title: where it came from, such as "scene-colour"; inside the zip it is `IMAGE_NAME`.
        suite: key of the suite.
        phrases: as they were asked.
        results: one a strategy.
        masks: one a strategy that did not fail and phrase, in that order.
        options: of the strategies.
        weights: SHA-256 of the weight files, by strategy and file name.
        reference: the known mask, if there is one.
    """

    image: RgbImage
    image_title: str
    suite: str
    phrases: tuple[str, ...]
    results: tuple[StrategyResult, ...]
    masks: tuple[ExportedMask, ...]
    options: StrategyOptions = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    reference: ReferenceMask | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]

    def masks_of(self, strategy: str) -> tuple[ExportedMask, ...]:
        """Return one strategy's masks."""
        return tuple(mask for mask in self.masks if mask.strategy == strategy)

    @property
    def answered(self) -> tuple[str, ...]:
        """Keys of the strategies with masks, in their order."""
        return tuple(dict.fromkeys(mask.strategy for mask in self.masks))


def exported_run(
    image: RgbImage,
    phrase: str,
    suite_key: str,
    results: Sequence[StrategyResult],
    *,
    image_title: str,
    options: StrategyOptions | None = None,
    weights: Mapping[str, Mapping[str, str]] | None = None,
    reference: ReferenceMask | None = None,
) -> ExportedRun:
    """Gather a run for export.

    Args:
        image: (H, W, 3) uint8 RGB, as the strategies saw it.
        phrase: what was asked where it was one phrase; several are taken from the results.
        suite_key: which weights answered.
        results: one a strategy.
        image_title: for people.
        options: of the strategies, as given to `Comparison.run`.
        weights: from `workbench.export.manifest.weight_digests`.
        reference: (H, W), the known mask where there is one.
    """
    answers = next((result.answers for result in results if result.answers), ())
    phrases = tuple(answer.phrase for answer in answers) or (phrase,)
    return ExportedRun(
        image=image,
        image_title=image_title,
        suite=suite_key,
        phrases=phrases,
        results=tuple(results),
        masks=tuple(
            _exported(result, number, asked, segmentation)
            for result in results
            for number, (asked, segmentation) in enumerate(zip(phrases, result.by_phrase, strict=True), start=1)
            if segmentation.verdict.kind != "failed"
        ),
        options=dict(options or {}),
        weights=dict(weights or {}),
        reference=reference,
    )


def _exported(result: StrategyResult, number: int, phrase: str, segmentation: Segmentation) -> ExportedMask:
    return ExportedMask(
        strategy=result.key,
        title=result.card.title,
        number=number,
        phrase=phrase,
        segmentation=segmentation,
    )
