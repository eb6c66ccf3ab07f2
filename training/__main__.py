"""Train the mini suite, `python -m training STAGE`, the papers' ablations, or on real data (`res`).

With `all` each stage is a process of its own with its output in `logs/STAGE.log` of the work folder. A stage that ended
leaves a mark beside its state, so that a killed run starts only what is missing.
"""

import argparse
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import torch

from evfsam.errors import CheckpointError, ConfigurationError, EvfSamError
from evfsam.weights.checkpoint_files import read_json_object
from training.alone import alone
from training.command_line import DefaultsShown, device_here, natural, positive
from training.loop import CHECKPOINT_EVERY_S, told_differences
from training.places import Places
from training.processes import check_alone, is_first
from training.recipes import BESIDE, STAGES
from workbench.cli.parser import OneLineParser
from workbench.datasets.cutouts import FETCHED
from workbench.export.file_writing import whole_file

DEFAULT_OUT = Path("checkpoints/mini")
_POLL_S = 1.0
_PATIENCE_S = 10.0
"""For a stage that is ended."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] and words[0] in _OTHERS:
        return _OTHERS[words[0]](words[1:])
    try:
        options = _parser().parse_args(words)
        if options.threads:
            torch.set_num_threads(options.threads)
        places = _places(options)
        if options.stage == "all":
            check_alone("all")
            return run_all(places, words, at_once=options.at_once)
        torch.manual_seed(options.seed or 0)
        with alone(places.work, options.stage) if is_first() else nullcontext():
            {**STAGES, **BESIDE}[options.stage].train(places)
    except EvfSamError as err:
        print(f"training: {err}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m training",
        formatter_class=DefaultsShown,
        description="Train the mini suite, stage by stage. Besides: `python -m training data` fetches pictures, "
        "`python -m training ablations --help` for the papers' ablations in miniature, `python -m training res --help` "
        "for real data.",
    )
    stages = [*STAGES, *BESIDE, "all"]
    parser.add_argument("stage", choices=stages, help="what to train; goes on where a killed run stopped")
    parser.add_argument("--work", type=Path, default=Path("training-cache"), help="unfinished stages and their curves")
    parser.add_argument("--out", type=Path, default=Path("training-cache/mini"), help="the finished suite")
    parser.add_argument(
        "--start", type=Path, help="an earlier suite to start from; stages that go on do so from --out without it"
    )
    parser.add_argument("--pictures", type=Path, default=FETCHED, help="of `python -m training data`")
    parser.add_argument("--overwrite", action="store_true", help="allow --out to be the suite that is in use")
    parser.add_argument("--steps", type=positive, help="optimiser steps instead of the recipe's")
    parser.add_argument("--seconds", type=positive, help="let a stage end after so many, whatever its steps")
    parser.add_argument("--pool", type=natural, default=0, metavar="SCENES", help="draw so many once and keep them")
    parser.add_argument("--pace", type=float, default=1.0, help="factor on the recipe's steps")
    parser.add_argument("--seed", type=natural, help="of weights and batches, instead of the recipe's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to train")
    parser.add_argument(
        "--threads", type=positive, help="CPU threads; one is fastest where two stages run side by side"
    )
    parser.add_argument("--workers", type=natural, default=1, help="processes a stage that draw scenes")
    parser.add_argument("--scenes-a-step", type=positive, help="instead of the recipe's")
    parser.add_argument("--held-out", type=positive, default=512, help="phrases or objects that a validation measures")
    parser.add_argument(
        "--save-every", type=positive, default=CHECKPOINT_EVERY_S, metavar="SECONDS", help="between two states"
    )
    parser.add_argument("--at-once", type=positive, default=1, help="with `all`: stages that run side by side")
    return parser


def _places(options: argparse.Namespace) -> Places:
    """Check the options that argparse cannot.

    Raises:
        ConfigurationError: the device is unknown, or the shipped suite would be overwritten.
    """
    device = device_here(options.device)
    if not 0 < options.pace < math.inf:
        raise ConfigurationError("expected --pace > 0, got {pace}", pace=options.pace)
    if options.out.resolve() == DEFAULT_OUT.resolve() and not options.overwrite:
        raise ConfigurationError(
            "{out} holds the suite in use; add --overwrite, or choose another --out", out=options.out
        )
    return Places(
        options.work,
        options.out,
        steps=options.steps,
        pace=options.pace,
        seed=options.seed,
        device=device,
        workers=options.workers,
        scenes_a_step=options.scenes_a_step,
        held_out=options.held_out,
        start=options.start,
        pictures=options.pictures,
        save_every_s=options.save_every,
        seconds=options.seconds,
        pool=options.pool,
    )


def _res(words: list[str]) -> int:
    from training.res_command import main as train_on_real_data  # needs packages that the mini suite does not

    return train_on_real_data(words)


def _ablations(words: list[str]) -> int:
    from training.ablations import main as train_ablations

    return train_ablations(words)


def _data(words: list[str]) -> int:
    from training.pictures.build import main as fetch_pictures

    return fetch_pictures(words)


_OTHERS: dict[str, Callable[[list[str]], int]] = {"res": _res, "ablations": _ablations, "data": _data}


def run_all(places: Places, words: Sequence[str], *, at_once: int) -> int:
    """Run what is not done yet, each stage after those it needs; returns the exit code.

    A run that is ended ends the stages that it started.

    Args:
        places: where the marks and logs are.
        words: of the command line, `all` among them, which each stage's name replaces.
        at_once: stages side by side.

    Raises:
        ConfigurationError: another run of all stages has this work folder.
        CheckpointError: a stage is done, but of a run that was asked for otherwise.
    """
    running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    with alone(places.work, "all"), _sigterm_raises():
        try:
            return _run_all(places, words, at_once, running)
        finally:
            _end([process for process, _ in running.values()])


def _run_all(
    places: Places, words: Sequence[str], at_once: int, running: dict[str, tuple["subprocess.Popen[bytes]", float]]
) -> int:
    logs, marks = places.work / "logs", places.work / "done"
    logs.mkdir(parents=True, exist_ok=True)
    done = {name for name in STAGES if _is_done(marks / name, places)}
    for name, recipe in STAGES.items():
        steps = places.steps or max(1, round(recipe.schedule.steps * places.pace))
        after = f" after {', '.join(recipe.needs)}" if recipe.needs else ""
        print(f"{name}: {'done already' if name in done else f'{steps} steps{after}'}", flush=True)
    while len(done) < len(STAGES):
        for name, recipe in STAGES.items():
            ready = name not in done and name not in running and done.issuperset(recipe.needs)
            if ready and len(running) < at_once:
                # Stages that go on from finished weights go on from what this run made.
                own = [*stage_words(name, words), *(["--start", str(places.out)] if recipe.goes_on else [])]
                running[name] = _start(name, own, logs), time.monotonic()
                print(f"{name}: started, log in {logs / name}.log", flush=True)
        time.sleep(_POLL_S)
        for name, (process, started) in list(running.items()):
            if process.poll() is None:
                continue
            del running[name]
            if process.returncode:
                print(f"{name}: failed, see {logs / name}.log", file=sys.stderr)
                return 1
            with whole_file(marks / name) as mark:
                mark.write_text(json.dumps(places.all_choices()))
            done.add(name)
            print(f"{name}: done in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def _is_done(mark: Path, places: Places) -> bool:
    if not mark.exists():
        return False
    differences = told_differences(read_json_object(mark), places.all_choices())
    if differences:
        raise CheckpointError(
            "expected stages of this run to be done in {folder}, got {name} of one with {differences}; "
            "choose another --work folder",
            folder=mark.parent,
            name=mark.name,
            differences=differences,
        )
    return True


def stage_words(name: str, words: Sequence[str]) -> list[str]:
    """Return the words of a command line of `all` with a stage's name in its place, and in no other."""
    for place, word in enumerate(words):
        own = [*words[:place], name, *words[place + 1 :]]
        if word == "all" and _parser().parse_args(own).stage == name:
            return own
    raise AssertionError(words)


def _start(name: str, words: Sequence[str], logs: Path) -> "subprocess.Popen[bytes]":
    with (logs / f"{name}.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "training", *words], stdout=log, stderr=log)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let a SIGTERM, which ends Python at once, unwind instead."""

    def unwind(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
