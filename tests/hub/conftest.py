from pathlib import Path

import pytest

from tests.hub.tiny_hub import use_hub


@pytest.fixture(scope="session")
def hub_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache, filled by whoever needs a repository; each is laid down once a session."""
    return tmp_path_factory.mktemp("hub")


@pytest.fixture
def hub(hub_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, in use: everything the Hub is asked for comes from it."""
    use_hub(monkeypatch, hub_root)
    return hub_root
