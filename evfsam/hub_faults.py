"""What can go wrong between the Hub and the disk, in words that a person can act on."""

import errno
from typing import Final

_SHOWN_CHARACTERS: Final = 200


def fault_in_words(model_id: str, error: BaseException, revision: str | None = None) -> str:
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
        return (
            f"the disk is full: {model_id} could not be stored in {cache}; free space, or point HF_HUB_CACHE at a "
            "larger disk, and ask again: what has arrived is kept"
        )
    if isinstance(error, errors.GatedRepoError):
        if get_token() is not None:
            return f"{model_id} is gated, and this token's account has no access; ask for it at {page}, then try again"
        return f"{model_id} is gated, and there is no token: accept its terms at {page}, then set HF_TOKEN"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"the Hub shows no repository {model_id}; check the spelling, or set HF_TOKEN if it is private ({page})"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{model_id} has no revision {revision!r} on the Hub; see {page}/commits/main, or bring a directory"
    if isinstance(error, errors.LocalEntryNotFoundError):
        name = f"{model_id}@{revision}" if revision else model_id
        return (
            f"{name} is not whole in the cache {cache}, and the Hub was not reached; check the connection and "
            "HF_HUB_OFFLINE and ask again, or bring a directory with --weights"
        )
    if isinstance(error, PermissionError):
        return f"{error.filename or cache} may not be written; point HF_HUB_CACHE at a directory that may"
    reason = " ".join(str(error).split())[:_SHOWN_CHARACTERS] or type(error).__name__
    return f"the download of {model_id} broke off ({reason}); ask again: what has arrived is kept"


def _has_cause(error: BaseException | None, number: int) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno == number:
            return True
        error = error.__cause__ or error.__context__
    return False
