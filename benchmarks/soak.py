"""Many strangers for a while: whose answers are they, what does the server refuse, and where does its memory end.

    python -m benchmarks.soak [--clients 6] [--minutes 20]

It starts the page over the `mini` suite on loopback. Each client sends pictures of its own width and phrases of its own
number, and looks for both in every answer; some send what cannot be used. Resident memory is that of the server's
process, every 15 seconds. The exit code is 1 where an answer was mixed up, where a status was 500, where a 503 did not
say when to come again, or where memory grew by more than 100 MB after the first five minutes: by the medians of the two
minutes that follow and of the last two, since one reading moves by as much with the questions just under way.
"""

import argparse
import base64
import json
import random
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.error import HTTPError

import numpy as np

from benchmarks.serving import served
from workbench.export.results import png_bytes

PORT: Final = 7997
LARGEST_GROWTH_MB: Final = 100
SETTLED_S: Final = 300.0
"""Weights are read by then, and what is kept for visitors begins to fill."""
_WINDOW_S: Final = 120.0
_EVERY_S: Final = 15.0
_PATIENCE_S: Final = 300
_PAUSE_S: Final = (0.2, 0.8)
_UNUSABLE: Final = (
    b"[[[",
    b'{"self": 1}',
    b'{"phrase": NaN}',
    b'{"image": "data:image/png;base64,aGVsbG8=", "phrase": "x"}',
)
_KINDS: Final = ("segment", "segment", "compare_strategies", "explain_attention", "draw_scene", "unusable")
_STRATEGIES: Final = ("evf-sam", "clip-text", "point-query")


@dataclass
class SoakTally:
    """What all clients met.

    Attributes:
        statuses: answers by status.
        mixed: a sentence for each answer that belongs to another question.
        lost: a sentence for each question that got no answer.
        without_retry: answers of status 503 that did not say when to come again.
        resident_mb: (seconds since the start, MB of resident memory), in order.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    mixed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    without_retry: int = 0
    resident_mb: list[tuple[float, float]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, status: int, headers: Mapping[str, str], fault: str) -> None:
        """Count one answer; `fault` says what in it is another's, and is empty where nothing is."""
        with self._lock:
            self.statuses[status] += 1
            self.without_retry += status == 503 and not headers.get("Retry-After")
            self.mixed += [fault] * bool(fault)

    def lose(self, reason: str) -> None:
        """Count a question without an answer."""
        with self._lock:
            self.lost.append(reason)

    def growth_mb(self) -> float:
        """MB by which the last two minutes are above the two after the first five; 0 where it ended before."""
        settled = [(at, megabytes) for at, megabytes in self.resident_mb if at >= SETTLED_S]
        if not settled:
            return 0.0
        first, last = settled[0][0], settled[-1][0]
        before = median(megabytes for at, megabytes in settled if at <= first + _WINDOW_S)
        return median(megabytes for at, megabytes in settled if at >= last - _WINDOW_S) - before

    def is_good(self) -> bool:
        """Return whether nothing was mixed up or lost, nothing failed, and memory stayed within its bound."""
        is_right = not self.mixed and not self.lost and not self.without_retry and not self.statuses[500]
        return is_right and self.growth_mb() <= LARGEST_GROWTH_MB


@dataclass(frozen=True)
class SoakQuestion:
    """One question of a client.

    Attributes:
        kind: the endpoint, or "unusable".
        body: JSON.
        size: (H, W) of the picture.
        phrase: asked of it.
    """

    kind: str
    body: bytes
    size: tuple[int, int]
    phrase: str

    def fault(self, answer: Mapping[str, Any]) -> str:
        """Say what in an answer belongs to another question; empty where nothing does."""
        if self.kind == "draw_scene":
            seed = json.loads(self.body)["seed"]
            return "" if answer["seed"] == seed else f"scene {answer['seed']} for {seed}"
        parts = answer["answers"] if self.kind == "compare_strategies" else [answer]
        sizes = [part["mask_rle"]["size"] for part in parts if "mask_rle" in part]
        sizes += [answer["image_size"]] if "image_size" in answer else []
        if any(tuple(size) != self.size for size in sizes) or any(part["phrase"] != self.phrase for part in parts):
            return f"{sizes} and {[part['phrase'] for part in parts]} for {self.size} and {self.phrase!r}"
        return ""


