"""What several tests of training start from."""

import io
import zipfile
from pathlib import Path

import pytest
import timm
import torch

from training import tower


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of convolutions as the real one, but for its numbers; their names differ from timm's."""
    torch.manual_seed(0)
    model = timm.create_model(tower.ARCHITECTURE)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.mul_(2)
    named = {
        f"_fc.{i}" if "classifier" in name else f"_{i}": v for i, (name, v) in enumerate(model.state_dict().items())
    }
    content = io.BytesIO()
    torch.save(named, content)
    path = tmp_path_factory.mktemp("package") / tower.PACKAGE
    with zipfile.ZipFile(path, "w") as package:
        package.writestr(tower._IN_PACKAGE, content.getvalue())
    return path
