"""Rewriting a checkpoint in another layout, bit for bit: the work behind `python -m evfsam.weights.files`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import torch

from evfsam.encoders.tokenizers import PhraseTokenizer
from evfsam.errors import CheckpointError, EvfSamError
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.model.released_layout import check_family, read_model_weights, released_values
from evfsam.weights.files import CONFIG_NAME, save_weights, write_config
from evfsam.weights.hub import local_checkpoint
from evfsam.weights.loading import build_without_storage, check_fit

Layout = Literal["released", "ours"]
MAX_SHARD_BYTES: Final = 5_000_000_000


def export_checkpoint(
    source: str | Path,
    destination: str | Path,
    layout: Layout,
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
        max_shard_bytes: as in `checkpoints.save_weights`.

    Returns:
        The destination.

    Raises:
        CheckpointError: the source is damaged or incomplete, or is the destination.
        ConfigurationError: the released layout cannot hold such a model.
    """
    folder, target = local_checkpoint(source, revision), Path(destination)
    if target.exists() and (not target.is_dir() or target.resolve() == folder.resolve()):
        raise CheckpointError(f"expected another directory than the source to write to, got {target}; name a new one")
    config = EvfSamConfig.load(folder)
    weights = read_model_weights(folder)
    check_family(config, weights.keys(), str(folder))
    check_fit(build_without_storage(lambda: EvfSamModel(config), str(folder / CONFIG_NAME)), weights, str(folder))
    tokenizer = PhraseTokenizer.from_pretrained(folder, config.encoder_sizes.max_text_tokens)
    write_checkpoint(target, config, weights, tokenizer, layout, max_shard_bytes=max_shard_bytes)
    return target


def write_checkpoint(
    directory: Path,
    config: EvfSamConfig,
    weights: Mapping[str, torch.Tensor],
    tokenizer: PhraseTokenizer,
    layout: Layout,
    *,
    storage_dtype: torch.dtype | None = None,
    max_shard_bytes: int | None = MAX_SHARD_BYTES,
) -> None:
    """Write a whole checkpoint; configuration and tokenizer come last, so that what broke off does not look whole.

    Args:
        directory: made if missing.
        config: sizes.
        weights: a model's state dict, of that configuration.
        tokenizer: its files.
        layout: as in `export_checkpoint`.
        storage_dtype: as in `checkpoints.save_weights`.
        max_shard_bytes: as in `checkpoints.save_weights`.

    Raises:
        CheckpointError: a weight is not finite.
        ConfigurationError: the released layout cannot hold such a model.
    """
    dtypes = [storage_dtype] if storage_dtype is not None else [value.dtype for value in weights.values()]
    values = released_values(config, dtypes) if layout == "released" else None
    save_weights(directory, weights, storage_dtype, max_shard_bytes)
    tokenizer.save_pretrained(directory, released=layout == "released")
    if values is None:
        config.save_pretrained(directory)
    else:
        write_config(directory, values)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when the checkpoint is written, 1 with a plain reason when it is not."""
    parser = argparse.ArgumentParser(prog="python -m evfsam.weights.files", description="Rewrite EVF-SAM checkpoints.")
    export = parser.add_subparsers(dest="command", required=True).add_parser(
        "export", help="write a checkpoint in another layout, bit for bit"
    )
    export.add_argument("source", metavar="SRC", help="directory or Hub id")
    export.add_argument("destination", metavar="DST", help="directory to write")
    export.add_argument("--layout", required=True, choices=get_args(Layout), help="of the copy")
    export.add_argument("--revision", help="branch, tag or commit of a Hub id")
    given = parser.parse_args(arguments)
    try:
        written = export_checkpoint(given.source, given.destination, given.layout, revision=given.revision)
    except (EvfSamError, OSError) as err:
        sys.stderr.write(f"error: {err}\n")
        return 1
    sys.stdout.write(f"wrote {written} in the layout {given.layout!r}\n")
    return 0
