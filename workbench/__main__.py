"""Command line: `python -m workbench compare IMAGE PHRASE --out DIR`, `batch`, `evaluate`, `report` and `video`."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch

from evfsam.errors import EvfSamError
from evfsam.preprocess import load_image
from evfsam.types import BoxXyxy, PromptPoint, SamPrompt, Segmentation
from evfsam.video.followers import VideoFollower
from workbench.cli.batch import BatchOrder
from workbench.cli.batch import carry_out as carry_out_batch
from workbench.cli.evaluate import Order, carry_out
from workbench.cli.video import RELEASED, VideoOrder, checkpoint_follower, suite_follower
from workbench.cli.video import carry_out as carry_out_video
from workbench.comparison import Comparison, StrategyResult
from workbench.datasets.registry import NAMES
from workbench.evaluation.evaluation import SCENES_LIMIT, Shard
from workbench.evaluation.merging import merged_runs
from workbench.export.files import check_writable
from workbench.export.results import RESULT_NAME, write_results
from workbench.placement import DEVICE_NAMES, DTYPE_NAMES, describe_machine, resolve_device, resolve_dtype
from workbench.reporting.markdown import report_markdown
from workbench.reporting.page import write_report
from workbench.suites.choice import SUITE_NAMES, choose_suite
from workbench.video.run import chosen_strategy

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
        commands = {"compare": _compare, "batch": _batch, "evaluate": _evaluate, "report": _report, "video": _video}
        return commands[arguments.command](arguments)
    except EvfSamError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _compare(arguments: argparse.Namespace) -> int:
    comparison = _comparison(arguments)
    chosen = comparison.choose(arguments.strategies)
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


def _batch(arguments: argparse.Namespace) -> int:
    comparison = _comparison(arguments)
    order = BatchOrder(
        sources=tuple(arguments.sources),
        tables=tuple(arguments.tables),
        phrases=tuple(arguments.phrases),
        out=arguments.out,
        strategies=comparison.choose(arguments.strategies),
    )
    text, run = carry_out_batch(order, comparison)
    print(text)
    kinds = [answer.verdict for answer in run.folder.answers]
    if not any(kind != "failed" for kind in kinds):
        return EXIT_ALL_FAILED
    return EXIT_FAULTS if run.faults or "failed" in kinds else 0


def _evaluate(arguments: argparse.Namespace) -> int:
    shard = _shard(arguments.shard, os.environ)
    device = resolve_device(arguments.device, os.environ.get("LOCAL_RANK"))
    comparison = _on_device(arguments, device)
    order = Order(
        dataset=arguments.dataset,
        root=arguments.root,
        limit=arguments.limit,
        strategies=comparison.choose(arguments.strategies),
        shard=shard,
        out=arguments.out,
        device=device.type if arguments.dtype == DTYPE_NAMES[0] else f"{device.type} {arguments.dtype}",
    )
    text, scores = carry_out(order, comparison)
    print(text)
    # A launcher ends all processes where one ends with another code than 0; `report` says it for the whole run.
    is_one_of_many = shard.count > 1 and arguments.shard is None
    return 0 if is_one_of_many or all(score.is_sound for score in scores.values()) else EXIT_FAULTS


def _report(arguments: argparse.Namespace) -> int:
    runs = merged_runs(arguments.files)
    print(report_markdown(runs), end="")
    if arguments.out is not None:
        for path in write_report(arguments.out, runs):
            print(f"wrote {path}", file=sys.stderr)
    is_sound = all(not run.notes and all(score.is_sound for score in run.scores.values()) for run in runs)
    return 0 if is_sound else EXIT_FAULTS


def _video(arguments: argparse.Namespace) -> int:
    key, follower = _follower(arguments)
    order = VideoOrder(arguments.video, arguments.out, arguments.phrase, follower, arguments.frame, key)
    print(carry_out_video(order))
    return 0


def _follower(arguments: argparse.Namespace) -> tuple[str, Callable[[], VideoFollower]]:
    """Return whose colour the mask takes, and what reads the weights: a suite's, or one checkpoint's."""
    device = resolve_device(arguments.device)
    if arguments.suite is None:
        if arguments.strategies or arguments.weights:
            raise _UsageError("expected --suite beside --strategy or --weights; see python -m workbench video --help")
        checkpoint, dtype = arguments.checkpoint or RELEASED, resolve_dtype(arguments.dtype, device)
        return "evf-sam", partial(checkpoint_follower, checkpoint, arguments.revision, device, dtype)
    if arguments.checkpoint or arguments.revision:
        raise _UsageError("expected --suite or --checkpoint, got both; see python -m workbench video --help")
    comparison = _on_device(arguments, device)
    (key,) = comparison.choose(arguments.strategies or [chosen_strategy(comparison)])
    return key, partial(suite_follower, comparison, key)


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
    return _on_device(arguments, resolve_device(arguments.device))


def _on_device(arguments: argparse.Namespace, device: torch.device) -> Comparison:
    dtype = resolve_dtype(arguments.dtype, device)
    suite = choose_suite(
        arguments.suite,
        describe_machine(device, os.environ),
        weights=arguments.weights,
        strategies=arguments.strategies,
        dtype=dtype,
    )
    return Comparison(suite, device, dtype)


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


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="python -m workbench", description="Compare ways of telling SAM in words what to segment."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{compare,batch,evaluate,report,video}")
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
    batch = _add_batch(commands)
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
    video = _add_video(commands)
    for command in (compare, batch, measure):
        command.add_argument(
            "--suite", default="mini", metavar="NAME", help=f"one of {', '.join(SUITE_NAMES)}; default: mini"
        )
        command.add_argument("--strategies", type=_keys, metavar="A,B", help="keys with commas between; default: all")
    for command in (compare, batch, measure, video):
        command.add_argument(
            "--weights",
            action="append",
            default=[],
            metavar="NAME=DIR",
            help="a directory, or another id of workbench/suites/models.lock.json, in place of a model, such as "
            "evf-sam=/models/evf-sam; may be repeated",
        )
        command.add_argument("--device", default="auto", metavar="NAME", help=f"one of {', '.join(DEVICE_NAMES)}")
        command.add_argument(
            "--dtype", default="float32", metavar="NAME", help=f"one of {', '.join(DTYPE_NAMES)}; default: float32"
        )
        command.add_argument("--verbose", dest="is_verbose", action="store_true", help="log warnings and tracebacks")
    return parser


def _add_batch(commands: "argparse._SubParsersAction[_OneLineParser]") -> _OneLineParser:
    batch = commands.add_parser("batch", help="ask many phrases about many images, and keep what is done at any moment")
    batch.add_argument("sources", type=Path, nargs="+", metavar="IMAGES", help="folders, zips or image files")
    batch.add_argument(
        "--phrases", nargs="+", default=[], metavar="PHRASE", help="asked of every image; quote each: 'the red cup'"
    )
    batch.add_argument(
        "--csv",
        dest="tables",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a table with the columns image and phrase, a question a line; may be repeated",
    )
    batch.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for masks, overlays, masks.jsonl, figures.csv and manifest.json; gone on with if it was begun",
    )
    return batch


def _add_video(commands: "argparse._SubParsersAction[_OneLineParser]") -> _OneLineParser:
    video = commands.add_parser("video", help="follow a phrase through a video, and write it overlaid")
    video.add_argument("video", type=Path, metavar="IN.mp4", help="a video file")
    video.add_argument("phrase", metavar="PHRASE", help='what to follow, such as "the dog on the left"')
    video.add_argument(
        "--out", type=Path, required=True, metavar="OUT.mp4", help="video to write, soundless: mp4, mov, mkv or webm"
    )
    video.add_argument(
        "--checkpoint",
        metavar="ID_OR_DIR",
        help=f"an EVF-SAM2, by Hub id or directory; default: {RELEASED}, unless there is a --suite",
    )
    video.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a Hub id")
    video.add_argument(
        "--frame", type=int, default=0, metavar="N", help="the frame that the phrase is about, from 0; default: 0"
    )
    video.add_argument(
        "--suite",
        metavar="NAME",
        help=f"take a strategy of a suite instead, one of {', '.join(SUITE_NAMES)}; without a memory for videos, as in "
        "mini, every frame is asked alone",
    )
    video.add_argument(
        "--strategy",
        dest="strategies",
        type=_one_key,
        metavar="KEY",
        help="of the suite; default: its EVF-SAM2, else its EVF-SAM",
    )
    return video


def _one_key(text: str) -> tuple[str, ...]:
    return (text.strip(),)


def _keys(text: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in text.split(",") if key.strip())


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


if __name__ == "__main__":
    sys.exit(main())
