"""From "a directory or a Hub id" to a directory of weights, with the Hub's refusals put into words.

The Hub's own cache is used (`HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_TOKEN` as everywhere). Only configurations, tokenizer
files and safetensors are fetched: no pickles, no code. What transformers loads from there has to be whole, and nothing
is printed meanwhile.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from huggingface_hub import snapshot_download
from transformers.utils import logging

from evfsam.errors import CheckpointError
from evfsam.weights.hub import fault_in_words

FETCHED_FILES: Final = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
LEFT_OUT_FILES: Final = ("open_clip_*.safetensors", "original/*", "onnx/*")
_HUB_ID: Final = re.compile(r"(?:hf-hub:)?([\w.-]+/[\w.-]+)")


def weights_directory(source: str | Path, *, revision: str | None = None, local_only: bool = False) -> Path:
    """Return a directory that holds the weights, fetching them from the Hub where they are not there yet.

    Args:
        source: a directory, or a Hub id such as "openai/clip-vit-large-patch14"; "hf-hub:" before it is allowed.
        revision: commit, tag or branch of a Hub id.
        local_only: whether to look into the cache alone.

    Raises:
        CheckpointError: there is no such directory, or the Hub does not give the files; the message says why.
    """
    path = Path(source)
    if str(source) and path.is_dir():
        return path
    match = _HUB_ID.fullmatch(str(source))
    if isinstance(source, Path) or match is None:
        raise CheckpointError(f"expected a directory of weights or a Hub id such as owner/name, got {str(source)!r}")
    name = match[1]
    try:
        found = snapshot_download(
            name,
            revision=revision,
            local_files_only=local_only,
            allow_patterns=list(FETCHED_FILES),
            ignore_patterns=list(LEFT_OUT_FILES),
        )
    except Exception as err:  # what the client's transport raises differs between its versions
        raise CheckpointError(fault_in_words(name, err, revision)) from err
    return Path(found)


def unavailable_reason(source: str | Path, *, revision: str | None = None) -> str | None:
    """Say why weights are not at hand in the cache or as a directory; None where they are. Asks no Hub."""
    try:
        weights_directory(source, revision=revision, local_only=True)
    except CheckpointError as err:
        return str(err)
    return None


def existing_directory(directory: str | Path) -> Path:
    """Return the path of a directory that exists.

    Raises:
        CheckpointError: there is none; without this check transformers would ask a model hub for the name.
    """
    path = Path(directory)
    if not path.is_dir():
        raise CheckpointError(f"expected a checkpoint directory at {path}, found none; train or copy the weights first")
    return path


def raise_unless_complete(path: Path, loading_info: Mapping[str, object], *, may_hold_more: bool = False) -> None:
    """Refuse weights with missing, unexpected or misshapen keys, which transformers itself only warns of.

    Args:
        path: where the weights came from, for the message.
        loading_info: what `from_pretrained(..., output_loading_info=True)` returned.
        may_hold_more: whether keys that the model does not know are welcome, as in releases for several purposes.

    Raises:
        CheckpointError: naming the keys.
    """
    complaints = []
    kinds = (
        ("missing_keys", "mismatched_keys") if may_hold_more else ("missing_keys", "unexpected_keys", "mismatched_keys")
    )
    for kind in kinds:
        keys = loading_info.get(kind)
        if keys:
            assert isinstance(keys, (list, tuple, set, frozenset))
            complaints.append(f"{kind.replace('_', ' ')}: {', '.join(sorted(str(key) for key in keys)[:5])}")
    if complaints:
        raise CheckpointError(f"the weights in {path} do not fit their configuration; {'; '.join(complaints)}")


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers' bars off standard error, where the command line prints its own lines."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
