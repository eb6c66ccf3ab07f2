"""`python -m workbench score`: saved masks, ours or anyone's, held against a data set; no model is asked."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tqdm import tqdm

from evfsam.errors import ConfigurationError, EvfSamError, GeometryError
from evfsam.types import ImageView, Segmentation, Verdict
from workbench.cli.evaluate import LINES_SUFFIX, scores_text
from workbench.cli.parser import EXIT_FAULTS
from workbench.datasets.coco_masks import union_mask
from workbench.datasets.contract import Sample, SampleQuestion
from workbench.datasets.known_datasets import open_dataset
from workbench.evaluation.evaluation import ChangedDataError, Shard, checked_limit, limited
from workbench.evaluation.larger_limit import raise_limit
from workbench.evaluation.measured_answers import Answer, Place, Scores, data_digest, measured, scores_of, unread
from workbench.evaluation.result_lines import ResultsFile
from workbench.evaluation.run_identity import Facts, Header, RunIdentity, questions_digest
from workbench.evaluation.saved_masks import SavedMask, SavedMasks, SavedMasksError, folded_phrase, read_saved_masks
from workbench.export.file_writing import as_json_value, check_writable, json_bytes, write_whole
from workbench.metrics.masks import ReferenceMask
from workbench.reporting.scores import scores_dict

SUITE_KEY = "saved"
"""Stands for a suite where masks come from files."""
_MISSING_IS_EMPTY: Final = ", missing is empty"
"""Added to it, since the same files then give other answers."""


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
        self._used: dict[int, str] = {}
        """The image that each mask was held against, by the mask's identity."""
        self._met: Counter[tuple[str, str]] = Counter()

    def answers(self, samples: Iterable[Sample]) -> Iterator[list[Answer]]:
        """Measure the masks of one image after the other; images that cannot be read do no harm.

        Raises:
            SavedMasksError: while they are gone through, where one mask would answer about two images.
        """
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
        for position, question in enumerate(sample.questions):
            asked = (sample_id, folded_phrase(question.phrase))
            place, self._met[asked] = self._met[asked], self._met[asked] + 1
            for key, saved in self._saved.items():
                mask = saved.find(sample_id, question.phrase, place, sample.file_name)
                if mask is not None:
                    self._use(mask, sample_id, saved)
                yield self._answer(Place(index, sample_id, position, key), question, view, mask)

    def _use(self, mask: SavedMask, sample_id: str, saved: SavedMasks) -> None:
        other = self._used.setdefault(id(mask), sample_id)
        if other != sample_id:
            raise SavedMasksError(
                f"expected each mask of {saved.source} to be about one image, got {mask.phrase!r} about "
                f"{mask.images[0]}, which names the images {other} and {sample_id}; write their ids as image_id"
            )

    def _answer(self, place: Place, question: SampleQuestion, view: ImageView | None, mask: SavedMask | None) -> Answer:
        if mask is None and not self._is_missing_empty:
            self.missing[place.strategy].append((place.sample_id, question.phrase))
            return unread(place, question, "no mask was saved for this expression")
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


def run_command(arguments: argparse.Namespace) -> int:
    """Measure, print the figures, and return the exit code."""
    saved = _read(arguments.files)
    scoring = Scoring(saved, is_missing_empty=arguments.is_missing_empty)
    scores = _scores(arguments, scoring, saved)
    print(scores_text(arguments.dataset, "saved masks", scores))
    notes = _missing_notes(arguments.dataset, scoring, saved) + _unused_notes(arguments.dataset, scoring, saved)
    for note in notes:
        print(note, file=sys.stderr)
    return 0 if not notes and all(score.is_sound for score in scores.values()) else EXIT_FAULTS


def _read(texts: Sequence[str]) -> dict[str, SavedMasks]:
    saved: dict[str, SavedMasks] = {}
    for text in texts:
        name, path = _name_and_path(text)
        named = read_saved_masks(path, name)
        if name is not None:
            named = {name if len(named) == 1 else f"{name}:{key}": masks for key, masks in named.items()}
        if double := sorted(saved.keys() & named.keys()):
            raise ConfigurationError(f"{double[0]} is there twice; name the files apart, as NAME=FILE")
        saved |= named
    return saved


