"""How long a visitor waits: `python -m benchmarks.comparison [--out FILE.json]`.

Measures in one run, on this machine: `python app.py` until it serves; then, with the weights read as the app reads them
at its start, the first result, all results and a second phrase on one 640x480 image, and the same on further images.
Figures are wall-clock seconds; ratios are between figures of the same run.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.measurements import chosen_device
from evfsam.types import RgbImage
from workbench.comparison import Comparison
from workbench.datasets.scenes import Scene, scene, split_seeds
from workbench.names import DEVICE_NAMES
from workbench.suites.registry import SUITES, Suite, find_suite

ROOT: Final = Path(__file__).resolve().parent.parent
WIDTH: Final = 640
HEIGHT: Final = 480
SERVING_LIMIT_S: Final = 120.0
"""Give up on an app that does not serve after this long."""


@dataclass(frozen=True)
class WaitBounds:
    """What two cores should do, in seconds; a second phrase gets half the time of a first."""

    serving_s: float = 25.0
    first_result_s: float = 3.0
    all_results_s: float = 6.0
    second_phrase_s: float = 3.0


@dataclass(frozen=True)
class PhraseTiming:
    """One comparison.

    Attributes:
        phrase: what was asked.
        first_result_s, all_results_s: until the first and the last strategy answered.
        seconds: of each strategy.
        verdicts: of each strategy.
        cached: whether each strategy found the image's embedding at hand.
    """

    phrase: str
    first_result_s: float
    all_results_s: float
    seconds: dict[str, float]
    verdicts: dict[str, str]
    cached: dict[str, bool]


def wide_image(drawn: Scene) -> RgbImage:
    """(480, 640, 3): the square scene of 480 pixels in the middle, its edge columns repeated at both sides."""
    margin = (WIDTH - HEIGHT) // 2
    return np.pad(drawn.image, ((0, 0), (margin, margin), (0, 0)), mode="edge")


def two_phrases(drawn: Scene) -> tuple[str, str]:
    """Return two phrases that mean something in the scene."""
    present = [expression.text for expression in drawn.expressions if expression.kind != "absent"]
    return present[0], present[-1]


def time_phrase(comparison: Comparison, image: RgbImage, phrase: str) -> PhraseTiming:
    """Ask all strategies and note when each answers."""
    started = time.perf_counter()
    arrivals: list[float] = []
    results = []
    for result in comparison.run(image, phrase):
        arrivals.append(time.perf_counter() - started)
        results.append(result)
    return PhraseTiming(
        phrase=phrase,
        first_result_s=arrivals[0],
        all_results_s=arrivals[-1],
        seconds={result.key: result.seconds for result in results},
        verdicts={result.key: result.segmentation.verdict.kind for result in results},
        cached={result.key: result.segmentation.embedding_was_cached for result in results},
    )


def time_weights(comparison: Comparison) -> dict[str, float]:
    """Read the weights of every strategy; seconds of each."""
    seconds = {}
    for key in comparison.keys:
        started = time.perf_counter()
        comparison.strategy(key)
        seconds[key] = time.perf_counter() - started
    return seconds


@dataclass(frozen=True)
class Served:
    """An app that answers.

    Attributes:
        address: of the page.
        seconds: from its start until it answered a request.
    """

    address: str
    seconds: float


@contextmanager
def served_app(suite_key: str, device: str) -> Iterator[Served]:
    """Start `python app.py` on a free port of this machine, until it answers a request.

    Raises:
        RuntimeError: it ended, or did not answer in time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "app.py", "--suite", suite_key, "--device", device, "--port", str(port)]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}/"
        yield Served(address, _seconds_until_answered(process, opener, address, started))
    finally:
        process.terminate()
        process.wait()


