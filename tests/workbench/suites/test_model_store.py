"""Faults between the Hub and the disk, each with words that a person can act on; and the record of downloads."""

import errno
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import errors

from evfsam.errors import CheckpointError, ConfigurationError
from workbench.suites.model_lock import LockedModel, find_model, locked_models
from workbench.suites.model_store import ModelStore, OnBytes, hub_download

COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40
ID = "owner/model"


def locked(revision: str = COMMIT, *, is_gated: bool = False) -> dict[str, LockedModel]:
    return {ID: LockedModel(ID, revision, "mit", is_gated, 100, 25, ("config.json", "*.safetensors"), ("evf-sam",))}


class Hub:
    """Stands in for the Hub: writes files into a cache laid out as the client's, or fails in a given way."""

    def __init__(self, cache: Path, head: str = COMMIT) -> None:
        self.cache, self.head = cache, head
        self.files = {"config.json": b"{}", "model.safetensors": b"weights"}
        self.asked: list[str] = []
        self.fault: Exception | None = None

    def __call__(
        self, model_id: str, revision: str, files: tuple[str, ...], on_bytes: OnBytes, *, local_only: bool
    ) -> Path:
        assert (model_id, files) == (ID, ("config.json", "*.safetensors"))
        self.asked.append(revision)
        directory = self.cache / "snapshots" / (self.head if revision == "main" else revision)
        if local_only and not directory.is_dir():
            raise errors.LocalEntryNotFoundError("not there")
        if self.fault is not None:
            raise self.fault
        if not directory.is_dir():
            directory.mkdir(parents=True)
            for name, content in self.files.items():
                (directory / name).write_bytes(content)
                on_bytes(len(content), 9)
        return directory


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path / "cache")


def store_of(hub: Hub, revision: str = COMMIT) -> ModelStore:
    return ModelStore(locked(revision), hub.cache / "record.json", hub)


def refused(kind: type[errors.HfHubHTTPError]) -> errors.HfHubHTTPError:
    """As the client raises it; made without a response, whose class is its transport's."""
    return kind.__new__(kind)


def test_the_first_download_records_commit_and_digest_of_every_file(hub: Hub) -> None:
    store_of(hub, "main").directory(ID)
    (model,) = json.loads((hub.cache / "record.json").read_text()).values()
    assert (model["asked"], model["commit"]) == ("main", COMMIT)
    assert {name: file["sha256"] for name, file in model["files"].items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in hub.files.items()
    }


def test_a_pinned_commit_is_asked_for_and_main_only_once(hub: Hub) -> None:
    store_of(hub).directory(ID)
    assert hub.asked == [COMMIT]
    (hub.cache / "record.json").unlink()
    hub.asked.clear()
    store_of(hub, "main").directory(ID)
    hub.head = OTHER_COMMIT
    assert store_of(hub, "main").directory(ID).name == COMMIT
    assert hub.asked == ["main", COMMIT]


def test_a_new_commit_in_the_lock_file_is_recorded_anew(hub: Hub) -> None:
    store_of(hub).directory(ID)
    hub.files["model.safetensors"] = b"better"
    assert store_of(hub, OTHER_COMMIT).directory(ID).name == OTHER_COMMIT
    (model,) = json.loads((hub.cache / "record.json").read_text()).values()
    assert model["commit"] == OTHER_COMMIT


def test_a_changed_file_stops_with_both_digests_and_the_next_step(hub: Hub) -> None:
    weights = store_of(hub).directory(ID) / "model.safetensors"
    weights.write_bytes(b"changed")
    with pytest.raises(CheckpointError, match=r"model.safetensors of owner/model is not what was recorded.*--weights"):
        store_of(hub).directory(ID)


def test_a_lost_file_is_named(hub: Hub) -> None:
    hub.files["tokenizer.json"] = b"{}"
    (store_of(hub).directory(ID) / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"owner/model has lost tokenizer\.json"):
        store_of(hub).directory(ID)


def test_half_a_file_is_told_by_the_name_it_is_stored_under(hub: Hub, tmp_path: Path) -> None:
    directory = hub.cache / "snapshots" / COMMIT
    directory.mkdir(parents=True)
    (directory / "config.json").write_bytes(b"{}")
    blob = tmp_path / hashlib.sha256(b"all of the weights").hexdigest()
    blob.write_bytes(b"all of")
    (directory / "model.safetensors").symlink_to(blob)
    with pytest.raises(CheckpointError, match=r"model.safetensors of owner/model is damaged: .*the 6 bytes here"):
        store_of(hub).directory(ID)
    assert not (hub.cache / "record.json").exists()


@pytest.mark.parametrize(("lost", "named"), [("model.safetensors", "its weights"), ("config.json", "config.json")])
def test_a_download_that_ended_early_is_not_recorded(hub: Hub, lost: str, named: str) -> None:
    del hub.files[lost]
    with pytest.raises(CheckpointError, match=f"owner/model is not whole: {named} are missing.*ask again"):
        store_of(hub).directory(ID)
    assert not (hub.cache / "record.json").exists()


