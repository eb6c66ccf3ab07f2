"""Checkpoints of the Hugging Face Hub, out of a cache and from a stand-in for the Hub on this machine."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants, errors

from evfsam.errors import CheckpointError
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.weights import hub
from tests.evfsam.tiny_families import tiny_family_model, write_released

ROOT = Path(__file__).parents[3]
ANSWERS = {"gated": (403, "GatedRepo"), "absent": (404, "RepoNotFound"), "old": (404, "RevisionNotFound")}
COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache, and no connection."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def snapshot(cache: Path, repository: str, revision: str = "main") -> Path:
    """Make a repository's place in a cache: refs that name commits, and a commit's files under snapshots."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(COMMITS[revision])
    files = folder / "snapshots" / COMMITS[revision]
    files.mkdir(parents=True)
    return files


@pytest.mark.parametrize(
    ("repository", "family", "pickled"),
    [
        ("YxZhang/evf-sam-multitask", "sam", False),
        ("YxZhang/evf-sam2-multitask", "sam2", False),
        ("YxZhang/evf-sam", "sam", True),
        ("YxZhang/evf-sam2", "sam2", True),
    ],
)
def test_a_cached_repository_is_loaded_by_its_id(repository: str, family: str, pickled: bool, cache: Path) -> None:
    write_released(snapshot(cache, repository), tiny_family_model(family), pickled=pickled)
    model = EvfSamModel.from_pretrained(repository)
    assert model.family.model_type == family
    assert EvfSamProcessor.from_pretrained(repository).tokenizer.encode("left") == [0, 14, 2]


@pytest.mark.parametrize("revision", ["v1", COMMITS["v1"]])
def test_a_revision_is_a_snapshot_of_its_own(revision: str, cache: Path) -> None:
    main = snapshot(cache, "YxZhang/evf-sam")
    tagged = snapshot(cache, "YxZhang/evf-sam", "v1")
    for files in (main, tagged):
        (files / "model.safetensors").touch()
    assert hub.local_checkpoint("YxZhang/evf-sam") == main
    assert hub.local_checkpoint("YxZhang/evf-sam", revision) == tagged


def test_a_directory_wins_over_a_repository_of_its_name(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(cache, "owner/name")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub.local_checkpoint("owner/name") == Path("owner/name")


@pytest.mark.usefixtures("cache")
def test_a_path_is_never_looked_up_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def surprise(*_: object) -> Path:
        raise AssertionError("asked the Hub")

    monkeypatch.setattr(hub, "snapshot", surprise)
    for missing in (Path("owner/name"), "a/b/c", "/nowhere/here", "name", "../name"):
        with pytest.raises(CheckpointError, match="expected a checkpoint directory or a Hub id owner/name, found no"):
            hub.local_checkpoint(missing)


def test_a_repository_that_is_not_cached_needs_a_connection(cache: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"YxZhang/evf-sam@v1 is not whole in the cache .*hub, and the Hub was not reached"
    ):
        hub.local_checkpoint("YxZhang/evf-sam", "v1")
    snapshot(cache, "YxZhang/evf-sam")
    with pytest.raises(CheckpointError, match=r"expected config\.json in .*snapshots"):
        EvfSamModel.from_pretrained("YxZhang/evf-sam")


def test_only_files_by_known_names_are_asked_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    files = snapshot(cache, "YxZhang/evf-sam")

    def record(_: str, *, revision: str | None, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        assert not any("config" in name or "tokenizer" in name for name in ignore_patterns)
        assert revision is None
        asked.append(allow_patterns)
        return str(files)

    monkeypatch.setattr("huggingface_hub.snapshot_download", record)
    hub.local_checkpoint("YxZhang/evf-sam")
    (files / "model.safetensors").touch()
    hub.local_checkpoint("YxZhang/evf-sam")
    pickles_only_if_needed = [any(".bin" in name and ".index" not in name for name in names) for names in asked]
    assert pickles_only_if_needed == [False, True, False]
    assert not any(name.endswith((".py", "*")) for names in asked for name in names)


def test_a_download_that_breaks_off_is_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError("No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError, match=r"the download of owner/name broke off .*No space left.*again"):
        hub.local_checkpoint("owner/name", "v1")


class _Refusing(BaseHTTPRequestHandler):
    """Answers as the Hub does for repositories that it does not hand out."""

    def do_GET(self) -> None:
        status, code = next(answer for name, answer in ANSWERS.items() if name in self.path)
        body = json.dumps({"error": code}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def refusing_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    yield address
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("refusing_hub")
@pytest.mark.parametrize(
    ("repository", "revision", "message"),
    [
        (
            "owner/gated",
            None,
            r"owner/gated is gated, and there is no token: accept its terms at .*owner/gated, then set HF_TOKEN",
        ),
        (
            "owner/absent",
            None,
            r"no directory owner/absent; as a Hub id, the Hub shows no repository .* check the spelling",
        ),
        ("owner/old", "v0", r"owner/old has no revision 'v0' on the Hub; see https://.*commits"),
    ],
)
def test_what_the_hub_refuses_comes_with_a_next_step(repository: str, revision: str | None, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        hub.local_checkpoint(repository, revision)
    assert isinstance(caught.value.__cause__, errors.HfHubHTTPError)


def test_the_hubs_own_settings_are_honoured(tmp_path: Path) -> None:
    files = snapshot(tmp_path / "elsewhere", "owner/name")
    (files / "model.safetensors").touch()
    code = "from evfsam.weights.hub import local_checkpoint; print(local_checkpoint('owner/name'))"
    settings = {"HF_HUB_CACHE": str(tmp_path / "elsewhere"), "HF_HUB_OFFLINE": "1", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=settings, capture_output=True, text=True)
    assert done.stdout.strip() == str(files), done.stderr
