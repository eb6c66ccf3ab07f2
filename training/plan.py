"""All stages in one command: which may start, which run side by side, and what is done already.

Each stage is a process of its own, `python -m training STAGE`, with its output in `logs/STAGE.log` of the work folder.
A stage that ended leaves a mark beside its state, so that a killed run starts only what is missing.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from training.recipes import STAGES, Places

_POLL_S = 1.0


def run_all(places: Places, words: Sequence[str], *, at_once: int) -> int:
    """Run what is not done yet, each stage after those it needs; returns the exit code.

    Args:
        places: where the marks and logs are.
        words: of the command line, `all` among them, which each stage's name replaces.
        at_once: stages side by side.
    """
    logs, marks = places.work / "logs", places.work / "done"
    for folder in (logs, marks):
        folder.mkdir(parents=True, exist_ok=True)
    done = {name for name in STAGES if (marks / name).exists()}
    for name, recipe in STAGES.items():
        steps = places.steps or max(1, round(recipe.schedule.steps * places.pace))
        after = f" after {', '.join(recipe.needs)}" if recipe.needs else ""
        print(f"{name}: {'done already' if name in done else f'{steps} steps{after}'}", flush=True)
    running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
    while len(done) < len(STAGES):
        for name, recipe in STAGES.items():
            ready = name not in done and name not in running and done.issuperset(recipe.needs)
            if ready and len(running) < at_once:
                running[name] = _start(name, words, logs), time.monotonic()
                print(f"{name}: started, log in {logs / name}.log", flush=True)
        time.sleep(_POLL_S)
        for name, (process, started) in list(running.items()):
            if process.poll() is None:
                continue
            del running[name]
            if process.returncode:
                print(f"{name}: failed, see {logs / name}.log", file=sys.stderr)
                for other, _ in running.values():
                    other.terminate()
                return 1
            (marks / name).touch()
            done.add(name)
            print(f"{name}: done in {time.monotonic() - started:.0f} s", flush=True)
    return 0


def _start(name: str, words: Sequence[str], logs: Path) -> "subprocess.Popen[bytes]":
    own = [name if word == "all" else word for word in words]
    with (logs / f"{name}.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "training", *own], stdout=log, stderr=log)
