"""Where a checkpoint lies: a directory, or a repository of the Hub in its cache; and what can go wrong on the way.

The Hub's own settings are honoured: HF_HUB_CACHE, HF_HUB_OFFLINE, HF_TOKEN, HF_ENDPOINT.
"""

import errno
import re
from pathlib import Path
from typing import Any, Final

from evfsam.errors import CheckpointError, ConfigurationError, Sentence

_SHOWN_CHARACTERS: Final = 200
_REPOSITORY_ID: Final = re.compile(r"(?:hf-hub:)?([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)")

# Files by name, so that no code of a repository is even downloaded, and pickles only where there is nothing else.
PUBLISHED_FILES: Final = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_LEFT_OUT_FILES: Final = ("open_clip_*.safetensors", "original/*", "onnx/*")
_SMALL_FILES: Final = (
    *("config.json", "sentencepiece.bpe.model", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "tokenizer.json", "model.safetensors.index.json", "pytorch_model.bin.index.json"),
)
_SAFETENSORS: Final = "model*.safetensors"
_PICKLES: Final = "pytorch_model*.bin"


def local_checkpoint(id_or_dir: str | Path, revision: str | None = None) -> Path:
    """Return the directory of an EVF-SAM, released with safetensors or as pickles; see `weights_directory`."""
    directory = weights_directory(id_or_dir, revision, (*_SMALL_FILES, _SAFETENSORS))
    if Path(id_or_dir).expanduser().is_dir() or any(directory.glob(_SAFETENSORS)):
        return directory
    return weights_directory(id_or_dir, revision, (*_SMALL_FILES, _PICKLES))


def weights_directory(
    source: str | Path, revision: str | None = None, files: tuple[str, ...] = PUBLISHED_FILES
) -> Path:
    """Return a directory that holds weights, downloading them into the Hub's cache if need be.

    Args:
        source: a directory; or, as text, a Hub id "owner/name", with "hf-hub:" before it or not. A directory of that
            name wins.
        revision: branch, tag or commit of a Hub id; None is the main branch.
        files: patterns of the files to fetch.

    Raises:
        CheckpointError: there is no such directory, or the Hub cannot be reached or does not hand it out.
        ConfigurationError: a revision was given for a directory.
    """
    path = Path(source).expanduser()
    if str(source) and path.is_dir():
        if revision is not None:
            raise ConfigurationError(
                "{path} is a directory, which has no revision {revision!r}; leave revision out",
                path=path,
                revision=revision,
            )
        return path
    if path.is_file():
        raise CheckpointError(
            "expected a checkpoint directory, got the file {path}; give the directory that holds it", path=path
        )
    match = _REPOSITORY_ID.fullmatch(str(source))
    if isinstance(source, Path) or match is None:
        raise CheckpointError(
            "expected a checkpoint directory or a Hub id owner/name, found no {path}; check the path", path=path
        )
    try:
        return snapshot(match[1], revision, files, ignore_patterns=list(_LEFT_OUT_FILES))
    except CheckpointError as err:
        raise CheckpointError(
            "found no directory {source}; as a Hub id, {reason}", source=source, reason=err
        ) from err.__cause__


def snapshot(repository: str, revision: str | None, files: tuple[str, ...], **options: Any) -> Path:
    """Bring files of a repository into the Hub's cache, where they are not there yet.

    Args:
        repository: "owner/name".
        revision: branch, tag or commit; None is the main branch.
        files: patterns of their names.
        **options: of the Hub's client.

    Raises:
        CheckpointError: the Hub cannot be reached or does not hand them out; says what to do.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files), **options))
    except Exception as err:  # what the client's transport raises differs between its versions
        raise CheckpointError(fault_in_words(repository, err, revision)) from err


def fault_in_words(model_id: str, error: BaseException, revision: str | None = None) -> Sentence:
    """Say why a model could not be fetched, and what to do.

    Args:
        model_id: "owner/name".
        error: what the Hub's client, its transport or the operating system raised.
        revision: branch, tag or commit that was asked for; None for the main branch.
    """
    from huggingface_hub import constants, errors, get_token

    cache = str(constants.HF_HUB_CACHE)
    page = f"https://huggingface.co/{model_id}"
    if _has_cause(error, errno.ENOSPC):
        return Sentence(
            "the disk is full: {model} could not be stored in {cache}; free space, or point HF_HUB_CACHE at a "
            "larger disk, and ask again: what has arrived is kept",
            model=model_id,
            cache=cache,
        )
    if isinstance(error, errors.GatedRepoError):
        if get_token() is not None:
            return Sentence(
                "{model} is gated, and this token's account has no access; ask for it at {page}, then try again",
                model=model_id,
                page=page,
            )
        return Sentence(
            "{model} is gated, and there is no token: accept its terms at {page}, then set HF_TOKEN",
            model=model_id,
            page=page,
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return Sentence(
            "the Hub shows no repository {model}; check the spelling, or set HF_TOKEN if it is private ({page})",
            model=model_id,
            page=page,
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return Sentence(
            "{model} has no revision {revision!r} on the Hub; see {page}/commits/main, or bring a directory",
            model=model_id,
            revision=revision,
            page=page,
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        name = f"{model_id}@{revision}" if revision else model_id
        return Sentence(
            "{name} is not whole in the cache {cache}, and the Hub was not reached; check the connection and "
            "HF_HUB_OFFLINE and ask again, or give a directory instead (with --weights, of a video with --checkpoint)",
            name=name,
            cache=cache,
        )
    if isinstance(error, PermissionError):
        place = error.filename or cache
        return Sentence("{place} may not be written; point HF_HUB_CACHE at a directory that may", place=place)
    reason = " ".join(str(error).split())[:_SHOWN_CHARACTERS] or type(error).__name__
    return Sentence(
        "the download of {model} broke off ({reason}); ask again: what has arrived is kept",
        model=model_id,
        reason=reason,
    )


def _has_cause(error: BaseException | None, number: int) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno == number:
            return True
        error = error.__cause__ or error.__context__
    return False
