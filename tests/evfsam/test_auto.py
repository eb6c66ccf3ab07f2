"""EVF-SAM loads by the habit of transformers, and no code of a checkpoint is run."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor

from evfsam.auto import register_auto_classes
from evfsam.errors import ConfigurationError
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from tests.evfsam.tiny import noise_image

RELEASED = Path(__file__).parents[1] / "fixtures" / "released"


@pytest.fixture
def checkpoint(model: EvfSamModel, processor: EvfSamProcessor, tmp_path: Path) -> Path:
    register_auto_classes()
    model.save_pretrained(tmp_path)
    processor.tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_auto_classes_load_what_our_own_do(checkpoint: Path, model: EvfSamModel) -> None:
    register_auto_classes()
    loaded, processor = AutoModel.from_pretrained(checkpoint), AutoProcessor.from_pretrained(checkpoint)
    assert isinstance(loaded, EvfSamModel)
    assert isinstance(processor, EvfSamProcessor)
    batch = processor.batch([noise_image(30, 50)], ["left"])
    assert torch.equal(loaded.segment(batch).mask_logits[0], model.segment(batch).mask_logits[0])
    half = AutoModel.from_pretrained(checkpoint, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16


def test_code_that_a_checkpoint_names_is_not_run(checkpoint: Path) -> None:
    path = checkpoint / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "auto_map": {"AutoModel": "theirs.Model", "AutoConfig": "theirs.Config"}}))
    (checkpoint / "theirs.py").write_text("raise SystemExit('code of a checkpoint ran')")
    assert isinstance(AutoModel.from_pretrained(checkpoint), EvfSamModel)


@pytest.mark.parametrize("path", sorted(RELEASED.glob("*.json")), ids=lambda path: path.stem)
def test_configurations_of_released_checkpoints_are_read_with_fields_that_say_no_size(
    path: Path, tmp_path: Path
) -> None:
    register_auto_classes()
    values = json.loads(path.read_text())["config"]
    foreign = {"torch_dtype": "float32", "mm_vision_tower": "none", "use_cache": True}
    (tmp_path / "config.json").write_text(json.dumps({**values, **foreign}))
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, EvfSamConfig)
    assert (config.hidden_size, config.sam_scale) == (values["hidden_size"], values["sam_scale"])
    assert config.architectures == values["architectures"]


def test_options_that_would_do_nothing_are_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown options \['use_fast'\]; expected only revision"):
        AutoProcessor.from_pretrained(checkpoint, use_fast=False)
