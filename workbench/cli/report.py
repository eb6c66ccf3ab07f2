"""`python -m workbench report`: lay out what `evaluate` wrote, shards brought together."""

import argparse
import sys

from workbench.cli.parser import EXIT_FAULTS
from workbench.evaluation.merging import merged_runs
from workbench.reporting.markdown import report_markdown
from workbench.reporting.page import write_report
from workbench.text_fitting import visible, visible_lines


def run_command(arguments: argparse.Namespace) -> int:
    """Print the report, write its files if asked to, and return the exit code."""
    runs = merged_runs(arguments.files)
    print(visible_lines(report_markdown(runs)), end="")
    if arguments.out is not None:
        for path in write_report(arguments.out, runs):
            print(f"wrote {visible(str(path))}", file=sys.stderr)
    is_sound = all(not run.notes and all(score.is_sound for score in run.scores.values()) for run in runs)
    return 0 if is_sound else EXIT_FAULTS
