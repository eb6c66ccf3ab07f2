"""Command line: `python -m workbench compare IMAGE PHRASE --out DIR`, `evaluate` and `report`."""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from evfsam.errors import EvfSamError
from evfsam.preprocess import load_image
from workbench.comparison import Comparison, StrategyResult
from workbench.datasets.registry import NAMES
from workbench.evaluate_command import Order, carry_out
from workbench.evaluation import SCENES_LIMIT, Shard
from workbench.exporting import RESULT_NAME, write_results
from workbench.markdown import report_markdown
from workbench.merging import merged_runs
from workbench.placement import DEVICE_NAMES, resolve_device
from workbench.report_page import write_report
from workbench.result_files import check_writable
from workbench.suites import SUITES, find_suite

EXIT_ALL_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_FAULTS = 3
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
        0; 1 where every strategy failed; 2 after one line on standard error where the input cannot be used; 3 where
        something could not be measured, as the text says; 130 after Ctrl-C.
    """
    try:
        arguments = _parser().parse_args(argv)
        logging.basicConfig(level=logging.WARNING if arguments.is_verbose else logging.CRITICAL)
        return {"compare": _compare, "evaluate": _evaluate, "report": _report}[arguments.command](arguments)
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
    shard = _shard(arguments.shard, os.environ)
    device = resolve_device(arguments.device, os.environ.get("LOCAL_RANK"))
    comparison = Comparison(find_suite(arguments.suite), device)
    order = Order(
        dataset=arguments.dataset,
        root=arguments.root,
        limit=arguments.limit,
        strategies=comparison.choose(arguments.strategies),
        shard=shard,
        out=arguments.out,
        device=device.type,
    )
    text, scores = carry_out(order, comparison)
    print(text)
    return 0 if all(score.is_sound for score in scores.values()) else EXIT_FAULTS


def _report(arguments: argparse.Namespace) -> int:
    runs = merged_runs(arguments.files)
    print(report_markdown(runs), end="")
    if arguments.out is not None:
        for path in write_report(arguments.out, runs):
            print(f"wrote {path}", file=sys.stderr)
    is_sound = all(not run.notes and all(score.is_sound for score in run.scores.values()) for run in runs)
    return 0 if is_sound else EXIT_FAULTS


def _shard(asked: str | None, environment: Mapping[str, str]) -> Shard:
    """Return the shard asked for, or this process's, where a launcher started several (RANK and WORLD_SIZE)."""
    text = asked
    if text is None and {"RANK", "WORLD_SIZE"} <= set(environment) and environment["RANK"].isdecimal():
        text = f"{int(environment['RANK']) + 1}/{environment['WORLD_SIZE']}"
    if text is None:
        return Shard()
    number, _, count = text.partition("/")
    if not number.isdecimal() or not count.isdecimal():
        raise _UsageError(f"expected a shard I/N, such as 1/4, got {text!r}; see python -m workbench evaluate --help")
    return Shard(int(number), int(count))


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
    commands = parser.add_subparsers(dest="command", required=True, metavar="{compare,evaluate,report}")
    compare = commands.add_parser(
        "compare", help="run the strategies on one image and phrase, and write what they found"
    )
    compare.add_argument("image", type=Path, metavar="IMAGE", help="an image file")
    compare.add_argument("phrase", metavar="PHRASE", help='what to segment, such as "the dog on the left"')
    compare.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for pictures and result.json")
    measure = commands.add_parser("evaluate", help="measure the strategies on images with known masks")
    measure.add_argument("--dataset", default="scenes:test", metavar="NAME", help=f"one of {', '.join(NAMES)}")
    measure.add_argument("--root", type=Path, metavar="DIR", help="folder of the data set's files")
    measure.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help=f"expressions to ask, absent ones not counted; default: all, and {SCENES_LIMIT} of scenes",
    )
    measure.add_argument("--shard", metavar="I/N", help="ask only the I-th of N parts; default: that of the launcher")
    measure.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="FILE.jsonl: a line an answer, continued where it ends if the run was cut short; else: the figures",
    )
    report = commands.add_parser("report", help="lay out what evaluate wrote to FILE.jsonl, shards brought together")
    report.add_argument("files", type=Path, nargs="+", metavar="FILE.jsonl", help="files of one or several runs")
    report.add_argument("--out", type=Path, metavar="DIR", help="also write report.md, report.html and charts there")
    report.add_argument("--verbose", dest="is_verbose", action="store_true", help="log warnings and tracebacks")
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
