"""Train a stage of the mini suite, fetch its pictures (`data`), the papers' ablations, or on real data (`res`)."""

import argparse
import sys
from pathlib import Path

import torch

from evfsam.errors import EvfSamError
from training.recipes import STAGES, Places


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["res"]:
        from training.res_command import main as train_on_real_data  # needs packages that the mini suite does not

        return train_on_real_data(words[1:])
    if words[:1] == ["data"]:
        from training.data_command import main as make_pictures  # needs packages that the mini suite does not

        return make_pictures(words[1:])
    if words[:1] == ["ablations"]:
        from training.ablation_command import main as train_ablations

        return train_ablations(words[1:])
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train the mini suite, stage by stage. Besides: `python -m training data --help` for the pictures, "
        "`python -m training ablations --help` for the papers' ablations in miniature, `python -m training res --help` "
        "for real data.",
    )
    parser.add_argument("stage", choices=[*STAGES, "all"], help="what to train; goes on where a killed run stopped")
    parser.add_argument("--work", type=Path, default=Path("training-cache"), help="drawn scenes and unfinished stages")
    parser.add_argument("--out", type=Path, default=Path("checkpoints/mini"), help="the finished suite")
    parser.add_argument("--scenes", type=int, default=30000, help="scenes to train on")
    parser.add_argument("--steps", type=int, help="optimiser steps instead of the recipe's")
    parser.add_argument("--seed", type=int, help="of weights and batches, instead of the recipe's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; one is fastest where two stages run side by side")
    options = parser.parse_args(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    places = Places(options.work, options.out, options.scenes, steps=options.steps, seed=options.seed, device=device)
    try:
        for name in STAGES if options.stage == "all" else [options.stage]:
            torch.manual_seed(options.seed or 0)
            STAGES[name](places)
    except EvfSamError as err:
        print(f"training: {err}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
