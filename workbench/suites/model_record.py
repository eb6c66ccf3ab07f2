"""What was downloaded: the commit and the SHA-256 of every file of each model, in one JSON file of the user."""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

from evfsam.errors import CheckpointError, Sentence

try:
    import fcntl
except ImportError:  # Windows: of two processes that write at once, one may lose its line and records it the next time
    fcntl = None  # type: ignore[assignment]

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ALWAYS_READ: Final = 64 * 2**20
"""Files up to this size are digested at every start; larger ones where their size or time has changed."""


@dataclass(frozen=True)
class RecordedFile:
    """A file as it was when its digest was taken: SHA-256, bytes, and time of change in nanoseconds."""

    sha256: str
    nbytes: int
    changed_ns: int


@dataclass(frozen=True)
class RecordedModel:
    """A model as it was first downloaded.

    Attributes:
        asked: the revision of the lock file then.
        commit: what that revision meant.
        files: by name inside the repository.
    """

    asked: str
    commit: str
    files: Mapping[str, RecordedFile]

    def checked(self, model_id: str, directory: Path) -> "RecordedModel":
        """Compare a directory with the record; returns the record with what was read anew.

        Raises:
            CheckpointError: the commit or a file is not what was recorded.
        """
        if directory.name != self.commit:
            raise CheckpointError(
                "{model} was recorded at commit {commit}, but the cache gave {other}; {next}",
                model=model_id,
                commit=self.commit,
                other=directory.name,
                next=_next_step(model_id),
            )
        now = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if path.is_file()}
        lost = sorted(set(self.files) - set(now))
        if lost:
            raise CheckpointError(
                "{model} has lost {lost} since it was recorded; download it again",
                model=model_id,
                lost=", ".join(lost[:3]),
            )
        files = {name: _compared(model_id, name, self.files.get(name), path) for name, path in sorted(now.items())}
        return replace(self, files=files)


def recorded_files(model_id: str, directory: Path) -> dict[str, RecordedFile]:
    """Digest every file of a directory.

    Raises:
        CheckpointError: a file of the Hub's cache is not what its name there promises, such as half of it.
    """
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): _recorded(model_id, path) for path in paths}


class ModelRecord:
    """The JSON file, which several processes may share: read at each question, changed by one at a time, as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, model_id: str) -> RecordedModel | None:
        """Return what is recorded of a model.

        Raises:
            CheckpointError: the file is damaged.
        """
        values = self._read().get(model_id)
        if values is None:
            return None
        try:
            files = {
                name: RecordedFile(str(file["sha256"]), int(file["nbytes"]), int(file["changed_ns"]))
                for name, file in values["files"].items()
            }
            return RecordedModel(str(values["asked"]), str(values["commit"]), files)
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise self._damaged(err) from err

    def put(self, model_id: str, model: RecordedModel) -> None:
        """Write what is known of a model; nothing where it is recorded already.

        Raises:
            CheckpointError: the file cannot be written.
        """
        files = {name: vars(file) for name, file in model.files.items()}
        values = {"asked": model.asked, "commit": model.commit, "files": files}
        if self._read().get(model_id) != values:
            self._change(lambda known: {**known, model_id: values})

    def drop(self, model_id: str) -> None:
        """Forget a model.

        Raises:
            CheckpointError: the file cannot be written.
        """
        if model_id in self._read():
            self._change(lambda known: {name: values for name, values in known.items() if name != model_id})

    def _change(self, change: Callable[[Mapping[str, object]], Mapping[str, object]]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._alone():
                text = json.dumps(change(self._read()), indent=2, sort_keys=True) + "\n"
                with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as file:
                    file.write(text)
                Path(file.name).replace(self.path)
        except OSError as err:
            raise CheckpointError(
                "the record of downloads {path} could not be written ({reason}); free space there, or name "
                "another place with SAM_WORKBENCH_RECORD",
                path=self.path,
                reason=err.strerror,
            ) from err

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other process or thread is between reading the record and replacing it."""
        with self.path.with_name(f"{self.path.name}.lock").open("a") as lock:
            if fcntl is not None:
                with suppress(OSError):  # some network file systems know no locks
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> dict[str, Any]:
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as err:
            raise self._damaged(err) from err
        if not isinstance(values, dict):
            raise self._damaged(ValueError("not an object"))
        return values

    def _damaged(self, err: Exception) -> CheckpointError:
        return CheckpointError(
            "the record of downloads {path} is damaged ({reason}); delete it to record what is in the cache anew",
            path=self.path,
            reason=err,
        )


def _compared(model_id: str, name: str, known: RecordedFile | None, path: Path) -> RecordedFile:
    state = path.stat()
    is_unchanged = known is not None and (known.nbytes, known.changed_ns) == (state.st_size, state.st_mtime_ns)
    if known is not None and is_unchanged and state.st_size > _ALWAYS_READ:
        return known
    found = _recorded(model_id, path)
    if known is not None and known.sha256 != found.sha256:
        raise CheckpointError(
            "{name} of {model} is not what was recorded at its first download: expected SHA-256 {digest}… "
            "({bytes} bytes), got {other}… ({got} bytes); {next}",
            name=name,
            model=model_id,
            digest=known.sha256[:12],
            bytes=known.nbytes,
            other=found.sha256[:12],
            got=found.nbytes,
            next=_next_step(model_id),
        )
    return found


def _recorded(model_id: str, path: Path) -> RecordedFile:
    state = path.stat()
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    stored_as = path.resolve().name
    if _SHA256.fullmatch(stored_as) and stored_as != digest:
        raise CheckpointError(
            "{name} of {model} is damaged: the Hub promises SHA-256 {digest}…, the {bytes} bytes here have "
            "{other}…; {next}",
            name=path.name,
            model=model_id,
            digest=stored_as[:12],
            bytes=state.st_size,
            other=digest[:12],
            next=_next_step(model_id),
        )
    return RecordedFile(digest, state.st_size, state.st_mtime_ns)


def _next_step(model_id: str) -> Sentence:
    folder = f"models--{model_id.replace('/', '--')}"
    return Sentence(
        "delete {folder} from the Hub's cache to fetch it again, or bring a directory with --weights", folder=folder
    )
