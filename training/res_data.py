"""Images with phrases drawn from a weighted mixture of data sets, the same ones for a seed and a number, ever again."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from evfsam.errors import ConfigurationError, EvfSamError
from evfsam.types import RgbImage
from workbench.datasets.contract import Dataset, DatasetError, IndexedDataset, Sample, SampleError, SampleQuestion
from workbench.metrics.masks import IGNORED_LABEL, ReferenceMask

UNREADABLE_IN_A_ROW = 100
"""Samples that may fail one after another before the run stops: then it is the data set that is broken."""


@dataclass(frozen=True, eq=False)
class DrawnImage:
    """An image with the phrases to learn from.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        phrases: P of them, at least one.
        references: P known masks (H, W), bool or labels with 255 for pixels that do not count.
    """

    image: RgbImage
    phrases: tuple[str, ...]
    references: tuple[ReferenceMask, ...]


def object_pixels(reference: ReferenceMask) -> np.ndarray:
    """(H, W) bool: the object's pixels; where polygons overlap, some readers count them twice."""
    return (reference > 0) & (reference != IGNORED_LABEL) if reference.dtype == np.uint8 else reference.astype(bool)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Data sets that are drawn from in proportion to their weights, `[semantic]` ones beside the others.

    Attributes:
        names: of the data sets, as on the command line.
        parts: the samples of each, by number.
        weights: of each, positive.
        phrases_an_image: at most; an image with fewer gives all it has.
        check_phrase: raises what the model's tokenizer has against a phrase.
        unreadable: samples that could not be used, and why; grows as they are met.

    Raises:
        ConfigurationError: the weights are not one positive number a data set.
        DatasetError: a data set is empty.

    Source:
        EVF-SAM, arXiv:2406.20076, section 4.1 (multi-task training).
    """

    names: tuple[str, ...]
    parts: tuple[IndexedDataset | Sequence[Sample], ...]
    weights: tuple[float, ...]
    phrases_an_image: int = 3
    check_phrase: Callable[[str], object] = str.strip
    unreadable: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, part in zip(self.names, self.parts, strict=True):
            if not len(part):
                raise DatasetError(f"{name}: expected images to train on, got none; check the split and its files")
        if len(self.weights) != len(self.parts) or not all(0 < each < math.inf for each in self.weights):
            raise ConfigurationError(
                f"expected one positive weight for each of {len(self.parts)} data sets, got {list(self.weights)}"
            )

    @classmethod
    def of(cls, datasets: Sequence[Dataset], weights: Sequence[float], **options: object) -> "Mixture":
        """Draw from data sets: samples are read, and scenes made, when they are drawn.

        Data sets that can only be gone through from the beginning are, once.
        """
        names = tuple(f"{each.name}:{each.split}" for each in datasets)
        parts = tuple(each if isinstance(each, IndexedDataset) else tuple(each) for each in datasets)
        return cls(names, parts, tuple(weights), **options)  # type: ignore[arg-type]

    def draw(self, seed: int, number: int) -> DrawnImage:
        """Draw image `number` of the run with this seed; a sample that cannot be read is noted and another drawn.

        Raises:
            SampleError: too many in a row cannot be read.
        """
        rng = np.random.default_rng((seed, number))
        shares = np.array(self.weights) / sum(self.weights)
        reason = ""
        for _ in range(UNREADABLE_IN_A_ROW):
            part = int(rng.choice(len(self.parts), p=shares))
            sample = self.parts[part][int(rng.integers(len(self.parts[part])))]
            count = min(self.phrases_an_image, len(sample.questions))
            picks = rng.choice(len(sample.questions), count, replace=False)
            try:
                return self._read(sample, [sample.questions[int(pick)] for pick in picks])
            except EvfSamError as err:
                reason = self.unreadable[f"{self.names[part]} {sample.sample_id}"] = str(err)
        raise SampleError(
            f"{UNREADABLE_IN_A_ROW} samples in a row could not be read, the last because: {reason}; check --root"
        )

    def _read(self, sample: Sample, questions: Sequence[SampleQuestion]) -> DrawnImage:
        for question in questions:
            self.check_phrase(question.phrase)
        image = sample.image
        references = tuple(question.reference for question in questions)
        for reference in references:
            if reference.shape != image.shape[:2]:
                raise SampleError(f"expected a mask of {image.shape[:2]} (H, W), got {reference.shape}")
        if not questions:
            raise SampleError("expected a phrase, got none")
        return DrawnImage(image, tuple(question.phrase for question in questions), references)
