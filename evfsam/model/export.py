"""Rewriting a checkpoint in another layout, bit for bit: the work behind `python -m evfsam export`."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

import torch

from evfsam.encoders.tokenizers import PhraseTokenizer
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.model.configuration import BEIT3_SCALES, EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.model.released_layout import check_family, read_model_weights
from evfsam.weights.checkpoint_files import CONFIG_NAME, save_weights, write_config
from evfsam.weights.hub import local_checkpoint
from evfsam.weights.loading import build_without_storage, check_fit

WeightLayout = Literal["released", "ours"]
MAX_SHARD_BYTES: Final = 5_000_000_000

logger = logging.getLogger(__name__)


def export_checkpoint(
    source: str | Path,
    destination: str | Path,
    layout: WeightLayout,
    *,
    revision: str | None = None,
    max_shard_bytes: int | None = MAX_SHARD_BYTES,
) -> Path:
    """Rewrite a whole checkpoint; weights keep their type and every bit, the tokenizer's files every byte.

    Args:
        source: directory or Hub id, in either layout.
        destination: another directory; made if missing.
        layout: "released" as the paper's authors publish them, "ours" with every size spelled out.
        revision: of a Hub id.
        max_shard_bytes: as in `save_weights`.

    Returns:
        The destination.

    Raises:
        CheckpointError: the source is damaged or incomplete, or is the destination.
        ConfigurationError: the released layout cannot hold such a model.
    """
    folder, target = local_checkpoint(source, revision), Path(destination)
    if target.exists() and (not target.is_dir() or target.resolve() == folder.resolve()):
        raise CheckpointError(
            "expected another directory than the source to write to, got {target}; name a new one", target=target
        )
    config = EvfSamConfig.load(folder)
    weights = read_model_weights(folder)
    check_family(config.visual_family, weights.keys(), str(folder))
    check_fit(build_without_storage(lambda: EvfSamModel(config), str(folder / CONFIG_NAME)), weights, str(folder))
    tokenizer = PhraseTokenizer.from_pretrained(folder, config.encoder_sizes.max_text_tokens)
    write_checkpoint(target, config, weights, tokenizer, layout, max_shard_bytes=max_shard_bytes)
    return target


def write_checkpoint(
    directory: Path,
    config: EvfSamConfig,
    weights: Mapping[str, torch.Tensor],
    tokenizer: PhraseTokenizer,
    layout: WeightLayout,
    *,
    max_shard_bytes: int | None = MAX_SHARD_BYTES,
) -> None:
    """Write a whole checkpoint; configuration and tokenizer come last, so that what broke off does not look whole.

    Args:
        directory: made if missing.
        config: sizes.
        weights: a model's state dict, of that configuration.
        tokenizer: its files.
        layout: as in `export_checkpoint`.
        max_shard_bytes: as in `save_weights`.

    Raises:
        CheckpointError: a weight is not finite.
        ConfigurationError: the released layout cannot hold such a model.
    """
    values = released_values(config, [value.dtype for value in weights.values()]) if layout == "released" else None
    save_weights(directory, weights, max_shard_bytes=max_shard_bytes)
    tokenizer.save_pretrained(directory, released=layout == "released")
    if values is None:
        config.save_pretrained(directory)
    else:
        write_config(directory, values)


def released_values(config: EvfSamConfig, dtypes: Iterable[torch.dtype]) -> dict[str, object]:
    """Return the released `config.json` of a configuration.

    Sizes that the scale words do not cover are spelled out beside them; then only this library reads the result.

    Args:
        config: with the encoder of the released weights.
        dtypes: of the weights; the first floating-point one is noted.

    Raises:
        ConfigurationError: the configuration has an encoder that was never released.
    """
    if (config.encoder, config.encoder_choice) != ("beit3", EvfSamConfig().encoder_choice):
        raise ConfigurationError(
            "the released layout only knows BEiT-3 with early fusion and its [CLS], got {encoder_choice}; export "
            "with --layout ours",
            encoder_choice=config.encoder_choice,
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
        values |= {"family": family.model_type, "beit3": config.beit3, "sam": config.sam}
        logger.warning("the released layout has no words for these sizes; they are spelled out in %s", CONFIG_NAME)
    return values


def _word(sizes: object, scales: Iterable[tuple[str, object]]) -> str | None:
    return next((word for word, known in scales if known == sizes), None)
