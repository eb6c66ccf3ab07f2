"""Command line of the library: `python -m evfsam export SRC DST --layout released` (or `ours`)."""

import argparse
import sys
from collections.abc import Sequence
from typing import get_args

from evfsam.errors import EvfSamError
from evfsam.model.export import WeightLayout, export_checkpoint


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when the checkpoint is written, 1 with a plain reason when it is not."""
    parser = argparse.ArgumentParser(prog="python -m evfsam", description="Rewrite EVF-SAM checkpoints.")
    export = parser.add_subparsers(dest="command", required=True).add_parser(
        "export", help="write a checkpoint in another layout, bit for bit"
    )
    export.add_argument("source", metavar="SRC", help="directory or Hub id")
    export.add_argument("destination", metavar="DST", help="directory to write")
    export.add_argument("--layout", required=True, choices=get_args(WeightLayout), help="of the copy")
    export.add_argument("--revision", help="branch, tag or commit of a Hub id")
    given = parser.parse_args(arguments)
    try:
        written = export_checkpoint(given.source, given.destination, given.layout, revision=given.revision)
    except (EvfSamError, OSError) as err:
        sys.stderr.write(f"error: {err}\n")
        return 1
    sys.stdout.write(f"wrote {written} in the layout {given.layout!r}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
