"""What is measured of each answer, and what many answers come to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final, Literal

import numpy as np

from evfsam.attention import cls_to_image, mass_inside
from evfsam.errors import GeometryError
from evfsam.types import ImageView, Segmentation
from workbench.datasets.contract import ABSENT, SampleQuestion, WordingKind
from workbench.export.results import coco_rle, mask_box
from workbench.metrics.masks import (
    HIT_IOUS,
    AbsentTally,
    DetailTally,
    MeanTally,
    ReferenceMask,
    Tally,
    boundary_f,
    box_iou,
    counted_pixels,
    iou_of,
    overlap,
    wanted_pixels,
)

ENCODE_STAGE: Final = "encode image"
"""What every strategy calls the stage of SAM's image encoder."""

AnswerKind = Literal["found", "absent", "failed", "unread"]


@dataclass(frozen=True)
class Place:
    """Which answer this is.

    Attributes:
        sample_index: of the sample in its data set, from 0.
        sample_id: of the image.
        question_index: of the question about the image, from 0.
        strategy: key.
    """

    sample_index: int
    sample_id: str
    question_index: int
    strategy: str


@dataclass(frozen=True)
class Answer:
    """One strategy's answer to one question, measured.

    Attributes:
        place: which answer this is.
        phrase, kind, wording: of the question.
        outcome: the verdict's kind; "unread" where the question could not be put, since the image, the mask or the
            phrase is of no use. Such answers are counted, and are in no figure.
        reason: the verdict's, or why the question could not be put.
        intersection, union, marked, wanted: pixels, those left out by the reference not counted.
        size: (H, W) of the image; (0, 0) where it could not be read.
        boundary_f, box_iou: in [0, 1]; None where nothing was to be found.
        attention_mass: share of the attention on the object, in [0, 1]; None without attention or object.
        pred_iou: SAM's own guess.
        seconds: what the stages of the answer took together.
        mask_counts: the mask, as the counts of COCO's compressed run lengths.
        data: digest of the image and the known mask, see `data_digest`; "" where they could not be read.
        encode_seconds: what SAM's image encoder took of `seconds`; None where another answer had paid for it.
        peak_bytes: most memory in use while this answer, or those asked together with it, was made; None where unknown.
    """

    place: Place
    phrase: str
    kind: str
    outcome: AnswerKind
    reason: str = ""
    intersection: int = 0
    union: int = 0
    marked: int = 0
    wanted: int = 0
    size: tuple[int, int] = (0, 0)
    boundary_f: float | None = None
    box_iou: float | None = None
    attention_mass: float | None = None
    pred_iou: float | None = None
    seconds: float = 0.0
    mask_counts: str = ""
    wording: WordingKind = ""
    data: str = ""
    encode_seconds: float | None = None
    peak_bytes: int | None = None

    @property
    def is_about_nothing(self) -> bool:
        """Whether nothing was to be found: the phrase names nothing, or the known mask is empty."""
        return self.kind == ABSENT or self.wanted == 0

    @property
    def iou(self) -> float:
        """In [0, 1]; 1 where rightly nothing was marked."""
        return iou_of(self.intersection, self.union)


def measured(place: Place, question: SampleQuestion, reference: ReferenceMask, segmentation: Segmentation) -> Answer:
    """Measure one answer.

    Raises:
        GeometryError: the reference has another size than the image.
    """
    mask = segmentation.mask
    intersection, union = overlap(mask, reference)
    counted, wanted = counted_pixels(mask, reference), wanted_pixels(reference)
    height, width = mask.shape
    answer = Answer(
        place=place,
        phrase=question.phrase,
        kind=question.kind,
        outcome=segmentation.verdict.kind,
        reason=segmentation.verdict.reason,
        intersection=intersection,
        union=union,
        marked=int(np.count_nonzero(counted)),
        wanted=int(np.count_nonzero(wanted)),
        size=(height, width),
        pred_iou=segmentation.pred_iou,
        seconds=sum(segmentation.seconds.values()),
        encode_seconds=None if segmentation.embedding_was_cached else segmentation.seconds.get(ENCODE_STAGE),
        mask_counts=str(coco_rle(mask)["counts"]),
        wording=question.wording,
    )
    if answer.is_about_nothing:
        return answer
    attention = segmentation.attention
    return replace(
        answer,
        boundary_f=boundary_f(mask, reference),
        box_iou=box_iou(mask_box(counted), mask_box(wanted)),
        attention_mass=None if attention is None else mass_inside(cls_to_image(attention), wanted),
    )


