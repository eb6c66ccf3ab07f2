"""The layout of the released checkpoints: sizes as two scale words in `config.json`, the family in the weights' keys.

Our layout holds the same weights under the same names, and spells every size out. `auto_map`, which names code in a
checkpoint, is ignored in both.
"""

import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from evfsam.errors import CheckpointError
from evfsam.sam.families import FAMILIES, Family
from evfsam.weights.checkpoint_files import CONFIG_NAME, has_weights, read_config, read_weights

RELEASED_FIELDS: Final = (
    *("architectures", "bos_token_id", "eos_token_id", "hidden_size", "mm_extractor_scale", "model_type", "out_dim"),
    *("pad_token_id", "sam_scale", "tie_word_embeddings", "torch_dtype", "dtype", "transformers_version"),
    "_name_or_path",
)

_STORAGE_FIELDS = ("torch_dtype", "dtype")
_CODE_FIELD = "auto_map"
_SCALE_FIELDS = ("mm_extractor_scale", "sam_scale")
_OUR_FIELDS = frozenset({"beit3", "sam", "vilt", "clip", "encoder", "family"})
_PARTS = ("visual_model.", "mm_extractor.", "text_hidden_fcs.")

_OLD_NAME = re.compile(r"visual_model\.memory_encoder\.fuser\.layers\.\d+\.gamma")

logger = logging.getLogger(__name__)


def weights_family(names: Collection[str], origin: str) -> Family | None:
    """Tell the family from the weights' keys; None where they are too damaged to say.

    Args:
        names: all keys.
        origin: where they come from, for messages.

    Raises:
        CheckpointError: these are no weights of an EVF-SAM.
    """
    if not any(name.startswith(_PARTS) for name in names):
        beginnings = sorted({name.split(".")[0][:40] for name in names})[:5]
        raise CheckpointError(
            "{origin} holds no EVF-SAM: expected keys that begin with {parts} got {count} that begin with "
            "{beginnings}; check the path",
            origin=origin,
            parts=", ".join(_PARTS),
            count=len(names),
            beginnings=", ".join(beginnings) or "nothing",
        )
    found = [family for family in FAMILIES.values() if any(name.startswith(family.mark) for name in names)]
    return found[0] if len(found) == 1 else None


def known_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a `config.json` that `EvfSamConfig` takes: in the released layout some carry no size.

    How the weights are stored says nothing of the type they are loaded in, and code that a checkpoint names is not run.
    """
    if _OUR_FIELDS & set(values):
        return {name: value for name, value in values.items() if name != _CODE_FIELD}
    return {name: value for name, value in values.items() if name in RELEASED_FIELDS and name not in _STORAGE_FIELDS}


def check_family(expected: Family, names: Collection[str], origin: str) -> None:
    """Check that weights are of the family that a configuration names, before their keys are compared one by one.

    Raises:
        CheckpointError: they are of another one, or of none.
    """
    family = weights_family(names, origin)
    if family is not None and family.model_type != expected.model_type:
        raise CheckpointError(
            "{origin}: {file} describes an {title} (family {model_type!r}), but the weights are of an "
            "{found} ({found_type!r}); take both from the same checkpoint",
            origin=origin,
            file=CONFIG_NAME,
            title=expected.title,
            model_type=expected.model_type,
            found=family.title,
            found_type=family.model_type,
        )


def read_model_weights(directory: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint's weights under the names in use, as `read_weights` does.

    SAM-2's memory encoder has a scale called gamma, which transformers' loader takes for an old name of "weight"; the
    authors renamed it for that, and files saved before still hold the first name.
    """
    tensors = read_weights(directory)
    for name in [name for name in tensors if _OLD_NAME.fullmatch(name)]:
        tensors.setdefault(f"{name.removesuffix('gamma')}weight", tensors.pop(name))
    return tensors


def configuration_values(directory: Path) -> dict[str, Any]:
    """Read `config.json` of either layout as arguments of `EvfSamConfig`.

    In the released layout fields that carry no size are left out, and the family comes from the weights where they
    lie beside it: all three families share one model type and the scale "tiny".

    Raises:
        CheckpointError: the file is missing or damaged, is another model's, or gives no sizes.
    """
    values: dict[str, Any] = read_config(directory)
    if values.get("model_type") != "evf":
        raise CheckpointError(
            "expected an EVF-SAM (model_type 'evf') in {directory}, got {model_type!r}; check the path",
            directory=directory,
            model_type=values.get("model_type"),
        )
    kept = known_values(values)
    if _OUR_FIELDS & set(values):
        return kept
    missing = [field for field in _SCALE_FIELDS if not isinstance(values.get(field), str)]
    if missing:
        raise CheckpointError(
            "{directory} gives no sizes: expected the words {missing} of a released checkpoint, or sizes spelled "
            "out under beit3 and sam; restore the file",
            directory=directory / CONFIG_NAME,
            missing=" and ".join(missing),
        )
    ignored = sorted(set(values) - set(RELEASED_FIELDS) - {_CODE_FIELD})
    if ignored:
        logger.warning("%s: ignored the fields %s", directory / CONFIG_NAME, ignored)
    if has_weights(directory):
        family = weights_family(read_weights(directory).keys(), str(directory))
        if family is not None:
            kept["architectures"] = [family.architecture]
    return kept
