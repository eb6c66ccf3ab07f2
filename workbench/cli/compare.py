"""`python -m workbench compare`: run the strategies on one image and phrase, and write what they found."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from evfsam.preprocess import load_image
from evfsam.types import PromptPoint, SamPrompt, Segmentation
from workbench.batch.own_results import is_result_name
from workbench.cli.arguments import comparison_of, named_keys
from workbench.cli.parser import EXIT_ALL_FAILED, UsageError
from workbench.comparison import StrategyResult
from workbench.export.file_writing import check_writable
from workbench.export.results import RESULT_NAME, write_results
from workbench.text_fitting import visible


def run_command(arguments: argparse.Namespace) -> int:
    """Compare, print a line a strategy and write the files; return the exit code."""
    comparison = comparison_of(arguments)
    image = load_image(arguments.image)
    refinement = SamPrompt(arguments.box, tuple(PromptPoint(*point) for point in arguments.points))
    run = comparison.run(image, arguments.phrase, named_keys(arguments), refinement=refinement)
    check_writable(arguments.out / RESULT_NAME)
    _check_source(arguments.image, arguments.out, run.question.keys)
    results = []
    for result in run:
        print("\n".join(_lines(result)), flush=True)
        results.append(result)
    write_results(arguments.out, image, run.question.phrase, comparison.suite.key, results)
    is_any_done = any(result.segmentation.verdict.kind != "failed" for result in results)
    return 0 if is_any_done else EXIT_ALL_FAILED


def _check_source(image: Path, out: Path, strategies: Sequence[str]) -> None:
    """Refuse to write over the image itself, where it is a picture of an earlier comparison in the same folder."""
    is_in_out = out.is_dir() and image.resolve().parent == out.resolve()
    if is_in_out and is_result_name(image.name, strategies):
        raise UsageError(f"{image} would be written over by its own results; choose another folder with --out")


def _lines(result: StrategyResult) -> list[str]:
    """Say what a strategy found: in one line, and in one a phrase below it where several were asked."""
    lines = [f"{result.key:<12} {_said(result.segmentation)} ({result.seconds:.2f} s)"]
    if result.segmentation.verdict.kind != "failed":
        lines += [f"  {answer.phrase}: {_said(answer.segmentation)}" for answer in result.answers]
    return [visible(" ".join(line.split("\n"))) for line in lines]


def _said(segmentation: Segmentation) -> str:
    verdict = segmentation.verdict
    if verdict.kind != "found":
        return f"{verdict.kind}: {verdict.reason}"
    iou = "" if segmentation.pred_iou is None else f", pred_iou {segmentation.pred_iou:.2f}"
    return f"found: {100 * segmentation.area_share:.1f} % of the image{iou}"
