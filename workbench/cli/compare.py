"""`python -m workbench compare`: run the strategies on one image and phrase, and write what they found."""

import argparse

from evfsam.preprocess import load_image
from evfsam.types import PromptPoint, SamPrompt, Segmentation
from workbench.cli.arguments import chosen_keys, comparison_of
from workbench.cli.parser import EXIT_ALL_FAILED
from workbench.comparison import StrategyResult
from workbench.export.files import check_writable
from workbench.export.results import RESULT_NAME, write_results


def run_command(arguments: argparse.Namespace) -> int:
    """Compare, print a line a strategy and write the files; return the exit code."""
    comparison = comparison_of(arguments)
    chosen = chosen_keys(arguments, comparison)
    image = load_image(arguments.image)
    refinement = SamPrompt(arguments.box, tuple(PromptPoint(*point) for point in arguments.points))
    answers = comparison.run(image, arguments.phrase, chosen, refinement=refinement)
    check_writable(arguments.out / RESULT_NAME)
    results = []
    for result in answers:
        print("\n".join(_lines(result)), flush=True)
        results.append(result)
    write_results(arguments.out, image, arguments.phrase.strip(), comparison.suite.key, results)
    is_any_done = any(result.segmentation.verdict.kind != "failed" for result in results)
    return 0 if is_any_done else EXIT_ALL_FAILED


def _lines(result: StrategyResult) -> list[str]:
    """Say what a strategy found: in one line, and in one a phrase below it where several were asked."""
    lines = [f"{result.key:<12} {_said(result.segmentation)} ({result.seconds:.2f} s)"]
    if result.segmentation.verdict.kind != "failed":
        lines += [f"  {answer.phrase}: {_said(answer.segmentation)}" for answer in result.answers]
    return [" ".join(line.encode("utf-8", "backslashreplace").decode().split("\n")) for line in lines]


def _said(segmentation: Segmentation) -> str:
    verdict = segmentation.verdict
    if verdict.kind != "found":
        return f"{verdict.kind}: {verdict.reason}"
    iou = "" if segmentation.pred_iou is None else f", pred_iou {segmentation.pred_iou:.2f}"
    return f"found: {100 * segmentation.area_share:.1f} % of the image{iou}"
