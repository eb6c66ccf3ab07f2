"""Command line: `python -m workbench compare IMAGE PHRASE --out DIR`, `batch`, `evaluate`, `report`, ..."""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Final

from evfsam.errors import EvfSamError
from workbench.cli import batch, compare, evaluate, report, score, video
from workbench.cli.arguments import EXIT_BAD_INPUT, EXIT_INTERRUPTED, OneLineParser

COMMANDS: Final = {
    "compare": compare,
    "batch": batch,
    "evaluate": evaluate,
    "report": report,
    "score": score,
    "video": video,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments without the program's name; by default those of the process.

    Returns:
        0; 1 where every strategy failed; 2 after one line on standard error where the input cannot be used; 3 where
        something could not be measured, as the text says; 130 after Ctrl-C.
    """
    try:
        arguments = _parser().parse_args(argv)
        logging.basicConfig(level=logging.WARNING if arguments.is_verbose else logging.CRITICAL)
        exit_code: int = COMMANDS[arguments.command].run_command(arguments)
        return exit_code
    except EvfSamError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m workbench", description="Compare ways of telling SAM in words what to segment."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar=f"{{{','.join(COMMANDS)}}}")
    for command in COMMANDS.values():
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