def _name_and_path(text: str) -> tuple[str | None, Path]:
    """Take apart "[NAME=]FILE"; a file whose path holds "=" is no name and another file."""
    name, separator, path = text.partition("=")
    if not separator or Path(name).name != name or Path(text).exists():
        return None, Path(text)
    return name, Path(path)


def _scores(arguments: argparse.Namespace, scoring: Scoring, saved: Mapping[str, SavedMasks]) -> dict[str, Scores]:
    dataset, limit = open_dataset(arguments.dataset, arguments.root), checked_limit(arguments.dataset, arguments.limit)
    out: Path | None = arguments.out
    if out is not None and out.suffix != LINES_SUFFIX:
        check_writable(out)
    total = len(dataset) if limit is None else None
    bar = tqdm(limited(dataset, limit), total=total, desc=arguments.dataset, unit="image", delay=1)
    answers = [answer for of_image in scoring.answers(bar) for answer in of_image]
    scores = scores_of(answers, saved)
    if out is not None and out.suffix == LINES_SUFFIX:
        header = _header(arguments, limit, saved, questions_digest(limited(dataset, limit)))
        raise_limit(out, header, partial(limited, dataset))
        _write_lines(out, header, answers)
    elif out is not None:
        write_whole(out, json_bytes(as_json_value(scores_dict(arguments.dataset, SUITE_KEY, scores))))
    return scores


def _header(arguments: argparse.Namespace, limit: int | None, saved: Mapping[str, SavedMasks], samples: str) -> Header:
    run = RunIdentity(
        suite=SUITE_KEY + (_MISSING_IS_EMPTY if arguments.is_missing_empty else ""),
        dataset=arguments.dataset,
        limit=limit,
        strategies={key: masks.digest for key, masks in saved.items()},
        device="",
        dtype="",
        samples=samples,
    )
    facts = Facts(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        weights={key: masks.source for key, masks in saved.items()},
    )
    return Header(run, Shard(), "" if arguments.root is None else str(arguments.root.resolve()), facts)


def _write_lines(out: Path, header: Header, answers: Sequence[Answer]) -> None:
    """Write the answers that a file of the same run lacks.

    Raises:
        ResultsError: the file is of another run, or cannot be written.
        ChangedDataError: an answer in it is another one now.
    """
    with ResultsFile(out, header) as file:
        answered = [answer for answer in (file.earlier.answers if file.earlier else ()) if answer.outcome != "unread"]
        earlier = {answer.place: answer for answer in answered}
        for answer in answers:
            if not _is_same(earlier.get(answer.place, answer), answer):
                raise ChangedDataError(
                    "the image {image} or the known mask of {phrase!r} is another than when {path} was written; "
                    "choose another file with --out, or delete it",
                    image=answer.place.sample_id,
                    phrase=answer.phrase,
                    path=out,
                )
        file.append(answer for answer in answers if answer.place not in earlier)
        file.finish()


def _is_same(one: Answer, other: Answer) -> bool:
    """Whether two answers are equal but for an image that only one of them could read, which measuring does without."""
    if one.data and other.data:
        return one == other
    return replace(one, data="") == replace(other, data="")


def _missing_notes(dataset: str, scoring: Scoring, saved: Mapping[str, SavedMasks]) -> list[str]:
    return [
        f"{len(places)} expressions of {dataset} have no mask of {key} in {saved[key].source}, such as "
        f"{places[0][1]!r} about {places[0][0]}; --missing-is-empty counts them as answered with nothing"
        for key, places in scoring.missing.items()
        if places
    ]


def _unused_notes(dataset: str, scoring: Scoring, saved: Mapping[str, SavedMasks]) -> list[str]:
    return [
        f"{len(masks)} masks of {key} in {saved[key].source} are about no expression of {dataset} that was gone "
        f"through, such as {masks[0].phrase!r} about {masks[0].images[0]}"
        for key, masks in scoring.unused().items()
        if masks
    ]
