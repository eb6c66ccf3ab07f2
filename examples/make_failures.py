"""Ask the mini suite what the gallery of failures and the page's first view show, and keep its answers.

`python -m examples.make_failures`, to be run again whenever the weights in `checkpoints/mini` change; it takes seconds.
"""

import argparse
from pathlib import Path

from workbench.comparison import Comparison
from workbench.failures.gallery import FAILURES, make_failures
from workbench.kept_run import keep_run
from workbench.suites.registry import MINI


def main() -> None:
    """Write failures.json and its pictures, and the answers that the page opens with."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FAILURES, help="folder of the gallery; its parent has the examples")
    gallery = parser.parse_args().out
    comparison = Comparison(MINI)
    make_failures(comparison, gallery)
    keep_run(comparison, gallery.parent)


if __name__ == "__main__":
    main()
