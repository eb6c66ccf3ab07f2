"""What transformers loads has to be whole, comes from a directory, and is loaded without printing anything."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import logging

from evfsam.errors import CheckpointError


def existing_directory(directory: str | Path) -> Path:
    """Return the path of a directory that exists.

    Raises:
        CheckpointError: there is none; without this check transformers would ask a model hub for the name.
    """
    path = Path(directory)
    if not path.is_dir():
        raise CheckpointError(
            "expected a checkpoint directory at {path}, found none; train or copy the weights first", path=path
        )
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
        raise CheckpointError(
            "the weights in {path} do not fit their configuration; {complaints}",
            path=path,
            complaints="; ".join(complaints),
        )


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