FAULTS: dict[str, tuple[Callable[[], Exception], str]] = {
    "broken connection": (lambda: ConnectionError("peer closed"), r"broke off \(peer closed\); ask again"),
    "unreachable": (lambda: errors.LocalEntryNotFoundError("x"), r"the Hub was not reached; check the connection"),
    "disk full": (lambda: OSError(errno.ENOSPC, "No space left on device"), r"the disk is full: .*HF_HUB_CACHE"),
    "gated": (lambda: refused(errors.GatedRepoError), r"is gated, and there is no token: .*HF_TOKEN"),
    "gone": (lambda: refused(errors.RepositoryNotFoundError), r"shows no repository owner/model"),
    "no commit": (lambda: refused(errors.RevisionNotFoundError), r"has no revision .* on the Hub"),
    "not allowed": (lambda: PermissionError(errno.EACCES, "denied", "/cache"), r"/cache may not be written"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_failed_download_says_why_and_what_to_do(name: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    make, message = FAULTS[name]
    hub.fault = make()
    with pytest.raises(CheckpointError, match=message) as caught:
        store_of(hub).directory(ID)
    assert ID in str(caught.value) or name == "not allowed"


def test_a_full_disk_is_recognised_behind_the_clients_own_error(hub: Hub) -> None:
    hub.fault = RuntimeError("data processing error")
    hub.fault.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(CheckpointError, match="the disk is full"):
        store_of(hub).directory(ID)


def test_a_token_without_access_is_told_to_ask_for_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x")
    hub.fault = refused(errors.GatedRepoError)
    with pytest.raises(CheckpointError, match="this token's account has no access; ask for it at https://"):
        store_of(hub).directory(ID)


def test_after_a_failure_the_next_try_succeeds(hub: Hub) -> None:
    store, hub.fault = store_of(hub), ConnectionError("peer closed")
    with pytest.raises(CheckpointError):
        store.directory(ID)
    hub.fault = None
    assert store.directory(ID).name == COMMIT


def test_progress_counts_bytes(hub: Hub) -> None:
    heard: list[tuple[int, int]] = []
    store_of(hub).directory(ID, lambda done, total: heard.append((done, total)))
    assert heard == [(2, 9), (7, 9)]


def test_what_is_missing_is_told_without_fetching(hub: Hub) -> None:
    store = store_of(hub)
    assert "not whole in the cache" in str(store.missing_reason(ID))
    store.directory(ID)
    assert store.missing_reason(ID) is None


def test_a_damaged_record_is_not_silently_replaced(hub: Hub) -> None:
    hub.cache.mkdir()
    (hub.cache / "record.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"record.json is damaged .*delete it"):
        store_of(hub).directory(ID)


def test_only_the_files_of_the_lock_file_are_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, object] = {}

    def snapshot_download(model_id: str, **arguments: object) -> str:
        asked.update(arguments, id=model_id)
        bar = arguments["tqdm_class"](desc="Reconstructing", total=10, unit="B")  # type: ignore[operator]
        wire = arguments["tqdm_class"](desc="Downloading bytes", total=10, unit="B")  # type: ignore[operator]
        files = arguments["tqdm_class"](desc="Fetching 2 files", total=2)  # type: ignore[operator]
        wire.update(3)
        bar.update(4)
        files.update(1)
        bar.update(6)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    heard: list[tuple[int, int]] = []
    hub_download(ID, COMMIT, ("config.json",), lambda done, total: heard.append((done, total)), local_only=False)
    assert (asked["id"], asked["revision"], asked["allow_patterns"]) == (ID, COMMIT, ["config.json"])
    assert heard == [(4, 10), (10, 10)]


def test_the_lock_file_pins_every_default_model_to_a_commit() -> None:
    models = locked_models().values()
    assert [model.id for model in models if model.strategies and not re.fullmatch("[0-9a-f]{40}", model.revision)] == []
    assert [model.id for model in models if any(name.endswith((".py", "*")) for name in model.files)] == []


def test_models_without_a_known_commit_and_estimates_are_said() -> None:
    said = (Path(__file__).parents[3] / "docs/published-models.md").read_text(encoding="utf-8")
    models = locked_models().values()
    unpinned = {model.id for model in models if model.revision == "main"}
    assert unpinned == {"YxZhang/evf-sam2-multitask", "OpenGVLab/InternVL3_5-2B-HF"}
    assert all(f"`{name}`" in said for name in unpinned)
    assert {model.id: model.estimated for model in models if model.estimated} == {
        "vil-uob/sam3-litetext-s0": ("parameters",)
    }


def test_a_model_that_is_not_locked_is_not_fetched() -> None:
    with pytest.raises(ConfigurationError, match=r"someone/else is not in models.lock.json, and nothing unpinned"):
        find_model("someone/else")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"revision": "v1.0"}, "expected a commit of 40"),
        ({"sha": "x"}, "unknown fields"),
        ({"files": []}, "expected lists of files"),
        ({"estimated": ["size"]}, "expected a list of fields as estimated"),
    ],
)
def test_a_damaged_lock_file_names_the_field(change: dict[str, object], message: str, tmp_path: Path) -> None:
    values = {
        "revision": COMMIT,
        "licence": "mit",
        "is_gated": False,
        "bytes": 1,
        "parameters": 1,
        "files": ["a"],
        "strategies": [],
    }
    path = tmp_path / "models.lock.json"
    path.write_text(json.dumps({"models": {ID: {**values, **change}}}))
    with pytest.raises(ConfigurationError, match=message):
        locked_models(path)
