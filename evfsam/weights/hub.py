"""Where a checkpoint lies: a directory, or a repository of the Hugging Face Hub brought into its cache.

The Hub's own settings are honoured: HF_HUB_CACHE, HF_HUB_OFFLINE, HF_TOKEN, HF_ENDPOINT.
"""

import re
from pathlib import Path

from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.hub_faults import fault_in_words

_REPOSITORY_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

# Files by name, so that no code of a repository is even downloaded.
_SMALL_FILES = (
    *("config.json", "sentencepiece.bpe.model", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "tokenizer.json", "model.safetensors.index.json", "pytorch_model.bin.index.json"),
)
_SAFETENSORS = "model*.safetensors"
_PICKLES = "pytorch_model*.bin"


def local_checkpoint(id_or_dir: str | Path, revision: str | None = None) -> Path:
    """Return the directory of a checkpoint, downloading it into the Hub's cache if need be.

    Args:
        id_or_dir: a directory; or, as text, a Hub id "owner/name". A directory of that name wins.
        revision: branch, tag or commit of a Hub id; None is the main branch.

    Raises:
        CheckpointError: there is no such directory, or the Hub cannot be reached or does not hand it out.
        ConfigurationError: a revision was given for a directory.
    """
    path = Path(id_or_dir).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ConfigurationError(f"{path} is a directory, which has no revision {revision!r}; leave revision out")
        return path
    if path.exists():
        raise CheckpointError(f"expected a checkpoint directory, got the file {path}; give the directory that holds it")
    if isinstance(id_or_dir, Path) or not _REPOSITORY_ID.fullmatch(id_or_dir):
        raise CheckpointError(
            f"expected a checkpoint directory or a Hub id owner/name, found no {path}; check the path"
        )
    directory = _snapshot(id_or_dir, revision, (*_SMALL_FILES, _SAFETENSORS))
    if any(directory.glob(_SAFETENSORS)):
        return directory
    return _snapshot(id_or_dir, revision, (*_SMALL_FILES, _PICKLES))


def _snapshot(repository: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
    except Exception as err:  # what the client's transport raises differs between its versions
        reason = fault_in_words(repository, err, revision)
        raise CheckpointError(f"found no directory {repository}; as a Hub id, {reason}") from err
