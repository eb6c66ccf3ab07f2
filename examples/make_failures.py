"""Ask the mini suite what the gallery of failures shows, and keep its answers: `python -m examples.make_failures`.

To be run again whenever the weights in `checkpoints/mini` change; it takes seconds.
"""

import argparse
from pathlib import Path

from workbench.comparison import Comparison
from workbench.failures.gallery import FAILURES, make_failures
from workbench.suites.registry import MINI


def main() -> None:
    """Write failures.json and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FAILURES, help="folder to write to")
    make_failures(Comparison(MINI), parser.parse_args().out)


if __name__ == "__main__":
    main()