def draw_question(client: int, number: int, rng: random.Random) -> SoakQuestion:
    """Draw a client's next question; width and phrase are the client's own.

    Args:
        client: from 0.
        number: of the question, from 0.
        rng: the client's own.
    """
    kind, size = rng.choice(_KINDS), (rng.randrange(96, 400), 128 + client)
    phrase = f"the {rng.choice(('red square', 'blue penguin', 'bus'))}, {number} of {client}"
    if kind == "unusable":
        return SoakQuestion(kind, rng.choice(_UNUSABLE), size, phrase)
    if kind == "draw_scene":
        return SoakQuestion(kind, json.dumps({"seed": rng.randrange(10**6)}).encode(), size, phrase)
    picture = np.random.default_rng((client, number)).integers(100, 140, (*size, 3), dtype=np.uint8)
    picture[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 200, 40, 40
    image = "data:image/png;base64," + base64.b64encode(png_bytes(picture)).decode()
    asked = {"image": image, "phrase": phrase}
    if kind == "segment":
        asked["strategy"] = rng.choice(_STRATEGIES)
    return SoakQuestion(kind, json.dumps(asked).encode(), size, phrase)


def ask_until(address: str, client: int, ends: float, tally: SoakTally) -> None:
    """Ask one question after the other until the clock is there.

    Args:
        address: of the page.
        client: from 0.
        ends: as `time.monotonic` counts.
        tally: counts the answers.
    """
    rng, number = random.Random(client), 0
    while time.monotonic() < ends:
        question = draw_question(client, number, rng)
        path = "segment" if question.kind == "unusable" else question.kind
        headers = {"Content-Type": "application/json"}
        try:
            request = urllib.request.Request(f"{address}programs/{path}", question.body, headers)
            with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
                tally.count(answer.status, answer.headers, question.fault(json.load(answer)))
        except HTTPError as error:
            tally.count(error.code, error.headers, "")
            error.close()
        except (OSError, HTTPException) as error:
            tally.lose(f"{question.kind}: {error}")
        number += 1
        time.sleep(rng.uniform(*_PAUSE_S))


def resident_mb(process: int) -> float:
    """MB of memory that a process holds resident, as Linux counts it.

    Raises:
        ProcessLookupError: it has ended.
    """
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    held = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    if not held:
        raise ProcessLookupError(f"expected process {process} to serve the page, found that it has ended")
    return held[0] * 1024 / 1e6


def soak(address: str, process: int, clients: int, seconds: float, every: float = _EVERY_S) -> SoakTally:
    """Let clients ask a page for a while, and watch its memory.

    Args:
        address: of the page.
        process: that serves it.
        clients: that ask side by side.
        seconds: after which none asks anew.
        every: seconds between two looks at the memory.
    """
    tally, began = SoakTally(), time.monotonic()
    threads = [_client(address, n, began + seconds, tally) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            _look(tally, began, process)
            thread.join(every)
    _look(tally, began, process)
    return tally


def _client(address: str, number: int, ends: float, tally: SoakTally) -> threading.Thread:
    return threading.Thread(target=ask_until, args=(address, number, ends, tally), daemon=True)


def _look(tally: SoakTally, began: float, process: int) -> None:
    at, megabytes = time.monotonic() - began, resident_mb(process)
    tally.resident_mb.append((at, megabytes))
    print(f"{at:5.0f} s: {megabytes:.0f} MB, {sum(tally.statuses.values())} answers", flush=True)


def main() -> int:
    """Print what the clients met and where the memory stood; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=20.0)
    chosen = parser.parse_args()
    with served(PORT) as page:
        assert page.process is not None
        tally = soak(page.address, page.process, chosen.clients, chosen.minutes * 60)
    statuses = ", ".join(f"{count} of status {status}" for status, count in sorted(tally.statuses.items()))
    print(f"{chosen.clients} clients, {chosen.minutes:g} minutes: {statuses}")
    for words, faults in (("mixed up", tally.mixed), ("lost", tally.lost)):
        print(f"{len(faults)} {words}", *faults[:3], sep="\n  ")
    print(f"{tally.without_retry} of status 503 did not say when to come again")
    (_, first), (_, last) = tally.resident_mb[0], tally.resident_mb[-1]
    print(f"memory: {first:.0f} MB at the start, {last:.0f} at the end, {tally.growth_mb():+.0f} since five minutes")
    return 0 if tally.is_good() else 1


if __name__ == "__main__":
    sys.exit(main())
