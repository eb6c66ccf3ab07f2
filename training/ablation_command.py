"""`python -m training ablations`: train and measure what is missing, keep one line a run, and lay them all out."""

import json
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from evfsam.errors import EvfSamError
from training.ablations import ASKED_ROWS, TRAINED_ROWS, run_asked, run_trained
from training.command_line import DefaultsShown
from training.recipes import Places
from workbench.cli.parser import OneLineParser
from workbench.reporting.ablation_figure import draw_ablations
from workbench.reporting.ablation_tables import FIGURES, ablations_markdown, read_figures


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    rows = (*TRAINED_ROWS, *ASKED_ROWS)
    parser = OneLineParser(
        formatter_class=DefaultsShown,
        prog="python -m training ablations",
        description="The papers' ablations in miniature, as tables in Markdown. Runs whose figures are at hand are not "
        "made again: on a clean checkout this only lays out the figures that come with it.",
    )
    parser.add_argument("--rows", nargs="+", choices=rows, default=rows, metavar="ROW", help=f"of {', '.join(rows)}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of weights and batches, a run each")
    parser.add_argument("--work", type=Path, default=Path("training-cache"), help="pre-trained encoders")
    parser.add_argument("--suite", type=Path, default=Path("checkpoints/mini"), help="the finished suite")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="one JSON object a run")
    parser.add_argument("--picture", type=Path, help="also draw the tables: SVG, PDF or PNG")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw scenes")
    parser.add_argument("--steps", type=int, help="optimiser steps instead of the recipe's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to train")
    parser.add_argument("--threads", type=int, help="CPU threads")
    try:
        options = parser.parse_args(arguments)
        if options.threads:
            torch.set_num_threads(options.threads)
        device = torch.device(options.device)
        places = Places(options.work, options.suite, steps=options.steps, device=device, workers=options.workers)
        done = {(run.row, run.seed) for run in read_figures(options.figures)}
        wanted = [(row, seed) for seed in options.seeds for row in options.rows if (row, seed) not in done]
        for row, seed in tqdm(wanted, desc="ablations", disable=not wanted):
            figures = (run_trained if row in TRAINED_ROWS else run_asked)(places, row, seed)
            with options.figures.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(figures) + "\n")
        runs = read_figures(options.figures)
        print(ablations_markdown(runs), end="")
        if options.picture is not None:
            draw_ablations(runs, options.picture)
    except EvfSamError as err:
        print(f"training ablations: {err}", file=sys.stderr)
        return 2
    return 0
