"""Saved masks held against the known masks of a data set; no model is asked."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch

from evfsam.errors import EvfSamError, GeometryError
from evfsam.types import ImageView, Segmentation, Verdict
from workbench.datasets.coco_masks import union_mask
from workbench.datasets.contract import Sample, SampleQuestion
from workbench.evaluation.measured_answers import Answer, Place, data_digest, measured, unread
from workbench.evaluation.saved_masks import SavedMask, SavedMasks
from workbench.metrics.masks import ReferenceMask


class Scoring:
    """Goes through the samples of a data set with saved masks, and remembers which were used.

    Args:
        saved: by strategy.
        is_missing_empty: whether an expression without a saved mask counts as answered with nothing; else it is not
            counted, and told.

    Attributes:
        missing: image and phrase of the expressions that were not counted for want of a mask, by strategy.
    """

    def __init__(self, saved: Mapping[str, SavedMasks], *, is_missing_empty: bool = False) -> None:
        self.missing: dict[str, list[tuple[str, str]]] = {key: [] for key in saved}
        self._saved = saved
        self._is_missing_empty = is_missing_empty
        self._used: set[int] = set()

    def answers(self, samples: Iterable[Sample]) -> Iterator[list[Answer]]:
        """Measure the masks of one image after the other; images that cannot be read do no harm."""
        for index, sample in enumerate(samples):
            yield list(self._of_sample(index, sample))

    def unused(self) -> dict[str, list[SavedMask]]:
        """Return the masks, by strategy, that were about no expression gone through by now."""
        return {key: [mask for mask in saved.masks if id(mask) not in self._used] for key, saved in self._saved.items()}

    def _of_sample(self, index: int, sample: Sample) -> Iterator[Answer]:
        try:
            view = ImageView(sample.image)
        except EvfSamError:
            view = None
        sample_id = sample.sample_id or str(index)
        met: Counter[str] = Counter()
        for position, question in enumerate(sample.questions):
            place = met[question.phrase.casefold()]
            met[question.phrase.casefold()] += 1
            for key, saved in self._saved.items():
                mask = saved.find(sample_id, question.phrase, place, position)
                yield self._answer(Place(index, sample_id, position, key), question, view, mask)

    def _answer(self, place: Place, question: SampleQuestion, view: ImageView | None, mask: SavedMask | None) -> Answer:
        if mask is None and not self._is_missing_empty:
            self.missing[place.strategy].append((place.sample_id, question.phrase))
            return unread(place, question, "no mask was saved for this expression")
        if mask is not None:
            self._used.add(id(mask))
        try:
            reference = question.reference
            segmentation = _segmentation(mask, _size(reference))
            answer = measured(place, question, reference, segmentation)
        except (EvfSamError, GeometryError) as error:
            return unread(place, question, str(error))
        return answer if view is None else replace(answer, data=data_digest(view, reference))


def _size(reference: ReferenceMask) -> tuple[int, int]:
    return reference.shape[0], reference.shape[1]


def _segmentation(mask: SavedMask | None, size: tuple[int, int]) -> Segmentation:
    """Turn a saved mask into what a strategy would have answered.

    Raises:
        SampleError: it cannot be decoded, or is of another size.
    """
    if mask is not None and mask.has_failed:
        return Segmentation.undrawn(Verdict("failed", "saved as failed"), size)
    if mask is None or mask.segmentation is None:
        return Segmentation.undrawn(Verdict("absent", "saved without a mask"), size)
    decoded = union_mask([mask.segmentation], size)
    verdict = Verdict("found") if decoded.any() else Verdict("absent", "the saved mask is empty")
    return Segmentation(verdict, torch.from_numpy(np.where(decoded, 1.0, -1.0).astype(np.float32)))
