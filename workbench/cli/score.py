"""`python -m workbench score`: saved masks, ours or anyone's, held against a data set; no model is asked."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from evfsam.errors import ConfigurationError
from workbench.cli.evaluate import LINES_SUFFIX, scores_text
from workbench.cli.parser import EXIT_FAULTS
from workbench.datasets.known_datasets import open_dataset
from workbench.evaluation.evaluation import Shard, checked_limit, limited
from workbench.evaluation.measured_answers import Scores, scores_of
from workbench.evaluation.result_lines import ResultsFile
from workbench.evaluation.run_identity import Facts, Header, RunIdentity, questions_digest
from workbench.evaluation.saved_masks import SavedMasks, read_saved_masks
from workbench.evaluation.scoring import Scoring
from workbench.export.file_writing import as_json_value, check_writable, json_bytes, write_whole
from workbench.reporting.scores import scores_dict

SUITE_KEY = "saved"
"""Stands for a suite where masks come from files."""


def run_command(arguments: argparse.Namespace) -> int:
    """Measure, print the figures, and return the exit code."""
    saved = _read(arguments.files)
    scoring = Scoring(saved, is_missing_empty=arguments.is_missing_empty)
    scores = _scores(arguments, scoring, saved)
    print(scores_text(arguments.dataset, "saved masks", scores))
    notes = _unused_notes(arguments.dataset, scoring, saved)
    for note in notes:
        print(note, file=sys.stderr)
    return 0 if not notes and all(score.is_sound for score in scores.values()) else EXIT_FAULTS


def _read(texts: Sequence[str]) -> dict[str, SavedMasks]:
    saved: dict[str, SavedMasks] = {}
    for text in texts:
        name, separator, path = text.partition("=")
        named = read_saved_masks(Path(path if separator else text), name if separator else None)
        if separator:
            named = {name if len(named) == 1 else f"{name}:{key}": masks for key, masks in named.items()}
        if double := sorted(saved.keys() & named.keys()):
            raise ConfigurationError(f"{double[0]} is there twice; name the files apart, as NAME=FILE")
        saved |= named
    return saved


def _scores(arguments: argparse.Namespace, scoring: Scoring, saved: Mapping[str, SavedMasks]) -> dict[str, Scores]:
    dataset, limit = open_dataset(arguments.dataset, arguments.root), checked_limit(arguments.dataset, arguments.limit)
    out: Path | None = arguments.out
    if out is not None and out.suffix != LINES_SUFFIX:
        check_writable(out)
    total = len(dataset) if limit is None else None
    bar = tqdm(limited(dataset, limit), total=total, desc=arguments.dataset, unit="image", delay=1)
    answers = [answer for of_image in scoring.answers(bar) for answer in of_image]
    scores = scores_of(answers, saved)
    if out is None:
        return scores
    if out.suffix != LINES_SUFFIX:
        write_whole(out, json_bytes(as_json_value(scores_dict(arguments.dataset, SUITE_KEY, scores))))
        return scores
    run = RunIdentity(
        suite=SUITE_KEY,
        dataset=arguments.dataset,
        limit=limit,
        strategies={key: masks.digest for key, masks in saved.items()},
        device="",
        dtype="",
        samples=questions_digest(limited(dataset, limit)),
    )
    facts = Facts(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        weights={key: masks.source for key, masks in saved.items()},
    )
    root = "" if arguments.root is None else str(arguments.root.resolve())
    with ResultsFile(out, Header(run, Shard(), root, facts)) as file:
        done = file.done
        places = ((answer, answer.place) for answer in answers)
        file.append(
            answer for answer, place in places if (place.sample_index, place.question_index, place.strategy) not in done
        )
        file.finish()
    return scores


def _unused_notes(dataset: str, scoring: Scoring, saved: Mapping[str, SavedMasks]) -> list[str]:
    return [
        f"{len(masks)} masks of {key} in {saved[key].source} are about no expression of {dataset} that was gone "
        f"through, such as {masks[0].phrase!r} about {masks[0].images[0]}"
        for key, masks in scoring.unused().items()
        if masks
    ]
