"""Adapters of SAM4MLLM as released: they name the modules of the original LLaVA-NeXT, which transformers renamed."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from evfsam.errors import CheckpointError

_CONFIG: Final = "adapter_config.json"
_WEIGHTS: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."
_RENAMED: Final = (
    (re.compile(r"^model\.(layers|norm|embed_tokens)\b"), r"model.language_model.\1"),
    (re.compile(r"^model\.mm_projector\.0\b"), "model.multi_modal_projector.linear_1"),
    (re.compile(r"^model\.mm_projector\.2\b"), "model.multi_modal_projector.linear_2"),
)
_NAMED_IN_CONFIG: Final = ("target_modules", "modules_to_save")


@contextmanager
def with_todays_names(adapter: Path) -> Iterator[Path]:
    """Give an adapter whose keys and targets name the model's modules as transformers does; a copy where they did not.

    Args:
        adapter: directory of `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        CheckpointError: it targets modules of the original LLaVA-NeXT by the ends of their names, which fit modules of
            its vision tower too, or its files cannot be read.
    """
    if not (adapter / _CONFIG).is_file() or not (adapter / _WEIGHTS).is_file():
        yield adapter  # the loader says what is missing
        return
    try:
        config = json.loads((adapter / _CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"a {type(config).__name__} in {_CONFIG}")
        weights = load_file(adapter / _WEIGHTS)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise CheckpointError("expected a peft adapter in {place}, got: {error}", place=adapter, error=error) from error
    renamed = {_PREFIX + todays_name(key.removeprefix(_PREFIX)): tensor for key, tensor in weights.items()}
    if renamed.keys() == weights.keys():
        yield adapter
        return
    for field in _NAMED_IN_CONFIG:
        if isinstance(config.get(field), list):
            config[field] = [todays_name(name) for name in config[field]]
    targets = config.get("target_modules")  # peft takes one pattern for all of them too
    ends = [name for name in (targets if isinstance(targets, list) else [str(targets)]) if "." not in name]
    if ends:
        raise CheckpointError(
            "expected an adapter that names its modules in full, such as model.layers.0.self_attn.q_proj, got "
            "{modules} in {adapter}; write the full names into {config}",
            modules=", ".join(ends[:3]),
            adapter=adapter,
            config=_CONFIG,
        )
    with TemporaryDirectory(prefix="adapter-") as folder:
        (Path(folder) / _CONFIG).write_text(json.dumps(config), encoding="utf-8")
        save_file(renamed, Path(folder) / _WEIGHTS, metadata={"format": "pt"})
        yield Path(folder)


def todays_name(name: str) -> str:
    """Return what transformers calls a module of the original LLaVA-NeXT; other names as they are."""
    for pattern, new in _RENAMED:
        name = pattern.sub(new, name)
    return name
