"""`python -m workbench batch`: many phrases about many images, into a folder that can be gone on with."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from workbench.batch.batch_files import COMMAND_LIMITS, BatchError, read_sources
from workbench.batch.batch_plan import plan_batch
from workbench.batch.batch_run import BatchRun, open_batch
from workbench.cli.arguments import comparison_of, named_keys
from workbench.cli.parser import EXIT_ALL_FAILED, EXIT_FAULTS
from workbench.comparison import Comparison
from workbench.text_fitting import visible


@dataclass(frozen=True)
class BatchOrder:
    """What to ask, and where answers go.

    Attributes:
        sources: images, folders, zips.
        tables: CSV files with the columns image and phrase.
        phrases: asked of every image.
        out: folder of the results; one with answers of the same settings is gone on with.
        strategies: keys, checked.
    """

    sources: tuple[Path, ...]
    tables: tuple[Path, ...]
    phrases: tuple[str, ...]
    out: Path
    strategies: tuple[str, ...]


def run_command(arguments: argparse.Namespace) -> int:
    """Ask, print what came of it, and return the exit code."""
    comparison = comparison_of(arguments)
    order = BatchOrder(
        sources=tuple(arguments.sources),
        tables=tuple(arguments.tables),
        phrases=tuple(arguments.phrases),
        out=arguments.out,
        strategies=comparison.choose(named_keys(arguments)),
    )
    text, run = run_batch(order, comparison)
    print(text)
    kinds = [answer.verdict for answer in run.answers]
    if not any(kind != "failed" for kind in kinds):
        return EXIT_ALL_FAILED
    return EXIT_FAULTS if run.faults or "failed" in kinds else 0


def run_batch(order: BatchOrder, comparison: Comparison) -> tuple[str, BatchRun]:
    """Ask everything that is missing in the folder; also after Ctrl-C its tables are written.

    Returns:
        What came of it, in lines for a person, and the batch.

    Raises:
        EvfSamError: the sources, the folder or a strategy's weights cannot be used.
    """
    paths = (*order.sources, *order.tables)
    if missing := [str(path) for path in paths if not path.exists()]:
        raise BatchError(f"expected images, folders, zips and CSV files, got no such file: {', '.join(missing)}")
    named = [(path.name or path.resolve().name, path) for path in paths]
    sources = read_sources(named, COMMAND_LIMITS, results=order.out)
    plan = plan_batch(sources, order.phrases, COMMAND_LIMITS)
    run = open_batch(order.out, comparison, plan, order.strategies)
    for key in order.strategies:
        comparison.strategy(key)
    try:
        _work(run)
    finally:
        run.finish()
    return "\n".join(_summary(run, order.strategies)), run


def _work(run: BatchRun) -> None:
    start = run.progress
    with tqdm(total=start.total_count, initial=start.done_count, unit="answer") as bar:
        for progress in run.work():
            bar.update(progress.done_count + progress.skipped_count - bar.n)


def _summary(run: BatchRun, strategies: Sequence[str]) -> list[str]:
    answers, progress = run.answers, run.progress
    lines = [f"{progress.done_count} of {progress.total_count} answers are in {run.folder.directory}"]
    for key in strategies:
        kinds = [answer.verdict for answer in answers if answer.strategy == key]
        lines.append(f"{key:<12} " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("found", "absent", "failed")))
    lines += run.notes
    if run.faults:
        lines.append(f"{len(run.faults)} could not be used:")
        lines += [f"  {fault.place}: {fault.reason}" for fault in run.faults]
    return [visible(line) for line in lines]
