"""From "a directory or a Hub id" to a directory of weights, with the Hub's refusals put into words.

The Hub's own cache is used (`HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_TOKEN` as everywhere). Only configurations, tokenizer
files and safetensors are fetched: no pickles, no code.
"""

import re
from pathlib import Path
from typing import Final

from huggingface_hub import snapshot_download

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
