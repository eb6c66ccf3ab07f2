"""The command `sam-workbench`: `app` opens the page, everything else is `python -m workbench`."""

import sys
from collections.abc import Sequence

from workbench.__main__ import main as run_workbench

NAME = "sam-workbench"
APP = "app"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: arguments without the program's name; by default those of the process.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == [APP]:
        from webui.launch import serve  # only now: Gradio takes seconds

        return serve(words[1:], f"{NAME} {APP}")
    return run_workbench(words, NAME, f"{NAME} {APP} opens the page; see {NAME} {APP} --help")


if __name__ == "__main__":
    sys.exit(main())
