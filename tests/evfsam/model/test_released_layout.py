"""The six released variants, by the keys and shapes of their weights; no weight is stored here, only names and sizes.

In the fixtures "{0-3}" stands for the numbers 0 to 3 in as many names of one shape.
"""

import json
import logging
import re
from pathlib import Path

import pytest
import torch

from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.export import released_values
from evfsam.model.modeling import EvfSamModel
from evfsam.model.released_layout import weights_family
from evfsam.sam.families import FAMILIES
from evfsam.weights.checkpoint_files import save_weights
from evfsam.weights.loading import build_without_storage
from tests.evfsam.tiny import BEIT3, SAM

RELEASED = Path(__file__).parents[2] / "fixtures" / "released"
VARIANTS = sorted(path.stem for path in RELEASED.glob("*.json"))


def spelled_out(name: str) -> list[str]:
    match = re.search(r"\{(\d+)-(\d+)\}", name)
    if match is None:
        return [name]
    numbers = range(int(match[1]), int(match[2]) + 1)
    return [full for i in numbers for full in spelled_out(f"{name[: match.start()]}{i}{name[match.end() :]}")]


def released(variant: str) -> tuple[dict[str, object], dict[str, list[int]], int]:
    """Return a variant's config.json, its keys with their shapes, and its number of parameters."""
    stored = json.loads((RELEASED / f"{variant}.json").read_text())
    shapes = {full: shape for name, shape in stored["tensors"].items() for full in spelled_out(name)}
    return stored["config"], shapes, stored["parameter_count"]


def write_config(directory: Path, values: dict[str, object]) -> Path:
    (directory / "config.json").write_text(json.dumps(values))
    return directory


def test_all_six_variants_are_here() -> None:
    assert len(VARIANTS) == 6


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_key_and_shape_of_a_released_variant_is_ours(variant: str, tmp_path: Path) -> None:
    values, shapes, parameter_count = released(variant)
    model = build_without_storage(lambda: EvfSamModel(EvfSamConfig.load(write_config(tmp_path, values))))
    assert {name: list(value.shape) for name, value in model.state_dict().items()} == shapes
    assert sum(value.numel() for value in model.parameters()) == parameter_count


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_keys_tell_the_family(variant: str) -> None:
    values, shapes, _ = released(variant)
    family = weights_family(shapes.keys(), "here")
    assert family is not None
    assert [family.architecture] == values["architectures"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_released_configuration_comes_back_from_ours(variant: str, tmp_path: Path) -> None:
    values, _, _ = released(variant)
    config = EvfSamConfig.load(write_config(tmp_path, values))
    assert released_values(config, [torch.float32]) == {**values, "torch_dtype": "float32"}


@pytest.mark.parametrize("architectures", [None, ["EvfSamModel"], ["Another"]])
def test_keys_win_over_the_class_name(architectures: list[str] | None, tmp_path: Path) -> None:
    values, _, _ = released("evf_effisam_t__beit3_base")
    write_config(tmp_path, {**values, "architectures": architectures})
    save_weights(tmp_path, {"visual_model.mask_decoder.final_output_upscaling_layers.0.bias": torch.zeros(1)})
    config = EvfSamConfig.load(tmp_path)
    assert config.family == "efficient_sam"
    assert config.sam_config == FAMILIES["efficient_sam"].scales["tiny"]


def test_code_named_by_a_checkpoint_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values, _, _ = released("evf_sam_vit_h__beit3_large")
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    write_config(tmp_path, {**values, "auto_map": {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}})
    with caplog.at_level(logging.WARNING):
        assert EvfSamConfig.load(tmp_path).family == "sam"
    assert caplog.messages == []


def test_fields_without_a_size_are_reported_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values, _, _ = released("evf_sam_vit_h__beit3_large")
    assert EvfSamConfig.load(write_config(tmp_path, {**values, "use_cache": True})).hidden_size == 1024
    assert "ignored the fields ['use_cache']" in caplog.text


@pytest.mark.parametrize("gone", [{"sam_scale"}, {"mm_extractor_scale"}, {"sam_scale", "mm_extractor_scale"}])
def test_a_configuration_without_sizes_is_refused(gone: set[str], tmp_path: Path) -> None:
    values, _, _ = released("evf_sam_vit_h__beit3_large")
    write_config(tmp_path, {name: value for name, value in values.items() if name not in gone})
    with pytest.raises(
        CheckpointError, match=r"config\.json gives no sizes: expected the words " + ".*".join(sorted(gone))
    ):
        EvfSamConfig.load(tmp_path)


def test_weights_of_no_evf_sam_are_refused_by_their_keys() -> None:
    with pytest.raises(
        CheckpointError, match=r"here holds no EVF-SAM: .* got 2 that begin with logit_scale, text_model"
    ):
        weights_family({"text_model.a", "logit_scale"}, "here")


def test_sizes_without_a_word_are_spelled_out(tmp_path: Path) -> None:
    config = EvfSamConfig(beit3=BEIT3, sam=SAM)
    loaded = EvfSamConfig.load(write_config(tmp_path, released_values(config, [torch.float16])))
    assert (loaded.beit3, loaded.sam, loaded.family) == (config.beit3, config.sam, config.family)


def test_an_encoder_that_was_never_released_has_no_released_layout() -> None:
    with pytest.raises(ConfigurationError, match="released layout only knows BEiT-3 with early fusion"):
        released_values(EvfSamConfig(beit3=BEIT3, sam=SAM, feature="text_cls"), [torch.float32])
