"""The Hub's real client against a stand-in for the Hub on this machine: progress, interruption and what follows it."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from evfsam.errors import CheckpointError
from workbench.suites.model_lock import LockedModel
from workbench.suites.model_store import ModelStore

ID, COMMIT = "owner/model", "a" * 40
WEIGHTS = bytes(range(256)) * 400
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "model.py": b"raise SystemExit", "other.bin": b"unwanted"}
LOCKED = {ID: LockedModel(ID, COMMIT, "mit", False, 1, 1, ("config.json", "*.safetensors"), ())}


class Hub(BaseHTTPRequestHandler):
    """Serves one repository; while `is_cut`, the weights break off after half of them, and then stay away."""

    is_cut = False
    sent: list[str]

    def do_HEAD(self) -> None:
        self._head(FILES[self.path.rsplit("/", 1)[-1]])

    def do_GET(self) -> None:
        if "/tree/" in self.path:
            return self._tree()
        name = self.path.rsplit("/", 1)[-1]
        if name != "config.json":
            self.sent.append(name)
        content = FILES[name]
        start = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        if type(self).is_cut and name == "model.safetensors" and start:
            return self.connection.close()
        self._head(content, start)
        is_halved = type(self).is_cut and name == "model.safetensors"
        self.wfile.write(content[start : len(content) // 2 if is_halved else None])
        return None

    def _head(self, content: bytes, start: int = 0) -> None:
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()

    def _tree(self) -> None:
        entries = []
        for name, content in FILES.items():
            digest = hashlib.sha256(content).hexdigest()
            lfs = {"oid": digest, "size": len(content), "pointerSize": 100}
            entries.append({"type": "file", "path": name, "size": len(content), "oid": digest[:40], "lfs": lfs})
        body = json.dumps(entries).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    handler = type("FreshHub", (Hub,), {"sent": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    impatient = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    monkeypatch.setattr("huggingface_hub.file_download.time", impatient)
    yield handler
    server.shutdown()
    server.server_close()


def test_only_locked_files_arrive_and_progress_ends_at_their_size(hub: type[Hub]) -> None:
    heard: list[tuple[int, int]] = []
    directory = ModelStore(LOCKED).directory(ID, lambda done, total: heard.append((done, total)))
    assert {path.name for path in directory.iterdir()} == {"config.json", "model.safetensors"}
    assert "model.py" not in hub.sent
    assert heard[-1] == (len(WEIGHTS) + 2, len(WEIGHTS) + 2)


def test_a_hub_that_vanishes_mid_download_is_told_and_the_next_try_completes(hub: type[Hub]) -> None:
    hub.is_cut = True  # type: ignore[misc]
    store = ModelStore(LOCKED)
    with pytest.raises(CheckpointError, match=r"the download of owner/model broke off .*; ask again: what has arrived"):
        store.directory(ID)
    assert "not whole" in str(store.missing_reason(ID))
    hub.is_cut = False  # type: ignore[misc]
    assert (store.directory(ID) / "model.safetensors").read_bytes() == WEIGHTS


def test_the_record_lies_beside_the_cache_and_serves_without_a_connection(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ModelStore(LOCKED).directory(ID)
    record = json.loads((tmp_path / "text-prompted-sam-models.json").read_text())
    assert record[ID]["files"]["model.safetensors"]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.sent.clear()
    ModelStore(LOCKED).directory(ID)
    assert hub.sent == []


def test_half_a_file_in_the_cache_is_refused_by_the_digest_that_names_it(hub: type[Hub], tmp_path: Path) -> None:
    weights = ModelStore(LOCKED).directory(ID) / "model.safetensors"
    (tmp_path / "text-prompted-sam-models.json").unlink()
    weights.resolve().write_bytes(WEIGHTS[: len(WEIGHTS) // 2])
    with pytest.raises(CheckpointError, match=r"model\.safetensors of owner/model is damaged: the Hub promises"):
        ModelStore(LOCKED).directory(ID)
    assert hub.sent == ["model.safetensors"]