def data_digest(view: ImageView, reference: ReferenceMask) -> str:
    """Return a digest of an image's pixels and a known mask."""
    digest = sha256(f"{view.content_hash} {reference.dtype}".encode())
    digest.update(np.ascontiguousarray(reference).tobytes())
    return digest.hexdigest()[:16]


def unread(place: Place, question: SampleQuestion, reason: str) -> Answer:
    """Return what stands for an answer where the question could not be put."""
    return Answer(place, question.phrase, question.kind, "unread", reason, wording=question.wording)


def check_mask_size(reference: ReferenceMask, size: tuple[int, int]) -> None:
    """Check that a known mask is of the image's size.

    Raises:
        GeometryError: it is not.
    """
    if reference.shape != size:
        raise GeometryError(f"expected a mask of the image's size {size}, got {reference.shape}")


@dataclass(frozen=True)
class Scores:
    """What one strategy reached; `+` merges two parts of a run.

    Attributes:
        kinds: tallies by kind of expression, all but "absent".
        absent: of the expressions that name nothing, those with an empty known mask among them.
        failed_count: expressions on which the strategy failed; they count as an empty mask, and as wrong where absent.
        unread_count: questions that could not be put; they are in no figure.
        untargeted_count: expressions that should name something, but whose known mask is empty.
        details: boundary, box, target accuracy and attention, all kinds together.
        wordings: tallies of the same expressions by "seen" and "unseen", as far as the data set knows.
    """

    kinds: dict[str, Tally] = field(default_factory=dict)
    absent: AbsentTally = field(default_factory=AbsentTally)
    failed_count: int = 0
    unread_count: int = 0
    untargeted_count: int = 0
    details: DetailTally = field(default_factory=DetailTally)
    wordings: dict[str, Tally] = field(default_factory=dict)

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(
            _added(self.kinds, other.kinds),
            self.absent + other.absent,
            self.failed_count + other.failed_count,
            self.unread_count + other.unread_count,
            self.untargeted_count + other.untargeted_count,
            self.details + other.details,
            _added(self.wordings, other.wordings),
        )

    @property
    def total(self) -> Tally:
        """All kinds together."""
        return sum(self.kinds.values(), Tally())

    @property
    def with_absent(self) -> Tally:
        """All kinds and the absent ones, as gRefCOCO counts them."""
        return self.total + self.absent.as_region()

    @property
    def is_sound(self) -> bool:
        """Whether every question could be put, and the strategy did not fail on all of them."""
        asked_count = self.total.count + self.absent.count
        return self.unread_count == 0 and (self.failed_count < asked_count or asked_count == 0)

    @classmethod
    def of(cls, answer: Answer) -> "Scores":
        """Count one answer."""
        if answer.outcome == "unread":
            return cls(unread_count=1)
        has_failed = answer.outcome == "failed"
        if answer.is_about_nothing:
            is_right = not has_failed and answer.marked == 0
            absent = AbsentTally(int(is_right), 1, answer.marked)
            untargeted_count = int(answer.kind != ABSENT)
            return cls(absent=absent, failed_count=int(has_failed), untargeted_count=untargeted_count)
        tally = Tally.of_counts(answer.intersection, answer.union)
        wordings = {str(answer.wording): tally} if answer.wording else {}
        return cls({answer.kind: tally}, failed_count=int(has_failed), details=_details(answer), wordings=wordings)


def _added(some: Mapping[str, Tally], more: Mapping[str, Tally]) -> dict[str, Tally]:
    return {name: some.get(name, Tally()) + more.get(name, Tally()) for name in dict.fromkeys((*some, *more))}


def scores_of(answers: Iterable[Answer], strategies: Iterable[str] = ()) -> dict[str, Scores]:
    """Sum answers up by strategy: first `strategies`, also those without answers, then any others."""
    scores = {key: Scores() for key in strategies}
    for answer in answers:
        key = answer.place.strategy
        scores[key] = scores.get(key, Scores()) + Scores.of(answer)
    return scores


def _details(answer: Answer) -> DetailTally:
    height, width = answer.size
    mass = answer.attention_mass
    return DetailTally(
        boundary_f=MeanTally.of(answer.boundary_f),
        box_hit=MeanTally.of(None if answer.box_iou is None else float(answer.box_iou >= HIT_IOUS[0])),
        answered=MeanTally.of(float(answer.marked > 0)),
        attention_mass=MeanTally.of(mass),
        attention_gain=MeanTally.of(None if mass is None else mass * height * width / answer.wanted),
    )
