"""Checkpoints on disk: `config.json`, and weights as safetensors or torch pickles, whole or in shards behind an index.

Nothing in a file is ever run: pickles are read by torch's reader for plain tensors, which refuses everything else.
Tensors are mapped, not copied: a page is read when it is first touched, so do not change a file in place while a model
made from it lives. `save_weights` replaces files, which is safe.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from evfsam.errors import CheckpointError, ConfigurationError

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = f"{WEIGHTS_NAME}.index.json"
PICKLE_NAME = "pytorch_model.bin"
_STEMS = ("model", "model-next")  # of shards: those that replace others have the stem that the index does not name

_SHOWN_NAMES = 5
_LONGEST_NAME = 120  # keys come from the file and may be of any length
_LONGEST_REASON = 200
_LFS_START = b"version https://git-lfs"

_Reader = Callable[[Path], dict[str, torch.Tensor]]
Config = TypeVar("Config")


def read_config(directory: Path) -> dict[str, object]:
    """Read `config.json` of a checkpoint directory.

    Raises:
        CheckpointError: it is missing, or not a JSON object.
    """
    return read_json_object(directory / CONFIG_NAME)


def write_config(directory: Path, values: Mapping[str, object]) -> None:
    """Write `config.json`, making the directory if it is missing; an older one stays until the new one is whole."""
    directory.mkdir(parents=True, exist_ok=True)
    with written_whole(directory / CONFIG_NAME) as partial:
        partial.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def has_weights(directory: Path) -> bool:
    """Tell whether a directory holds weights under any name that `read_weights` knows."""
    return any(
        (directory / f"{name}{ending}").exists()
        for name in (WEIGHTS_NAME, PICKLE_NAME)
        for ending in ("", ".index.json")
    )


def read_weights(directory: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a checkpoint directory; safetensors are preferred where there are both kinds.

    Raises:
        CheckpointError: no weights, a missing shard, a damaged file, or a pickle that holds more than tensors.
    """
    readers: dict[str, _Reader] = {WEIGHTS_NAME: _read_safetensors, PICKLE_NAME: _read_pickle}
    for name, read in readers.items():
        whole, index = directory / name, directory / f"{name}.index.json"
        if whole.exists() or whole.is_symlink():  # a link into a cache may have lost its target
            return read(whole)
        if index.exists():
            return _read_shards(index, read)
    raise CheckpointError(
        "expected {name} or {other} in {directory}, found none; check the path or download it again",
        name=WEIGHTS_NAME,
        other=PICKLE_NAME,
        directory=directory,
    )


class Storage(TypedDict, total=False):
    """How weights are written; see `save_weights`."""

    storage_dtype: torch.dtype | None
    max_shard_bytes: int | None


