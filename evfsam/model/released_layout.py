"""The layout of the released checkpoints: sizes as two scale words in `config.json`, the family in the weights' keys.

Our layout holds the same weights under the same names, and spells every size out. `auto_map`, which names code in a
checkpoint, is ignored in both.
"""

import logging
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.sam.families import FAMILIES, Family
from evfsam.weights.files import CONFIG_NAME, has_weights, read_config, read_weights

if TYPE_CHECKING:
    from evfsam.model.configuration import EvfSamConfig

RELEASED_FIELDS: Final = (
    *("architectures", "bos_token_id", "eos_token_id", "hidden_size", "mm_extractor_scale", "model_type", "out_dim"),
    *("pad_token_id", "sam_scale", "tie_word_embeddings", "torch_dtype", "dtype", "transformers_version"),
    "_name_or_path",
)

_STORAGE_FIELDS = ("torch_dtype", "dtype")
_SCALE_FIELDS = ("mm_extractor_scale", "sam_scale")
_OUR_FIELDS = frozenset({"beit3", "sam", "vilt", "clip", "encoder", "family"})
_PARTS = ("visual_model.", "mm_extractor.", "text_hidden_fcs.")
_MARKS = {
    "sam2": "visual_model.sam_mask_decoder.",
    "efficient_sam": "visual_model.mask_decoder.final_output_upscaling_layers.",
    "sam": "visual_model.mask_decoder.output_upscaling.",
}

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
            f"{origin} holds no EVF-SAM: expected keys that begin with {', '.join(_PARTS)} "
            f"got {len(names)} that begin with {', '.join(beginnings) or 'nothing'}; check the path"
        )
    found = [key for key, mark in _MARKS.items() if any(name.startswith(mark) for name in names)]
    return FAMILIES[found[0]] if len(found) == 1 else None


def check_family(config: "EvfSamConfig", names: Collection[str], origin: str) -> None:
    """Check that weights are of the configuration's family, before their keys are compared one by one.

    Raises:
        CheckpointError: they are of another one, or of none.
    """
    family, expected = weights_family(names, origin), config.visual_family
    if family is not None and family.key != expected.key:
        raise CheckpointError(
            f"{origin}: {CONFIG_NAME} describes an {expected.title} (family {expected.key!r}), but the weights are of "
            f"an {family.title} ({family.key!r}); take both from the same checkpoint"
        )


def read_model_weights(directory: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint's weights under the names in use, as `checkpoints.read_weights` does.

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
            f"expected an EVF-SAM (model_type 'evf') in {directory}, got {values.get('model_type')!r}; check the path"
        )
    values.pop("auto_map", None)
    if _OUR_FIELDS & set(values):
        return values
    missing = [field for field in _SCALE_FIELDS if not isinstance(values.get(field), str)]
    if missing:
        raise CheckpointError(
            f"{directory / CONFIG_NAME} gives no sizes: expected the words {' and '.join(missing)} of a released "
            "checkpoint, or sizes spelled out under beit3 and sam; restore the file"
        )
    ignored = sorted(set(values) - set(RELEASED_FIELDS))
    if ignored:
        logger.warning("%s: ignored the fields %s", directory / CONFIG_NAME, ignored)
    # How the weights are stored says nothing of the type they are loaded in.
    kept = {name: value for name, value in values.items() if name in RELEASED_FIELDS and name not in _STORAGE_FIELDS}
    if has_weights(directory):
        family = weights_family(read_weights(directory).keys(), str(directory))
        if family is not None:
            kept["architectures"] = [family.architecture]
    return kept


def released_values(config: "EvfSamConfig", dtypes: Iterable[torch.dtype]) -> dict[str, object]:
    """Return the released `config.json` of a configuration.

    Sizes that the scale words do not cover are spelled out beside them; then only this library reads the result.

    Args:
        config: with the encoder of the released weights.
        dtypes: of the weights; the first floating-point one is noted.

    Raises:
        ConfigurationError: the configuration has an encoder that was never released.
    """
    from evfsam.model.configuration import BEIT3_SCALES, EvfSamConfig

    if (config.encoder, config.encoder_choice) != ("beit3", EvfSamConfig().encoder_choice):
        raise ConfigurationError(
            f"the released layout only knows BEiT-3 with early fusion and its [CLS], got {config.encoder_choice}; "
            "export with --layout ours"
        )
    family, floats = config.visual_family, [dtype for dtype in dtypes if dtype.is_floating_point]
    values: dict[str, object] = {
        "architectures": [family.architecture],
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "hidden_size": config.hidden_size,
        "mm_extractor_scale": _word(config.beit3_config, BEIT3_SCALES.items()),
        "model_type": "evf",
        "out_dim": config.out_dim,
        "pad_token_id": config.pad_token_id,
        "sam_scale": _word(config.sam_config, family.scales.items()),
        "tie_word_embeddings": False,
        "torch_dtype": str(floats[0] if floats else torch.float32).removeprefix("torch."),
    }
    if None in (values["mm_extractor_scale"], values["sam_scale"]):
        values |= {"family": family.key, "beit3": config.beit3, "sam": config.sam}
        logger.warning("the released layout has no words for these sizes; they are spelled out in %s", CONFIG_NAME)
    return values


def _word(sizes: object, scales: Iterable[tuple[str, object]]) -> str | None:
    return next((word for word, known in scales if known == sizes), None)
