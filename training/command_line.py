"""What the command lines of training share."""

import argparse


class DefaultsShown(argparse.ArgumentDefaultsHelpFormatter):
    """Puts the default behind the help of every option that has one; None and False say nothing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_silent = action.default is None or action.default is False
        return action.help if is_silent else super()._get_help_string(action)


def positive(text: str) -> int:
    """Read a whole number of at least 1.

    Raises:
        ArgumentTypeError: it is something else.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return int(text)
