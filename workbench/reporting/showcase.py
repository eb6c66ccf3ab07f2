"""Which answers are worth seeing, and their pictures."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from evfsam.errors import EvfSamError
from evfsam.types import ImageView, RgbImage
from workbench.datasets.coco_masks import decode_mask, run_length_iou
from workbench.datasets.contract import Sample, SampleQuestion
from workbench.evaluation.evaluation import load_dataset
from workbench.evaluation.measured_answers import Answer, check_mask_size, data_digest
from workbench.evaluation.merging import MergedRun
from workbench.evaluation.pairs import Pair
from workbench.metrics.masks import Mask, wanted_pixels
from workbench.pictures.rendering import overlay
from workbench.pictures.shown_pictures import shrunk, shrunk_mask

PICTURE_SIDE = 320
REFERENCE_LABEL = "known mask"

Spot = tuple[int, int]
"""Index of the sample and of the question."""


@dataclass(frozen=True, eq=False)
class Exhibit:
    """One question with the masks that answer it.

    Attributes:
        title: why it is shown.
        phrase, kind, sample_id: of the question.
        pictures: the known mask and every strategy's, each over the image, by label; empty where the image is not at
            hand.
        ious: of each strategy's mask.
    """

    title: str
    phrase: str
    kind: str
    sample_id: str
    pictures: Mapping[str, RgbImage]
    ious: Mapping[str, float]


def exhibits(run: MergedRun, per_title: int) -> list[Exhibit]:
    """Choose the best and the worst of each strategy, what it marked though absent, and the most disputed; draw them.

    Pictures are left out where the data set's files are no longer where they were.
    """
    by_spot = answers_by_spot(run.answers)
    chosen = list(_chosen(run, by_spot, per_title))
    samples = _samples(run, {spot[0] for _, spot in chosen})
    return [draw_exhibit(title, by_spot[spot], samples.get(spot[0])) for title, spot in chosen]


def decider_exhibits(pair: Pair) -> list[Exhibit]:
    """Draw the questions on which two contestants are farthest apart, each mask under its contestant's label."""
    title = f"what decides between {pair.one.label} and {pair.other.label}"
    samples = _samples(pair.one.run, {each.answers[0].place.sample_index for each in pair.deciders})
    shown = []
    for decider in pair.deciders:
        answers = [
            replace(answer, place=replace(answer.place, strategy=contestant.label))
            for answer, contestant in zip(decider.answers, (pair.one, pair.other), strict=True)
        ]
        shown.append(draw_exhibit(title, answers, samples.get(answers[0].place.sample_index)))
    return shown


def dispute(answers: Sequence[Answer]) -> float:
    """Return how far answers to one question are apart: 1 minus the mean IoU of their masks, in [0, 1]."""
    masks = [answer for answer in answers if answer.mask_counts]
    ious = [run_length_iou(one.mask_counts, other.mask_counts, one.size) for one, other in combinations(masks, 2)]
    return 1 - sum(ious) / len(ious) if ious else 0.0


def answers_by_spot(answers: Iterable[Answer]) -> dict[Spot, list[Answer]]:
    """Put the answers of all strategies to one question together."""
    by_spot: dict[Spot, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_spot[answer.place.sample_index, answer.place.question_index].append(answer)
    return by_spot


def _chosen(run: MergedRun, by_spot: Mapping[Spot, Sequence[Answer]], per_title: int) -> Iterator[tuple[str, Spot]]:
    for key in run.run.strategies:
        mine = [each for each in run.answers if each.place.strategy == key and each.outcome != "unread"]
        mine = [each for each in mine if not each.is_about_nothing]
        ranked = sorted(mine, key=lambda each: (-each.iou, each.place.sample_index, each.place.question_index))
        for title, part in ((f"best of {key}", ranked[:per_title]), (f"worst of {key}", ranked[::-1][:per_title])):
            yield from ((title, (each.place.sample_index, each.place.question_index)) for each in part)
        wrong = [each for each in run.answers if each.place.strategy == key and each.is_about_nothing and each.marked]
        for each in sorted(wrong, key=_marked_share, reverse=True)[:per_title]:
            yield f"marked by {key} though it is absent", (each.place.sample_index, each.place.question_index)
    if len(run.run.strategies) > 1:
        disputed = {spot: dispute(answers) for spot, answers in by_spot.items()}
        for spot in sorted(disputed, key=lambda spot: (-disputed[spot], spot))[:per_title]:
            yield "most disputed", spot


def _marked_share(answer: Answer) -> float:
    return answer.marked / (answer.size[0] * answer.size[1])


def _samples(run: MergedRun, wanted: set[int]) -> dict[int, Sample]:
    found: dict[int, Sample] = {}
    try:
        samples = load_dataset(run.run.dataset, run.run.limit, Path(run.root) if run.root else None)
        for index, sample in enumerate(samples):
            if index in wanted:
                found[index] = sample
            if len(found) == len(wanted):
                break
    except EvfSamError:
        return found
    return found


def draw_exhibit(title: str, answers: Sequence[Answer], sample: Sample | None, side: int = PICTURE_SIDE) -> Exhibit:
    """Draw one question.

    Args:
        title: why it is shown.
        answers: of the strategies.
        sample: with the question at the place that the answers name; None where it is not at hand.
        side: of the pictures, at most.
    """
    first = answers[0]
    pictures: dict[str, RgbImage] = {}
    position = first.place.question_index
    if sample is not None and position < len(sample.questions):
        pictures = _pictures(sample, sample.questions[position], answers, side)
    return Exhibit(
        title,
        first.phrase,
        first.kind,
        first.place.sample_id,
        pictures,
        {answer.place.strategy: answer.iou for answer in answers if answer.outcome != "unread"},
    )


def _pictures(sample: Sample, question: SampleQuestion, answers: Sequence[Answer], side: int) -> dict[str, RgbImage]:
    try:
        image = sample.image
        reference = question.reference
        check_mask_size(reference, image.shape[:2])
        if answers[0].data not in ("", data_digest(ImageView(image), reference)):
            return {}  # replaced since: those masks are of another picture
        masks = {REFERENCE_LABEL: wanted_pixels(reference)}
        masks |= {each.place.strategy: _mask(each) for each in answers if each.outcome != "unread"}
        small = shrunk(image, side)
        return {label: overlay(small, shrunk_mask(mask, side), label) for label, mask in masks.items()}
    except EvfSamError:
        return {}


def _mask(answer: Answer) -> Mask:
    return decode_mask(answer.mask_counts, answer.size) if answer.mask_counts else np.zeros(answer.size, dtype=np.bool_)
