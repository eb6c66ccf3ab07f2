"""`python -m workbench evaluate`: measure on images with known masks, keep the answers, and lay the figures out."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import time
from typing import Final

from tqdm import tqdm

from evfsam.errors import ConfigurationError
from workbench.cli.arguments import comparison_of, device_of, launched_shard, named_keys
from workbench.cli.parser import EXIT_FAULTS, UsageError
from workbench.comparison import Comparison
from workbench.datasets.contract import ABSENT, Dataset, Sample, SampleQuestion
from workbench.datasets.known_datasets import counts_absent, open_dataset
from workbench.evaluation.cost import machine_name, parameter_count
from workbench.evaluation.evaluation import Shard, checked_limit, evaluate, limited, measure
from workbench.evaluation.larger_limit import raise_limit
from workbench.evaluation.measured_answers import Scores, scores_of
from workbench.evaluation.result_lines import ResultsFile, read_results
from workbench.evaluation.run_identity import Facts, Header, RunIdentity, questions_digest, said_of_marks
from workbench.export.file_writing import as_json_value, check_writable, json_bytes, write_whole
from workbench.export.results import installed_versions
from workbench.names import MarkKind
from workbench.reporting.scores import scores_dict, scores_table
from workbench.text_fitting import visible, visible_lines

LINES_SUFFIX: Final = ".jsonl"
"""An output of this kind gets a line an answer and can be continued; any other gets the figures."""


@dataclass(frozen=True)
class Order:
    """What is to be measured.

    Attributes:
        dataset: see `workbench.names.DATASET_NAMES`.
        root: folder of its files.
        limit: expressions to ask; None for the data set's own.
        strategies: keys.
        shard: which part of the run.
        out: file to write, or None.
        marks: what SAM sees beside each phrase, or None.
    """

    dataset: str
    root: Path | None
    limit: int | None
    strategies: Sequence[str]
    shard: Shard
    out: Path | None
    marks: MarkKind | None = None


def run_command(arguments: argparse.Namespace) -> int:
    """Measure, print the figures, and return the exit code."""
    shard = _shard(launched_shard() if arguments.shard is None else arguments.shard)
    comparison = comparison_of(arguments, device_of(arguments, is_shared_out=True))
    order = Order(
        dataset=arguments.dataset,
        root=arguments.root,
        limit=arguments.limit,
        strategies=comparison.choose(named_keys(arguments)),
        shard=shard,
        out=arguments.out,
        marks=arguments.marks,
    )
    text, scores = run_evaluation(order, comparison)
    print(visible_lines(text))
    # A launcher ends all processes where one ends with another code than 0; `report` says it for the whole run.
    is_one_of_many = shard.count > 1 and arguments.shard is None
    return 0 if is_one_of_many or all(score.is_sound for score in scores.values()) else EXIT_FAULTS


def _shard(text: str | None) -> Shard:
    if text is None:
        return Shard()
    number, _, count = text.partition("/")
    if not number.isdecimal() or not count.isdecimal():
        raise UsageError(f"expected a shard I/N, such as 1/4, got {text!r}; see python -m workbench evaluate --help")
    return Shard(int(number), int(count))


def run_evaluation(order: Order, comparison: Comparison) -> tuple[str, dict[str, Scores]]:
    """Measure, write what is to be written, and return the text for the screen and the scores.

    Raises:
        ConfigurationError: the order cannot be carried out.
        EvfSamError: a strategy cannot be loaded.
    """
    lines_path = order.out if order.out is not None and order.out.suffix == LINES_SUFFIX else None
    if order.shard.count > 1 and lines_path is None:
        raise ConfigurationError(
            f"expected --out FILE{LINES_SUFFIX} for a run in {order.shard.count} shards, whose files "
            "`report` brings together"
        )
    scores = _in_memory(order, comparison) if lines_path is None else _with_lines(order, comparison, lines_path)
    part = "" if order.shard.count == 1 else f", shard {order.shard.number} of {order.shard.count}"
    made_with = f"suite {comparison.suite.key}{part}{said_of_marks(order.marks)}"
    return scores_text(order.dataset, made_with, scores), scores


def _in_memory(order: Order, comparison: Comparison) -> dict[str, Scores]:
    dataset, limit = open_dataset(order.dataset, order.root), checked_limit(order.dataset, order.limit)
    if order.out is not None:
        check_writable(order.out)
    with _Progress(order, dataset, limit) as progress:
        progress.begin()
        samples = progress.over(limited(dataset, limit))
        scores = evaluate(comparison, samples, order.strategies, progress.advance, order.marks)
    if order.out is not None:
        content = as_json_value(scores_dict(order.dataset, comparison.suite.key, scores, order.marks))
        write_whole(order.out, json_bytes(content))
    return scores


def _with_lines(order: Order, comparison: Comparison, out: Path) -> dict[str, Scores]:
    dataset, limit = open_dataset(order.dataset, order.root), checked_limit(order.dataset, order.limit)
    path = order.shard.path_of(out)
    header = _header(order, comparison, questions_digest(limited(dataset, limit)))
    raise_limit(path, header, partial(limited, dataset))
    with ResultsFile(path, header) as file, _Progress(order, dataset, limit) as progress:
        answers = measure(
            comparison,
            progress.over(limited(dataset, limit)),
            order.strategies,
            shard=order.shard,
            done=file.done,
            on_question=progress.advance,
            marks=order.marks,
        )
        for of_image in answers:
            progress.begin()
            file.append(of_image)
        counts = {key: parameter_count(comparison.strategy(key)) for key in order.strategies}
        file.finish({key: count for key, count in counts.items() if count is not None})
    return scores_of(read_results(path).answers, order.strategies)


def _header(order: Order, comparison: Comparison, samples: str) -> Header:
    entries = {key: comparison.suite.strategies[key] for key in order.strategies}
    run = RunIdentity(
        suite=comparison.suite.key,
        dataset=order.dataset,
        limit=checked_limit(order.dataset, order.limit),
        strategies={key: entry.digest for key, entry in entries.items()},
        device=comparison.device.type,
        dtype=str(comparison.dtype).removeprefix("torch."),
        samples=samples,
        marks=order.marks or "",
    )
    facts = Facts(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine_name(comparison.device),
        weights={key: entry.source for key, entry in entries.items()},
        versions=installed_versions(),
    )
    return Header(run, order.shard, "" if order.root is None else str(order.root.resolve()), facts)


def scores_text(dataset: str, made_with: str, scores: Mapping[str, Scores]) -> str:
    """Lay figures out for the screen, with what was asked above."""
    asked = next(iter(scores.values()))
    counted = "count for N-acc alone"
    if counts_absent(dataset):
        counted = "count in cIoU and gIoU, as the data set's authors count them"
    return (
        f"{dataset}, {made_with}: {asked.total.count} expressions, in percent;\n"
        f"{asked.absent.count} absent ones come on top of these and {counted}.\n\n"
        f"{scores_table(dataset, scores)}"
    )


class _Progress:
    """A bar with the time left: expressions where there is a limit, else images, whose number is known beforehand.

    What an earlier run had answered does not count as speed.
    """

    def __init__(self, order: Order, dataset: Dataset, limit: int | None) -> None:
        self._is_limited = limit is not None
        self._bar = tqdm(
            total=len(dataset) if limit is None else -(-limit // order.shard.count),
            desc=visible(order.dataset),
            unit="image" if limit is None else "expression",
            delay=1,
            disable=order.shard.number > 1,
        )
        self._skipped_count = 0
        self._has_begun = False

    def begin(self) -> None:
        """Start the clock; called again, does nothing."""
        if not self._has_begun:
            self._has_begun = True
            self._bar.initial = self._bar.n = self._skipped_count
            self._bar.start_t = time()

    def over(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Go through samples and count them as the next is asked for."""
        for sample in samples:
            yield sample
            self._count(int(not self._is_limited))

    def advance(self, question: SampleQuestion) -> None:
        """Count a question; absent ones come on top of a limit and are not counted there."""
        self._count(int(self._is_limited and question.kind != ABSENT))

    def _count(self, more: int) -> None:
        if self._has_begun:
            self._bar.update(more)
        else:
            self._skipped_count += more

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
