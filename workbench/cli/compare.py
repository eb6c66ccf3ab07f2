"""`python -m workbench compare`: run the strategies on one image and phrase, and write what they found."""

import argparse
from pathlib import Path

from evfsam.preprocess import load_image
from evfsam.types import BoxXyxy, PromptPoint, SamPrompt, Segmentation
from workbench.cli.arguments import (
    EXIT_ALL_FAILED,
    Commands,
    add_model_options,
    add_suite_options,
    chosen_keys,
    comparison_of,
)
from workbench.comparison import StrategyResult
from workbench.export.files import check_writable
from workbench.export.results import RESULT_NAME, write_results


def add_parser(commands: Commands) -> None:
    """Declare the command and its options."""
    compare = commands.add_parser(
        "compare", help="run the strategies on one image and phrase, and write what they found"
    )
    compare.add_argument("image", type=Path, metavar="IMAGE", help="an image file")
    compare.add_argument(
        "phrase", metavar="PHRASE", help='what to segment, such as "the dog on the left"; several with ";" between them'
    )
    compare.add_argument(
        "--point",
        dest="points",
        type=_point,
        action="append",
        default=[],
        metavar="X,Y,LABEL",
        help="a click that SAM sees beside the phrase, in pixels; label 1 on the object, 0 off it; may be repeated",
    )
    compare.add_argument("--box", type=_box, metavar="X1,Y1,X2,Y2", help="a box that SAM sees beside the phrase")
    compare.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for pictures and result.json")
    add_suite_options(compare)
    add_model_options(compare)


def run_command(arguments: argparse.Namespace) -> int:
    """Compare, print a line a strategy and write the files; return the exit code."""
    comparison = comparison_of(arguments)
    chosen = chosen_keys(arguments, comparison)
    image = load_image(arguments.image)
    refinement = SamPrompt(arguments.box, tuple(arguments.points))
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


def _point(text: str) -> PromptPoint:
    x, y, label = _numbers(text, 3)
    if label not in (0, 1):
        raise argparse.ArgumentTypeError(f"expected a label 1 or 0 as the third number, got {text!r}")
    return PromptPoint(x, y, 1 if label == 1 else 0)


def _box(text: str) -> BoxXyxy:
    x1, y1, x2, y2 = _numbers(text, 4)
    return x1, y1, x2, y2


def _numbers(text: str, count: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise argparse.ArgumentTypeError(f"expected {count} numbers with commas between, got {text!r}")
    return numbers
