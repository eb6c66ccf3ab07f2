"""Weights on disk: safetensors in and out, strict about keys and shapes, plain about damage.

A safetensors file holds numbers and names, nothing that could run. Pickled weights are not read.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from evfsam.errors import CheckpointError

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
CONFIG_NAME = "config.json"

_SHOWN_KEYS = 5
logger = logging.getLogger(__name__)


def save_weights(
    directory: Path, tensors: Mapping[str, torch.Tensor], storage_dtype: torch.dtype | None = None
) -> Path:
    """Write `model.safetensors`, replacing an older one only once the new one is whole.

    Args:
        directory: made if missing.
        tensors: names to tensors; storage shared between names is written twice.
        storage_dtype: type that floating-point tensors are stored in; None keeps their own.

    Returns:
        The file's path.

    Raises:
        CheckpointError: a value is not finite, or overflows `storage_dtype`.
    """
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu()
        if value.is_floating_point():
            value = value.to(storage_dtype or value.dtype)
            if not torch.isfinite(value).all():
                raise CheckpointError(f"expected finite weights, but {name!r} is not in {value.dtype}; do not save it")
        stored[name] = value.clone(memory_format=torch.contiguous_format)
    directory.mkdir(parents=True, exist_ok=True)
    path, partial = directory / WEIGHTS_NAME, directory / f"{WEIGHTS_NAME}.partial"
    save_file(stored, partial, metadata={"format": "pt"})
    partial.replace(path)
    return path


def read_weights(directory: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a checkpoint directory, in one file or in the shards that an index names.

    Raises:
        CheckpointError: no weights, a missing shard, or a damaged file.
    """
    whole, index = directory / WEIGHTS_NAME, directory / INDEX_NAME
    if whole.is_file():
        return _read_file(whole)
    if index.is_file():
        tensors: dict[str, torch.Tensor] = {}
        for name in _shard_names(index):
            tensors |= _read_file(directory / name)
        return tensors
    raise CheckpointError(f"expected {WEIGHTS_NAME} in {directory}, found none; check the path or download it again")


def read_config(directory: Path) -> dict[str, object]:
    """Read `config.json` of a checkpoint directory.

    Raises:
        CheckpointError: it is missing, or not a JSON object.
    """
    return _read_json(directory / CONFIG_NAME)


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
    expected = module.state_dict()
    problems = [
        _listed("missing", sorted(set(expected) - set(tensors))),
        _listed("unexpected", sorted(set(tensors) - set(expected))),
        _listed(
            "mis-shaped",
            [
                f"{name} (expected {tuple(expected[name].shape)}, got {tuple(tensors[name].shape)})"
                for name in sorted(set(expected) & set(tensors))
                if expected[name].shape != tensors[name].shape
            ],
        ),
    ]
    found = "; ".join(problem for problem in problems if problem)
    if found:
        raise CheckpointError(
            f"{origin} does not fit its configuration: {found}. Use weights saved with this configuration"
        )
    module.load_state_dict(dict(tensors))
    logger.debug("loaded %d tensors from %s", len(tensors), origin)


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN_KEYS} more" if len(names) > _SHOWN_KEYS else ""
    return f"{len(names)} {what}: {', '.join(names[:_SHOWN_KEYS])}{more}"


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as err:
        raise CheckpointError(f"{path} is damaged, cut short or missing ({err}); download or save it again") from err


def _shard_names(index: Path) -> Iterable[str]:
    entries = _read_json(index).get("weight_map")
    names = set(entries.values()) if isinstance(entries, dict) else set()
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise CheckpointError(f"{index} does not map weights to files beside it; download it again")
    return sorted(names)


def _read_json(path: Path) -> dict[str, object]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise CheckpointError(f"expected {path.name} in {path.parent}, found none; check the path") from err
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as err:
        raise CheckpointError(f"{path} cannot be read as JSON ({err}); restore the file") from err
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a {type(values).__name__}, expected a JSON object; restore the file")
    return values
