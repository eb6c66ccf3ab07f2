import json
from pathlib import Path

import pytest

from evfsam.encoders.beit3 import Beit3Config
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.model.configuration import EvfSamConfig
from evfsam.sam.efficient_sam import EfficientSamConfig
from evfsam.sam.families import FAMILIES
from evfsam.sam.sam import SamConfig
from evfsam.sam.sam2 import Sam2Config
from tests.evfsam.tiny import BEIT3, SAM

RELEASED = {
    "_name_or_path": "somewhere",
    "architectures": ["EvfSamModel"],
    "hidden_size": 1024,
    "out_dim": 256,
    "mm_extractor_scale": "large",
    "sam_scale": "huge",
    "model_type": "evf",
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.30.2",
}


def written(directory: Path, values: dict[str, object]) -> Path:
    (directory / "config.json").write_text(json.dumps(values))
    return directory


def test_the_released_file_gives_the_released_sizes(tmp_path: Path) -> None:
    config = EvfSamConfig.load(written(tmp_path, RELEASED))
    assert config.beit3_config == Beit3Config(224, 16, 64010, 1024, 16, 4096, 24, 1024)
    assert config.sam_config == SamConfig()
    assert (config.sam_config.encoder_depth, config.sam_config.image_size) == (32, 1024)


@pytest.mark.parametrize(
    ("architecture", "scale", "family", "sizes"),
    [
        ("EvfSam2Model", "large", "sam2", Sam2Config()),
        ("EvfSam2Model", "tiny", "sam2", FAMILIES["sam2"].scales["tiny"]),
        ("EvfEffiSamModel", "small", "efficient_sam", EfficientSamConfig()),
        ("EvfEffiSamModel", "tiny", "efficient_sam", FAMILIES["efficient_sam"].scales["tiny"]),
    ],
)
def test_the_family_is_told_by_the_class_and_kept(
    architecture: str, scale: str, family: str, sizes: object, tmp_path: Path
) -> None:
    """The word for the sizes does not tell it: "tiny" is legal for two families."""
    released = {**RELEASED, "architectures": [architecture], "sam_scale": scale}
    config = EvfSamConfig.load(written(tmp_path, released))
    assert (config.family, config.sam_config) == (family, sizes)
    config.save_pretrained(tmp_path)
    again = EvfSamConfig.load(tmp_path)
    assert (again.family, again.architectures, again.sam_config) == (family, [architecture], sizes)
    assert EvfSamConfig(family=family, sam_scale=scale).architectures == [architecture]


def test_the_base_encoder_is_known(tmp_path: Path) -> None:
    values = {**RELEASED, "mm_extractor_scale": "base", "hidden_size": 768}
    sizes = EvfSamConfig.load(written(tmp_path, values)).beit3_config
    assert (sizes.embed_dim, sizes.head_count, sizes.ffn_dim, sizes.layer_count) == (768, 12, 3072, 12)


def test_spelled_out_sizes_come_back_from_a_file(tmp_path: Path) -> None:
    config = EvfSamConfig(beit3=BEIT3, sam=SAM)
    config.save_pretrained(tmp_path)
    loaded = EvfSamConfig.load(tmp_path)
    assert loaded.beit3_config == config.beit3_config == Beit3Config.from_dict(BEIT3)
    assert loaded.sam_config == config.sam_config == SamConfig.from_dict(SAM)
    assert (loaded.hidden_size, loaded.out_dim, loaded.pad_token_id) == (32, 32, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "sam", "hiden_size": 3}, r"unknown fields \['hiden_size'\]"),
        ({"mm_extractor_scale": "tiny"}, r"mm_extractor_scale to be one of \['base', 'large'\], got 'tiny'"),
        ({"sam_scale": "tiny"}, r"sam_scale to be one of \['base', 'huge', 'large'\], got 'tiny'"),
        ({"hidden_size": 768}, "hidden_size 1024, which is the width of the encoder's feature, got 768"),
        ({"out_dim": 64}, "out_dim 256, which is SAM's prompt width, got 64"),
        (
            {"architectures": ["EvfSam3Model"]},
            r"expected weights of one of \['EvfEffiSamModel', .* got \['EvfSam3Model'\]",
        ),
        ({"family": "sam3"}, r"family to be one of \['efficient_sam', 'sam', 'sam2'\], got 'sam3'"),
        ({"family": "sam2"}, "EvfSamModel is of the family 'sam', but the field family says 'sam2'"),
        ({"beit3": {"depth": 3}}, r"BEiT-3: unknown fields \['depth'\]"),
    ],
)
def test_fields_that_do_not_fit_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EvfSamConfig.load(written(tmp_path, {**RELEASED, **change}))


def test_another_models_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model_type 'evf'\) in .*, got 'clip'"):
        EvfSamConfig.load(written(tmp_path, {"model_type": "clip"}))