def save_weights(
    directory: Path,
    tensors: Mapping[str, torch.Tensor],
    storage_dtype: torch.dtype | None = None,
    max_shard_bytes: int | None = None,
) -> Path:
    """Write safetensors, replacing older ones only once the new ones are whole.

    However a save ends, the older weights are read or the new ones, never some of each: an index is what counts, and
    shards that replace others are written beside them under another stem. Older shards go last; what an earlier save
    left that broke off goes first.

    Args:
        directory: made if missing.
        tensors: names to tensors; storage shared between names is written twice.
        storage_dtype: type that floating-point tensors are stored in; None keeps their own.
        max_shard_bytes: above this size in all, write shards of at most this size and an index; None never does.

    Returns:
        The path of `model.safetensors`, or of the index.

    Raises:
        CheckpointError: a value is not finite, or overflows `storage_dtype`.
    """
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value.detach().to(storage_dtype or value.dtype)).all():
            raise CheckpointError(
                "expected finite weights, but {name!r} is not in {dtype}; do not save it",
                name=name,
                dtype=storage_dtype or value.dtype,
            )
    directory.mkdir(parents=True, exist_ok=True)
    shards = _shards(tensors, storage_dtype, max_shard_bytes)
    index_path = directory / INDEX_NAME
    if len(shards) == 1:
        _save_file(directory / WEIGHTS_NAME, tensors, storage_dtype)
        index_path.unlink(missing_ok=True)
        _delete_shards(directory, but=set())
        return directory / WEIGHTS_NAME
    named = _indexed_files(index_path)
    if named:
        _delete_shards(directory, but=named)
    stem = _STEMS[any(re.match(rf"{_STEMS[0]}-\d", name) for name in named)]
    weight_map = {}
    for number, names in enumerate(shards, start=1):
        file = f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        _save_file(directory / file, {name: tensors[name] for name in names}, storage_dtype)
        weight_map.update(dict.fromkeys(names, file))
    total = sum(_stored_bytes(value, storage_dtype) for value in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    with written_whole(index_path) as partial:
        partial.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    (directory / WEIGHTS_NAME).unlink(missing_ok=True)  # an older whole file would be read before the index
    _delete_shards(directory, but=set(weight_map.values()))
    return index_path


def listed(what: str, names: list[str]) -> str:
    """Say how many names there are and show the first few, shortened: "7 missing: a, b, c, d, e and 2 more".

    Returns:
        Nothing for no names.
    """
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return f"{len(names)} {what}: {', '.join(shortened(name) for name in names[:_SHOWN_NAMES])}{more}"


def shortened(text: str, longest: int = _LONGEST_NAME) -> str:
    """Cut a text that came from a file."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def read_json_object(path: Path) -> dict[str, object]:
    """Read a file that holds a JSON object.

    Raises:
        CheckpointError: the file is missing, or holds something else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as err:
        raise CheckpointError(
            "expected {name} in {directory}, found none; check the path", name=path.name, directory=path.parent
        ) from err
    except OSError as err:
        raise CheckpointError(
            "{path} cannot be read as JSON ({reason}); restore the file", path=path, reason=err
        ) from err
    return json_object(content, path)


def json_object(content: bytes, path: str | Path) -> dict[str, object]:
    """Read a JSON object from what a file holds.

    Args:
        content: of the file.
        path: of the file, or its name, for the message.

    Raises:
        CheckpointError: it is no JSON, or something else than an object.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise CheckpointError(
            "{path} cannot be read as JSON ({reason}); restore the file", path=path, reason=err
        ) from err
    if not isinstance(values, dict):
        raise CheckpointError(
            "{path} holds a {kind}, expected a JSON object; restore the file", path=path, kind=type(values).__name__
        )
    return values


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    _check_content(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as err:
        raise _damaged(path, err) from err


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    _check_content(path)
    try:
        # Files of torch before 1.6 are no archives and cannot be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as err:
        found = re.search(r"GLOBAL \S+|Unsupported \w+ \S+|Can only \w+[^.\n]*", str(err))
        raise CheckpointError(
            "{path} holds more than weights ({what}) and could run code, so it was not read; get the "
            "checkpoint's safetensors",
            path=path,
            what=shortened(found[0]) if found else "it is no plain list of tensors",
        ) from err
    except Exception as err:  # a damaged pickle can fail its reader in any way
        raise _damaged(path, err) from err
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) and value.layout == torch.strided
        for name, value in content.items()
    ):
        raise CheckpointError("{path} does not map names to dense tensors; save it from model.state_dict()", path=path)
    return {name: value.detach() for name, value in content.items()}


def _check_content(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_START))
    except OSError as err:
        raise _damaged(path, err) from err
    if start == _LFS_START:
        raise CheckpointError(
            "{path} only points to the weights in Git LFS; run 'git lfs pull' in its repository", path=path
        )


def _damaged(path: Path, err: Exception) -> CheckpointError:
    reason = shortened(" ".join(str(err).split()) or type(err).__name__, _LONGEST_REASON)
    return CheckpointError(
        "{path} is damaged, cut short or missing ({reason}); download or save it again", path=path, reason=reason
    )


def _read_shards(index: Path, read: _Reader) -> dict[str, torch.Tensor]:
    weight_map = _weight_map(index)
    files = sorted(set(weight_map.values()))
    absent = [name for name in files if not (index.parent / name).exists()]
    if absent:
        raise CheckpointError(
            "{index} names shards that are not beside it, {listed}; download them",
            index=index,
            listed=listed("missing", absent),
        )
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        stored = read(index.parent / file)
        lost = sorted(name for name, place in weight_map.items() if place == file and name not in stored)
        if lost:
            raise CheckpointError(
                "{directory} lacks weights that {index} places in it, {listed}; download both again",
                directory=index.parent / file,
                index=index.name,
                listed=listed("missing", lost),
            )
        tensors |= {name: value for name, value in stored.items() if weight_map.get(name, file) == file}
    return tensors


def _weight_map(index: Path) -> dict[str, str]:
    entries = read_json_object(index).get("weight_map")
    names = list(entries.values()) if isinstance(entries, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise CheckpointError("{index} does not map weights to files beside it; download it again", index=index)
    return dict(entries) if isinstance(entries, dict) else {}


def _indexed_files(index: Path) -> set[str]:
    """Return the files that an index names; none where there is no index, or a damaged one."""
    try:
        return set(_weight_map(index).values())
    except CheckpointError:
        return set()


def _delete_shards(directory: Path, *, but: set[str]) -> None:
    """Delete shards that `save_weights` wrote, also those of a save that was cut short."""
    for path in directory.glob("model-*-of-*.safetensors*"):
        if path.name not in but:
            path.unlink()


def _save_file(path: Path, tensors: Mapping[str, torch.Tensor], storage_dtype: torch.dtype | None) -> None:
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu()
        stored[name] = value.to(_storage_dtype(value, storage_dtype)).contiguous()
    end = 0
    for name in sorted(stored, key=lambda name: stored[name].data_ptr()):
        start, size = stored[name].data_ptr(), stored[name].nbytes
        if start < end:
            stored[name] = stored[name].clone()  # the format has no word for names that share memory
        end = max(end, start + size)
    with written_whole(path) as partial:
        partial.touch()
        usual_mode = partial.stat().st_mode
        save_file(stored, partial, metadata={"format": "pt"})
        partial.chmod(usual_mode)  # safetensors makes files that only their owner may read


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Lend a path beside `path`; the file written there takes its place once that is left without an error."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _storage_dtype(value: torch.Tensor, wanted: torch.dtype | None) -> torch.dtype:
    return wanted if wanted is not None and value.is_floating_point() else value.dtype


def _stored_bytes(value: torch.Tensor, storage_dtype: torch.dtype | None) -> int:
    return value.numel() * _storage_dtype(value, storage_dtype).itemsize


def _shards(
    tensors: Mapping[str, torch.Tensor], storage_dtype: torch.dtype | None, max_shard_bytes: int | None
) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, value in tensors.items():
        size = _stored_bytes(value, storage_dtype)
        if max_shard_bytes is not None and shards[-1] and filled + size > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def with_known_fields(kind: type[Config], values: Mapping[str, Any], title: str) -> Config:
    """Build a dataclass from plain values.

    Args:
        kind: the dataclass.
        values: its fields by name; absent ones keep their defaults.
        title: whose fields they are, for the message.

    Raises:
        ConfigurationError: a field is unknown, or what `kind` refuses.
    """
    known = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigurationError(
            "{title}: unknown fields {unknown}; known are {known}", title=title, unknown=unknown, known=sorted(known)
        )
    return kind(**values)
