"""What can be said on the command line: every command with its options, without importing what carries it out.

`--help` and bad arguments are answered from here in a fraction of a second; torch and the models take some.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from evfsam.errors import EvfSamError
from workbench.names import (
    DATASET_NAMES,
    DEVICE_NAMES,
    DTYPE_NAMES,
    MARK_NAMES,
    SCENES_LIMIT,
    SUITE_NAMES,
    VIDEO_CHECKPOINT,
    unknown_name,
)
from workbench.suites.strategy_choices import CHOICE_FORM, OPTION_FORM, OPTION_HELP, StrategyChoice, read_choices

EXIT_ALL_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_FAULTS = 3
EXIT_INTERRUPTED = 130
COMMANDS: Final = ("compare", "batch", "evaluate", "report", "score", "video")
"""Each is carried out by the module of its name beside this one."""


class UsageError(EvfSamError):
    """The command line cannot be understood."""


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of leaving.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{message}; see {self.prog} --help")


_Commands: TypeAlias = "argparse._SubParsersAction[OneLineParser]"
"""To which a command adds its parser."""


def read_arguments(
    argv: Sequence[str] | None, program: str = "python -m workbench", epilog: str | None = None
) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: arguments without the program's name; by default those of the process.
        program: its name in help and messages.
        epilog: below the help.

    Raises:
        UsageError: an argument is missing, unknown or malformed.
        SystemExit: help or the version was asked for, and has been printed.
    """
    parser = OneLineParser(
        prog=program, description="Compare ways of telling SAM in words what to segment.", epilog=epilog
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(dest="command", required=True, metavar=f"{{{','.join(COMMANDS)}}}")
    for add in (_add_compare, _add_batch, _add_evaluate, _add_report, _add_score, _add_video):
        add(commands)
    arguments = parser.parse_args(argv)
    _check_names(arguments)
    return arguments


class _Version(argparse.Action):
    """Prints the version; found out only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        name = "text-prompted-sam-workbench"
        try:
            found = version(name)
        except PackageNotFoundError:  # run from a checkout
            import tomllib

            project = Path(__file__).resolve().parents[2] / "pyproject.toml"
            found = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
        sys.stdout.write(f"{name} {found}\n")
        parser.exit()


def _check_names(arguments: argparse.Namespace) -> None:
    """Refuse names that nothing bears, before anything is loaded."""
    suite, device, dtype = (getattr(arguments, name, None) for name in ("suite", "device", "dtype"))
    choices: tuple[StrategyChoice, ...] = getattr(arguments, "strategies", None) or ()
    for name in (suite, *(choice.suite for choice in choices)):
        if name is not None and name not in SUITE_NAMES:
            raise UsageError(unknown_name("suite", name, SUITE_NAMES))
    marks = getattr(arguments, "marks", None)
    if marks is not None and marks not in MARK_NAMES:
        raise UsageError(unknown_name("kind of marks", marks, MARK_NAMES))
    if device is not None and device not in DEVICE_NAMES:
        raise UsageError(f"expected a device out of {', '.join(DEVICE_NAMES)}, got {device!r}")
    if dtype is not None and dtype not in DTYPE_NAMES:
        raise UsageError(f"expected a number type out of {', '.join(DTYPE_NAMES)}, got {dtype!r}")


def _add_compare(commands: _Commands) -> None:
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
    _add_suite_options(compare)
    _add_model_options(compare)


def _add_batch(commands: _Commands) -> None:
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
    _add_suite_options(batch)
    _add_model_options(batch)


def _add_evaluate(commands: _Commands) -> None:
    measure = commands.add_parser("evaluate", help="measure the strategies on images with known masks")
    _add_data_options(measure)
    measure.add_argument("--shard", metavar="I/N", help="ask only the I-th of N parts; default: that of the launcher")
    measure.add_argument(
        "--marks",
        metavar="KIND",
        help=f"what SAM sees beside each phrase, read off the known mask: one of {', '.join(MARK_NAMES)}",
    )
    measure.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="FILE.jsonl: a line an answer, continued where it ends if the run was cut short; else: the figures",
    )
    _add_suite_options(measure)
    _add_model_options(measure)


def _add_report(commands: _Commands) -> None:
    report = commands.add_parser("report", help="lay out what evaluate wrote to FILE.jsonl, shards brought together")
    report.add_argument("files", type=Path, nargs="+", metavar="FILE.jsonl", help="files of one or several runs")
    report.add_argument("--out", type=Path, metavar="DIR", help="also write report.md, report.html and charts there")
    _add_verbose(report)


def _add_score(commands: _Commands) -> None:
    score = commands.add_parser("score", help="measure saved masks on images with known masks, without a model")
    score.add_argument(
        "files",
        nargs="+",
        metavar="[NAME=]FILE",
        help="COCO RLE or polygons as a JSON list, a JSON object a line or COCO's format, each with an image and a "
        "phrase; or what batch or evaluate wrote",
    )
    _add_data_options(score)
    score.add_argument(
        "--missing-is-empty",
        dest="is_missing_empty",
        action="store_true",
        help="count an expression without a saved mask as answered with nothing; else it is not counted, and told",
    )
    score.add_argument(
        "--out", type=Path, metavar="FILE", help="FILE.jsonl: a line an answer, for `report`; else: the figures"
    )
    _add_verbose(score)


def _add_video(commands: _Commands) -> None:
    video = commands.add_parser("video", help="follow a phrase through a video, and write it overlaid")
    video.add_argument("video", type=Path, metavar="IN.mp4", help="a video file")
    video.add_argument("phrase", metavar="PHRASE", help='what to follow, such as "the dog on the left"')
    video.add_argument(
        "--out", type=Path, required=True, metavar="OUT.mp4", help="video to write, soundless: mp4, mov, mkv or webm"
    )
    video.add_argument(
        "--checkpoint",
        metavar="ID_OR_DIR",
        help=f"an EVF-SAM2, by Hub id or directory; default: {VIDEO_CHECKPOINT}, unless there is a --suite",
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
        "--strategies",
        dest="strategies",
        type=_one_choice,
        metavar=CHOICE_FORM,
        help="of the suite; default: its EVF-SAM2, else its EVF-SAM",
    )
    _add_option_option(video)
    _add_model_options(video)


def _add_suite_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--suite", default="mini", metavar="NAME", help=f"one of {', '.join(SUITE_NAMES)}; default: mini"
    )
    _add_choice_options(command)


def _add_choice_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--strategies",
        "--strategy",
        type=_choices,
        metavar="A,B",
        help=f"{CHOICE_FORM} with commas between, such as mini:evf-sam,full:evf-sam or a=evf-sam@DIR1,b=evf-sam@DIR2; "
        "default: all of the suite",
    )
    _add_option_option(command)


def _add_option_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--option",
        dest="options",
        action="append",
        default=[],
        metavar=OPTION_FORM,
        help=OPTION_HELP,
    )


def _add_data_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", default="scenes:test", metavar="NAME", help=f"one of {', '.join(DATASET_NAMES)}")
    command.add_argument("--root", type=Path, metavar="DIR", help="folder of the data set's files")
    command.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help=f"expressions to ask, absent ones not counted; default: all, and {SCENES_LIMIT} of scenes",
    )


def add_page_options(command: argparse.ArgumentParser) -> None:
    """Declare --weights, --strategies and --option, as the page takes them."""
    _add_weights_option(command)
    _add_choice_options(command)


def _add_weights_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a directory, or another id of workbench/suites/models.lock.json, in place of a model, such as "
        "evf-sam=/models/evf-sam; may be repeated",
    )


def _add_model_options(command: argparse.ArgumentParser) -> None:
    _add_weights_option(command)
    command.add_argument("--device", default="auto", metavar="NAME", help=f"one of {', '.join(DEVICE_NAMES)}")
    command.add_argument(
        "--dtype", default="float32", metavar="NAME", help=f"one of {', '.join(DTYPE_NAMES)}; default: float32"
    )
    _add_verbose(command)


def _add_verbose(command: argparse.ArgumentParser) -> None:
    command.add_argument("--verbose", dest="is_verbose", action="store_true", help="log warnings and tracebacks")


def _choices(text: str) -> tuple[StrategyChoice, ...]:
    return read_choices(text) or ()


def _one_choice(text: str) -> tuple[StrategyChoice, ...]:
    return (StrategyChoice.read(text),)


def _point(text: str) -> tuple[float, float, int]:
    x, y, label = _numbers(text, 3)
    if label not in (0, 1):
        raise argparse.ArgumentTypeError(f"expected a label 1 or 0 as the third number, got {text!r}")
    return x, y, int(label)


def _box(text: str) -> tuple[float, ...]:
    return tuple(_numbers(text, 4))


def _numbers(text: str, count: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise argparse.ArgumentTypeError(f"expected {count} numbers with commas between, got {text!r}")
    return numbers
