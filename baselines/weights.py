"""From "a directory or a Hub id" to a directory of weights, with the Hub's refusals put into words.

The Hub's own cache is used (`HF_HUB_CACHE`, `HF_HUB_OFFLINE`, `HF_TOKEN` as everywhere). Only configurations, tokenizer
files and safetensors are fetched: no pickles, no code.
"""

import errno
import re
from pathlib import Path
from typing import Final

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from evfsam.errors import CheckpointError

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
    except (HfHubHTTPError, HFValidationError, OSError, ConnectionError) as err:
        raise CheckpointError(_refusal(name, err)) from err
    return Path(found)


def unavailable_reason(source: str | Path, *, revision: str | None = None) -> str | None:
    """Say why weights are not at hand in the cache or as a directory; None where they are. Asks no Hub."""
    try:
        weights_directory(source, revision=revision, local_only=True)
    except CheckpointError as err:
        return str(err)
    return None


def _refusal(name: str, err: Exception) -> str:
    page = f"https://huggingface.co/{name}"
    if isinstance(err, GatedRepoError):
        return f"{name} is gated: ask for access at {page}, then set HF_TOKEN to a token of that account"
    if isinstance(err, RepositoryNotFoundError):
        return f"the Hub shows no repository {name}: check the name; for a private one set HF_TOKEN ({page})"
    if isinstance(err, RevisionNotFoundError):
        return f"{name} has no such revision; see {page}/commits/main"
    if isinstance(err, LocalEntryNotFoundError):
        return (
            f"{name} is not complete in the local cache, and the Hub was not reached; connect, unset HF_HUB_OFFLINE, "
            f"or bring a copy of {page} as a directory"
        )
    if isinstance(err, OSError) and err.errno == errno.ENOSPC:
        return f"the disk is full: {name} could not be stored; free space or point HF_HUB_CACHE at a larger disk"
    return f"{name} could not be fetched from the Hub: {err}"
