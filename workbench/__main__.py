"""Command line: `python -m workbench compare IMAGE PHRASE --out DIR`, `batch`, `evaluate`, `report` and `video`."""

import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from evfsam.errors import EvfSamError
from workbench.cli.parser import EXIT_BAD_INPUT, EXIT_INTERRUPTED, read_arguments
from workbench.text_fitting import visible


def main(argv: Sequence[str] | None = None, program: str = "python -m workbench", epilog: str | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments without the program's name; by default those of the process.
        program: its name in help and messages.
        epilog: below the help.

    Returns:
        0; 1 where every strategy failed; 2 after one line on standard error where the input cannot be used; 3 where
        something could not be measured, as the text says; 130 after Ctrl-C.
    """
    try:
        arguments = read_arguments(argv, program, epilog)
        logging.basicConfig(level=logging.WARNING if arguments.is_verbose else logging.CRITICAL)
        command = import_module(f"workbench.cli.{arguments.command}")  # only now: most of them import torch
        exit_code: int = command.run_command(arguments)
        return exit_code
    except EvfSamError as error:
        print(f"error: {visible(' '.join(str(error).split()))}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
