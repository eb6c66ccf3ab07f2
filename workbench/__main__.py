"""Command line: `python -m workbench compare IMAGE PHRASE --out DIR`; the other commands: `workbench.cli.parser`."""

import gc
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Final

from evfsam.errors import EvfSamError
from workbench.cli.parser import EXIT_BAD_INPUT, EXIT_INTERRUPTED, read_arguments
from workbench.text_fitting import visible

_OBJECTS_BETWEEN: Final = 50_000
"""New objects between two collections of Python's garbage; the usual 700 suit small programs."""


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
        with _seldom_collecting():
            command = import_module(f"workbench.cli.{arguments.command}")  # only now: most of them import torch
            exit_code: int = command.run_command(arguments)
            return exit_code
    except EvfSamError as error:
        print(f"error: {visible(' '.join(str(error).split()))}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Look for garbage seldom: torch and transformers make a million objects that stay, and each search reads them all.

    A seventh of the processor time of a cold `compare` went into that.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BETWEEN, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


if __name__ == "__main__":
    sys.exit(main())
