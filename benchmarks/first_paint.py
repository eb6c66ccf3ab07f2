"""From opening the page to using it, in a real browser: first paint, answers seen, and a press of a button answered.

    python -m benchmarks.first_paint [--url URL] [--repeats 7]

Without `--url` it starts the page over the `mini` suite and waits until that serves: what is measured begins when a
visitor opens the page. Every repeat is a fresh visitor, with nothing in the browser's cache. "Seen" means that the
pictures of the answers that the page opens with are there, in seconds after the document's first byte. "Usable" means
that the phrase field takes text, Compare can be pressed, and the status line answers the press. The best
repeat tells what the page costs; the others tell what else the machine did.
"""

import argparse
import os
import statistics
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from playwright.sync_api import Browser, sync_playwright

from benchmarks.serving import PATIENCE_S, ServedPage, served

PORT: Final = 7998
BOUND_S: Final = 3.0
SEEN_BOUND_S: Final = 1.5
_PAINTED: Final = """
() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN
"""
_SEEN: Final = """
() => {
  const seen = performance.getEntriesByName('answers-seen')[0]?.startTime;
  return (seen ?? NaN) - performance.getEntriesByType('navigation')[0].responseStart;
}
"""
_USABLE: Final = """
() => {
  let before;
  const look = () => {
    const phrase = document.querySelector('#phrase textarea, #phrase input');
    const compare = document.querySelector('#compare');
    const status = document.querySelector('#status')?.innerText;
    if (before !== undefined && status !== before) { window.usableAt = performance.now(); return; }
    if (phrase && !phrase.disabled && compare && !compare.disabled && status) {
      before = status;
      compare.click();
    }
    setTimeout(look, 20);
  };
  look();
}
"""
"""Press as soon as there is something to press, and again until the page's status line answers."""


@dataclass(frozen=True)
class PaintTimes:
    """Seconds since the navigation began.

    Attributes:
        painted: the first text or picture is there.
        seen: the first answers are, since the document's first byte; not a number where the suite has none kept.
        usable: a press of Compare was answered on the page.
        kilobytes: that went over the wire.
        requests: that were made.
    """

    painted: float
    seen: float
    usable: float
    kilobytes: float
    requests: int


def open_once(browser: Browser, url: str) -> PaintTimes:
    """Open the page as a new visitor and wait until it answers."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(PATIENCE_S * 1000)
    page = context.new_page()
    page.add_init_script(f"addEventListener('DOMContentLoaded', {_USABLE.strip()})")
    page.goto(url, wait_until="commit")
    usable = page.wait_for_function("window.usableAt").json_value()
    painted, seen = page.evaluate(_PAINTED), page.evaluate(_SEEN)
    sizes = page.evaluate("performance.getEntriesByType('resource').map((one) => one.transferSize)")
    context.close()
    return PaintTimes(painted / 1000, seen / 1000, usable / 1000, sum(sizes) / 1000, len(sizes))


def main() -> None:
    """Print every repeat, then the best and the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a page that is already served")
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    executable = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    page = nullcontext(ServedPage(chosen.url)) if chosen.url else served(PORT)
    with page as there, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        openings = []
        for number in range(1, chosen.repeats + 1):
            load = os.getloadavg()[0]
            opening = open_once(browser, there.address)
            openings.append(opening)
            print(
                f"{number}: first paint {opening.painted:.2f} s, seen {opening.seen:.2f} s, "
                f"usable {opening.usable:.2f} s, {opening.kilobytes:.0f} kB in {opening.requests} requests, "
                f"load {load:.1f}",
                flush=True,
            )
        browser.close()
    times = {
        "first paint": [opening.painted for opening in openings],
        "seen": [opening.seen for opening in openings],
        "usable": [opening.usable for opening in openings],
    }
    for name, values in times.items():
        print(f"{name}: best {min(values):.2f} s, median {statistics.median(values):.2f} s")
    for name, bound in (("seen", SEEN_BOUND_S), ("usable", BOUND_S)):
        kept = "keeps" if min(times[name]) <= bound else "breaks"
        print(f"Bound for {name}: {bound:.1f} s; the best repeat {kept} it.")


if __name__ == "__main__":
    main()
