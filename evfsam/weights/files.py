"""Checkpoints on disk: weights and configuration in and out, strict about keys and shapes, plain about damage.

`python -m evfsam.weights.files export SRC DST --layout released` rewrites a checkpoint in the layout of the released
ones, `--layout ours` in this library's.
"""

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from evfsam.weight_files import (
    INDEX_NAME,
    PICKLE_NAME,
    WEIGHTS_NAME,
    has_weights,
    read_json,
    read_weights,
    save_weights,
)
from evfsam.weights.loading import check_fit

__all__ = [
    "CONFIG_NAME",
    "INDEX_NAME",
    "PICKLE_NAME",
    "WEIGHTS_NAME",
    "has_weights",
    "load_strictly",
    "read_config",
    "read_weights",
    "save_weights",
    "write_config",
]

CONFIG_NAME = "config.json"

logger = logging.getLogger(__name__)


def read_config(directory: Path) -> dict[str, object]:
    """Read `config.json` of a checkpoint directory.

    Raises:
        CheckpointError: it is missing, or not a JSON object.
    """
    return read_json(directory / CONFIG_NAME)


def write_config(directory: Path, values: Mapping[str, object]) -> None:
    """Write `config.json`, making the directory if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG_NAME).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_strictly(module: nn.Module, tensors: Mapping[str, torch.Tensor], origin: str) -> None:
    """Copy weights into a module; every key and shape must fit, and every value is converted to the module's type.

    Args:
        module: takes the weights.
        tensors: its whole state dict.
        origin: where they come from, for messages.

    Raises:
        CheckpointError: keys are missing or unexpected, or shapes differ; names them.
    """
    check_fit(module, tensors, origin)
    module.load_state_dict(dict(tensors))
    logger.debug("loaded %d tensors from %s", len(tensors), origin)


if __name__ == "__main__":
    from evfsam.model.export import main

    sys.exit(main())
