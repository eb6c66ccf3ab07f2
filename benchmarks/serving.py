"""The page over the `mini` suite in a process of its own, as `python app.py` serves it."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import URLError

ROOT: Final = Path(__file__).resolve().parent.parent
PATIENCE_S: Final = 240


@dataclass(frozen=True)
class ServedPage:
    """A page that answers.

    Attributes:
        address: with a slash at its end.
        process: its number on this machine; None for a page that somebody else started.
    """

    address: str
    process: int | None = None


@contextmanager
def served(port: int) -> Iterator[ServedPage]:
    """Start the page, wait until it answers, and end it at the end.

    Raises:
        TimeoutError: it did not answer in time.
    """
    command = [sys.executable, "app.py", "--port", str(port)]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}/"
        _wait_for(address)
        yield ServedPage(address, started.pid)
    finally:
        if started.poll() is not None:
            print(f"the page ended by itself, with exit code {started.returncode}", file=sys.stderr)
        started.terminate()
        started.wait()


def _wait_for(address: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(address, timeout=2).close()
        except (URLError, OSError):
            time.sleep(0.3)
        else:
            return
    raise TimeoutError(
        f"expected the page at {address} within {PATIENCE_S} s; start app.py by hand to see what it says"
    )
