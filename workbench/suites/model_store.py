"""Models of the lock file on this machine: fetched once, recorded, and checked against the record ever after.

The Hub's own cache and settings are used: HF_HUB_CACHE, HF_HUB_OFFLINE, HF_TOKEN, HF_ENDPOINT. The record lies beside
the cache. No code of a repository is fetched, let alone run.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final, Protocol

from evfsam.errors import CheckpointError, Sentence
from evfsam.weights.hub import fault_in_words, snapshot
from workbench.suites.model_lock import MAIN, LockedModel, find_model
from workbench.suites.model_record import ModelRecord, RecordedModel, recorded_files

RECORD_NAME: Final = "text-prompted-sam-models.json"
_BYTES_ON_THE_WIRE: Final = "Downloading bytes"
_WEIGHTS: Final = ("*.safetensors", "*.bin")

OnBytes = Callable[[int, int], None]
"""Called with bytes that have arrived and bytes in all, as far as both are known; from any thread."""


class Download(Protocol):
    """Brings files of a repository into a directory named by their commit; `hub_download` is one."""

    def __call__(
        self, model_id: str, revision: str, files: tuple[str, ...], on_bytes: OnBytes, *, local_only: bool
    ) -> Path:
        """Return the directory."""
        ...


class ModelStore:
    """Hands out directories of models. Safe to share between threads; one model is fetched by one of them at a time.

    Args:
        models: what may be fetched, by id; by default the lock file's.
        record: where commits and digests are kept; None for `RECORD_NAME` beside the Hub's cache.
        download: by default from the Hub.
    """

    def __init__(
        self,
        models: Mapping[str, LockedModel] | None = None,
        record: Path | None = None,
        download: Download | None = None,
    ) -> None:
        self._models = models
        self._record = record
        self._download = download or hub_download
        self._locks: dict[str, Lock] = {}
        self._guard = Lock()

    def model(self, model_id: str) -> LockedModel:
        """Return what the lock file says of a model.

        Raises:
            ConfigurationError: it has no such model.
        """
        return find_model(model_id, self._models)

    def directory(self, model_id: str, on_bytes: OnBytes | None = None) -> Path:
        """Return the directory of a model, fetching what is not there yet; a model that failed may be asked again.

        Raises:
            ConfigurationError: the lock file has no such model.
            CheckpointError: it cannot be fetched, is not whole, or is not what was recorded; says what to do.
        """
        model = self.model(model_id)
        with self._guard:
            lock = self._locks.setdefault(model_id, Lock())
        with lock:
            return self._checked(model, on_bytes or _unheard)

    def missing_reason(self, model_id: str) -> str | None:
        """Say why a model is not whole on this machine; None where it is. Asks no Hub and reads no file."""
        model = self.model(model_id)
        try:
            directory = self._fetched(model, _unheard, local_only=True)
        except CheckpointError as error:
            return str(error)
        return _incomplete(model, directory)

    def forget(self, model_id: str) -> None:
        """Drop what was recorded of a model whose files turned out unreadable."""
        self._open_record().drop(model_id)

    def _checked(self, model: LockedModel, on_bytes: OnBytes) -> Path:
        directory = self._fetched(model, on_bytes, local_only=False)
        complaint = _incomplete(model, directory)
        if complaint:
            raise CheckpointError(complaint)
        record = self._open_record()
        known = record.get(model.id)
        if known is None or known.asked != model.revision:
            files = recorded_files(model.id, directory)
            record.put(model.id, RecordedModel(model.revision, directory.name, files))
        else:
            record.put(model.id, known.checked(model.id, directory))
        return directory

    def _fetched(self, model: LockedModel, on_bytes: OnBytes, *, local_only: bool) -> Path:
        known = self._open_record().get(model.id)
        is_followed = model.revision == MAIN and known is not None and known.asked == MAIN
        revision = known.commit if is_followed and known is not None else model.revision
        try:
            return self._download(model.id, revision, model.files, on_bytes, local_only=local_only)
        except CheckpointError:
            raise
        except Exception as error:  # what the client's transport raises differs between its versions
            raise CheckpointError(fault_in_words(model.id, error, revision)) from error

    def _open_record(self) -> ModelRecord:
        if self._record is None:
            from huggingface_hub import constants

            return ModelRecord(Path(constants.HF_HUB_CACHE).parent / RECORD_NAME)
        return ModelRecord(self._record)


def hub_download(model_id: str, revision: str, files: tuple[str, ...], on_bytes: OnBytes, *, local_only: bool) -> Path:
    """Bring files of a repository into the Hub's cache; only those that match the patterns."""
    return snapshot(model_id, revision, files, local_files_only=local_only, tqdm_class=_progress_class(on_bytes))


def _unheard(done: int, total: int) -> None:
    """Take progress that nobody asked for."""
    del done, total


def _incomplete(model: LockedModel, directory: Path) -> str | None:
    """Say what is missing of a model whose download ended early."""
    has_weights = any(path.is_file() for pattern in _WEIGHTS for path in directory.glob(pattern))
    if has_weights and (directory / "config.json").is_file():
        return None
    return Sentence(
        "{model} is not whole: {missing} are missing in {directory}; connect to the Hub and ask again",
        model=model.id,
        missing=Sentence("its weights") if not has_weights else "config.json",
        directory=directory,
    )


def _progress_class(on_bytes: OnBytes) -> Any:
    """Return what the Hub's client takes for a progress bar: it reports bytes, and shows nothing."""
    from tqdm.auto import tqdm

    class SilentProgress(tqdm):  # type: ignore[misc]
        """Reports the one bar that counts bytes written; those of files and of bytes on the wire are not reported."""

        def __init__(self, *args: Any, **settings: Any) -> None:
            self._is_of_bytes = settings.get("unit") == "B" and settings.get("desc") != _BYTES_ON_THE_WIRE
            self._arrived = int(settings.get("initial") or 0)
            super().__init__(*args, **{**settings, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self._arrived += int(n or 0)
            if self._is_of_bytes:
                on_bytes(self._arrived, int(self.total or 0))
            return None

    return SilentProgress
