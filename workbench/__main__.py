"""Command line: `python -m workbench compare IMAGE PHRASE --out DIR` and `python -m workbench evaluate`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from evfsam.errors import EvfSamError
from evfsam.preprocess import load_image
from workbench.comparison import Comparison, StrategyResult
from workbench.evaluation import ABSENT, Question, evaluate, load_dataset
from workbench.exporting import RESULT_NAME, write_results
from workbench.placement import DEVICE_NAMES, resolve_device
from workbench.reporting import scores_dict, scores_table
from workbench.result_files import as_json_value, check_writable, json_bytes, write_whole
from workbench.suites import SUITES, find_suite

EXIT_ALL_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message}; see {self.prog} --help")


class _UsageError(EvfSamError):
    """The command line cannot be understood."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments without the program's name; by default those of the process.

    Returns:
        0; 1 where every strategy failed; 2 after one line on standard error where the input cannot be used; 130 after
        Ctrl-C.
    """
    try:
        arguments = _parser().parse_args(argv)
        logging.basicConfig(level=logging.WARNING if arguments.is_verbose else logging.CRITICAL)
        return _compare(arguments) if arguments.command == "compare" else _evaluate(arguments)
    except EvfSamError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _compare(arguments: argparse.Namespace) -> int:
    comparison = _comparison(arguments)
    chosen = comparison.choose(arguments.strategies)
    image = load_image(arguments.image)
    answers = comparison.run(image, arguments.phrase, chosen)
    check_writable(arguments.out / RESULT_NAME)
    results = []
    for result in answers:
        print(_line(result), flush=True)
        results.append(result)
    write_results(arguments.out, image, arguments.phrase.strip(), arguments.suite, results)
    is_any_done = any(result.segmentation.verdict.kind != "failed" for result in results)
    return 0 if is_any_done else EXIT_ALL_FAILED


def _evaluate(arguments: argparse.Namespace) -> int:
    comparison = _comparison(arguments)
    chosen = comparison.choose(arguments.strategies)
    samples = load_dataset(arguments.dataset, arguments.limit)
    if arguments.out is not None:
        check_writable(arguments.out)
    with tqdm(total=arguments.limit, desc=arguments.dataset, unit="expression", delay=1) as bar:

        def advance(question: Question) -> None:
            bar.update(question.kind != ABSENT)

        scores = evaluate(comparison, samples, chosen, advance)
    asked = scores[chosen[0]]
    print(f"{arguments.dataset}, suite {arguments.suite}: {asked.total.count} expressions, in percent;")
    print(f"{asked.absent.count} absent ones come on top of these and count for N-acc alone.\n")
    print(scores_table(scores))
    if arguments.out is not None:
        content = as_json_value(scores_dict(arguments.dataset, arguments.suite, scores))
        write_whole(arguments.out, json_bytes(content))
    return 0


def _comparison(arguments: argparse.Namespace) -> Comparison:
    return Comparison(find_suite(arguments.suite), resolve_device(arguments.device))


def _line(result: StrategyResult) -> str:
    segmentation = result.segmentation
    verdict = segmentation.verdict
    if verdict.kind == "found":
        iou = "" if segmentation.pred_iou is None else f", pred_iou {segmentation.pred_iou:.2f}"
        said = f"found: {100 * segmentation.area_share:.1f} % of the image{iou}"
    else:
        said = f"{verdict.kind}: {verdict.reason}"
    line = f"{result.key:<12} {said} ({result.seconds:.2f} s)"
    return " ".join(line.encode("utf-8", "backslashreplace").decode().split("\n"))


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="python -m workbench", description="Compare ways of telling SAM in words what to segment."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{compare,evaluate}")
    compare = commands.add_parser(
        "compare", help="run the strategies on one image and phrase, and write what they found"
    )
    compare.add_argument("image", type=Path, metavar="IMAGE", help="an image file")
    compare.add_argument("phrase", metavar="PHRASE", help='what to segment, such as "the dog on the left"')
    compare.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for pictures and result.json")
    measure = commands.add_parser("evaluate", help="measure the strategies on images with known masks")
    measure.add_argument(
        "--dataset", default="scenes:test", metavar="NAME", help="scenes:train, scenes:val or scenes:test"
    )
    measure.add_argument(
        "--limit", type=int, default=500, metavar="N", help="expressions to ask, absent ones not counted; default: 500"
    )
    measure.add_argument("--out", type=Path, metavar="FILE.json", help="also write the figures there, as fractions")
    for command in (compare, measure):
        command.add_argument(
            "--suite", default="mini", metavar="NAME", help=f"one of {', '.join(SUITES)}; default: mini"
        )
        command.add_argument("--strategies", type=_keys, metavar="A,B", help="keys with commas between; default: all")
        command.add_argument("--device", default="auto", metavar="NAME", help=f"one of {', '.join(DEVICE_NAMES)}")
        command.add_argument("--verbose", dest="is_verbose", action="store_true", help="log warnings and tracebacks")
    return parser


def _keys(text: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in text.split(",") if key.strip())


if __name__ == "__main__":
    sys.exit(main())
