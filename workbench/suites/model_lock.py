"""The lock file: which models of the Hub the `full` suite may fetch, at which revisions, and which of their files."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from evfsam.errors import ConfigurationError

LOCK_FILE: Final = Path(__file__).with_name("models.lock.json")
MAIN: Final = "main"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_FIELDS: Final = {"revision", "licence", "is_gated", "bytes", "parameters", "files", "strategies"}


@dataclass(frozen=True)
class LockedModel:
    """One model of the Hub as the lock file pins it.

    Attributes:
        id: "owner/name".
        revision: a commit of 40 hexadecimal digits, or "main" where the commit is recorded at the first download.
        licence: the Hub's name of it.
        is_gated: whether the Hub asks for accepted terms and a token.
        nbytes: of the files fetched, rounded.
        parameter_count: rounded, for the memory plan.
        files: patterns of the files fetched; nothing else is.
        strategies: keys of those that use it by default; empty for an alternative.
        fixed_dtype: "float32" for a model that is kept so whatever the rest runs in.
        estimated: names of fields, as the file has them, that could not be read off the Hub when it was written.
    """

    id: str
    revision: str
    licence: str
    is_gated: bool
    nbytes: int
    parameter_count: int
    files: tuple[str, ...]
    strategies: tuple[str, ...]
    fixed_dtype: str | None = None
    estimated: tuple[str, ...] = ()


@cache
def locked_models(path: Path = LOCK_FILE) -> Mapping[str, LockedModel]:
    """Read the lock file; models by id, in its order.

    Raises:
        ConfigurationError: the file is not a lock file; names the model and the field.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["models"]
        return MappingProxyType({name: _model(name, values) for name, values in entries.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise ConfigurationError(
            "expected a lock file of models in {path}, got: {reason!r}; restore it", path=path.name, reason=err
        ) from err


def find_model(model_id: str, models: Mapping[str, LockedModel] | None = None) -> LockedModel:
    """Return a model of the lock file.

    Raises:
        ConfigurationError: the lock file has no such model; nothing unpinned is fetched.
    """
    known = locked_models() if models is None else models
    if model_id not in known:
        raise ConfigurationError(
            "{model} is not in {file}, and nothing unpinned is fetched; expected one of {known}, or a directory",
            model=model_id,
            file=LOCK_FILE.name,
            known=", ".join(known),
        )
    return known[model_id]


def _model(name: str, values: dict[str, object]) -> LockedModel:
    unknown, missing = set(values) - _FIELDS - {"fixed_dtype", "estimated"}, _FIELDS - set(values)
    if unknown or missing:
        raise ValueError(f"{name}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}")
    revision, files, strategies = str(values["revision"]), values["files"], values["strategies"]
    if revision != MAIN and not _COMMIT.fullmatch(revision):
        raise ValueError(f"{name}: expected a commit of 40 hexadecimal digits or {MAIN!r}, got {revision!r}")
    if not isinstance(files, list) or not files or not isinstance(strategies, list):
        raise ValueError(f"{name}: expected lists of files and strategies")
    estimated = values.get("estimated", [])
    if not isinstance(estimated, list) or not set(estimated) <= _FIELDS:
        raise ValueError(f"{name}: expected a list of fields as estimated, got {estimated!r}")
    fixed_dtype = values.get("fixed_dtype")
    return LockedModel(
        id=name,
        revision=revision,
        licence=str(values["licence"]),
        is_gated=values["is_gated"] is True,
        nbytes=int(str(values["bytes"])),
        parameter_count=int(str(values["parameters"])),
        files=tuple(str(file) for file in files),
        strategies=tuple(str(key) for key in strategies),
        fixed_dtype=None if fixed_dtype is None else str(fixed_dtype),
        estimated=tuple(estimated),
    )