def _seconds_until_answered(
    process: subprocess.Popen[bytes], opener: urllib.request.OpenerDirector, url: str, started: float
) -> float:
    while time.perf_counter() - started < SERVING_LIMIT_S:
        if process.poll() is not None:
            raise RuntimeError(f"app.py ended with exit code {process.returncode}; start it by hand to see why")
        try:
            with opener.open(url, timeout=SERVING_LIMIT_S):
                return time.perf_counter() - started
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise RuntimeError(f"app.py did not answer within {SERVING_LIMIT_S:.0f} s; start it by hand to see why")


def missing_weights(suite: Suite) -> list[Path]:
    """Return the directories that the suite needs and that are not there."""
    return [entry.directory for entry in suite.strategies.values() if not entry.directory.is_dir()]


def measure(suite_key: str, device: torch.device, image_count: int) -> dict[str, Any]:
    """Take all measurements; JSON values."""
    with served_app(suite_key, device.type) as served:
        serving_s = served.seconds
    comparison = Comparison(find_suite(suite_key), device)
    weights = time_weights(comparison)
    timings = []
    for seed in split_seeds("val")[1000 : 1000 + image_count]:
        drawn = scene(seed, HEIGHT, is_plain=True)
        image = wide_image(drawn)
        timings.append([asdict(time_phrase(comparison, image, phrase)) for phrase in two_phrases(drawn)])
    return {
        "machine": {
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "device": device.type,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "image": {"width": WIDTH, "height": HEIGHT, "count": image_count},
        "serving_s": serving_s,
        "weights_s": weights,
        "images": timings,
    }


def report(measured: Mapping[str, Any], bounds: WaitBounds) -> list[str]:
    """Put the figures into lines for people."""
    machine, images = measured["machine"], measured["images"]
    first, second = images[0]
    median_first = statistics.median(pair[0]["all_results_s"] for pair in images)
    median_second = statistics.median(pair[1]["all_results_s"] for pair in images)
    rows = [
        ("app.py until it serves", measured["serving_s"], bounds.serving_s, "s"),
        ("first image: first result", first["first_result_s"], bounds.first_result_s, "s"),
        ("first image: all results", first["all_results_s"], bounds.all_results_s, "s"),
        ("first image: second phrase, all results", second["all_results_s"], bounds.second_phrase_s, "s"),
        (f"median of {len(images)} images: all results", median_first, None, "s"),
        (f"median of {len(images)} images: second phrase", median_second, None, "s"),
        ("  second phrase / first phrase", median_second / median_first, None, ""),
    ]
    lines = [
        f"{machine['cores']} cores, {machine['torch_threads']} torch threads, device {machine['device']}, "
        f"Python {machine['python']}, torch {machine['torch']}; image {WIDTH}x{HEIGHT}",
        "",
        f"{'':<42} {'measured':>10}  {'bound':>8}",
    ]
    for title, value, bound, unit in rows:
        verdict = "" if bound is None else f"{bound:>8.2f}  {'within' if value <= bound else 'OVER'}"
        lines.append(f"{title:<42} {value:>8.2f} {unit:<2} {verdict}".rstrip())
    lines.append("")
    for key, seconds in measured["weights_s"].items():
        once, again = first["seconds"][key], second["seconds"][key]
        verdicts = f"{first['verdicts'][key]}, {second['verdicts'][key]}"
        lines.append(f"{key:<12} weights {seconds:5.2f} s, phrases {once:5.2f} s and {again:5.2f} s ({verdicts})")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 2 where weights are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=list(SUITES), default="mini")
    parser.add_argument("--device", choices=DEVICE_NAMES, default="cpu")
    parser.add_argument("--images", type=int, default=5, help="images in all (default: 5)")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    chosen = parser.parse_args(arguments)
    device = chosen_device(parser, chosen.device)
    missing = missing_weights(find_suite(chosen.suite))
    if missing:
        names = ", ".join(str(path.relative_to(ROOT)) for path in missing)
        print(f"cannot measure suite {chosen.suite}: no weights in {names}", file=sys.stderr)
        return 2
    measured = measure(chosen.suite, device, max(1, chosen.images))
    if chosen.out:
        chosen.out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    print("\n".join(report(measured, WaitBounds())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
