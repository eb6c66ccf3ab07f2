"""What batches are tested with: two images, and strategies without weights."""

from pathlib import Path

import pytest
from PIL import Image

from tests.webui.fakes import three_colours

SIZE = (40, 60)


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fakes have none, and their folder is the current one."""
    monkeypatch.setattr("workbench.batch.batch_run.weight_digests", lambda _, keys: {key: {} for key in keys})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(three_colours(SIZE, shift=index)).save(folder / f"{index}.png")
    return folder
