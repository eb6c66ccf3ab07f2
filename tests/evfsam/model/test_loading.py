"""A checkpoint becomes a model: whole, exact and once in memory, or not at all."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.model.strategy import load_strategy
from evfsam.weights.checkpoint_files import read_weights, save_weights
from tests.evfsam.tiny_families import FAMILY_SIZES, tiny_family_model, write_released

MINI = Path(__file__).parents[3] / "checkpoints" / "mini" / "evf-sam"
FAMILIES = sorted(FAMILY_SIZES)


@pytest.fixture(scope="module")
def models() -> dict[str, EvfSamModel]:
    """Tiny models, one a family; tests only read them."""
    return {family: tiny_family_model(family) for family in FAMILIES}


@pytest.fixture
def released(models: dict[str, EvfSamModel], tmp_path: Path) -> Path:
    return write_released(tmp_path / "checkpoint", models["sam"])


def assert_same_weights(loaded: EvfSamModel, model: EvfSamModel) -> None:
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def constants(model: EvfSamModel) -> dict[str, torch.Tensor]:
    """All tensors that a module holds and no file stores: unsaved buffers and plain attributes."""
    stored = {id(value) for value in (*model.parameters(), *model.state_dict(keep_vars=True).values())}
    return {
        f"{name}.{attribute}": value
        for name, module in model.named_modules()
        for attribute, value in {**vars(module), **module._buffers}.items()
        if isinstance(value, torch.Tensor) and id(value) not in stored
    }


@pytest.mark.parametrize("shard_count", [1, 3])
@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_released_checkpoint_is_read_in_any_of_its_four_forms(
    models: dict[str, EvfSamModel], family: str, pickled: bool, shard_count: int, tmp_path: Path
) -> None:
    write_released(tmp_path, models[family], pickled=pickled, shard_count=shard_count)
    loaded = EvfSamModel.from_pretrained(tmp_path)
    assert loaded.family.model_type == family
    assert not loaded.training
    assert_same_weights(loaded, models[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loaded_model_computes_what_the_saved_one_did(
    models: dict[str, EvfSamModel], family: str, tmp_path: Path
) -> None:
    model = models[family]
    model.save_pretrained(tmp_path)
    loaded = EvfSamModel.from_pretrained(tmp_path)
    pixels, words = torch.randn(1, 3, 64, 64), torch.tensor([[0, 7, 8, 2]])
    for mine, theirs in zip(constants(loaded).items(), constants(model).items(), strict=True):
        assert mine[0] == theirs[0]
        assert torch.equal(mine[1], theirs[1])
    results = []
    for each in (model, loaded):
        features = each.encode_image_features(pixels)
        prompt, _ = each.fuse(pixels[..., :32, :32], words)
        results.append(each.decode(features.image_embeddings, prompt, high_res_features=features.high_res_features)[0])
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)  # where a tensor lies in memory changes the last bits


@pytest.mark.parametrize("family", FAMILIES)
def test_the_type_asked_for_is_the_type_in_use(models: dict[str, EvfSamModel], family: str, tmp_path: Path) -> None:
    write_released(tmp_path, models[family])
    loaded = EvfSamModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    parts, originals = (
        tuple(f"visual_model.{part}." for part in loaded.family.float32_parts),
        models[family].state_dict(),
    )
    for name, value in loaded.state_dict().items():
        original, exact = originals[name], name.startswith(parts)
        assert value.dtype == (torch.float32 if exact else torch.bfloat16), name
        assert torch.equal(value, original if exact else original.bfloat16())


def test_an_older_name_of_the_memory_encoders_scale_is_read(models: dict[str, EvfSamModel], tmp_path: Path) -> None:
    write_released(tmp_path, models["sam2"])
    scale = "visual_model.memory_encoder.fuser.layers.1."
    rewrite_weights(tmp_path, lambda tensors: tensors.update({f"{scale}gamma": tensors.pop(f"{scale}weight")}))
    assert_same_weights(EvfSamModel.from_pretrained(tmp_path), models["sam2"])


def test_training_a_loaded_model_leaves_its_file_alone(released: Path) -> None:
    before = (released / "model.safetensors").read_bytes()
    loaded = EvfSamModel.from_pretrained(released)
    with torch.no_grad():
        for value in loaded.parameters():
            value.add_(1.0)
    assert (released / "model.safetensors").read_bytes() == before


def test_a_model_can_be_saved_where_it_came_from(models: dict[str, EvfSamModel], released: Path) -> None:
    loaded = EvfSamModel.from_pretrained(released)
    loaded.save_pretrained(released)
    assert_same_weights(loaded, models["sam"])
    assert_same_weights(EvfSamModel.from_pretrained(released), models["sam"])


def test_a_released_directory_makes_a_strategy(models: dict[str, EvfSamModel], tmp_path: Path) -> None:
    write_released(tmp_path, models["sam"])
    strategy = load_strategy(str(tmp_path), device="cpu", dtype=torch.float32)
    assert strategy.processor.tokenizer.encode("zebra top left")[1] == 9


@pytest.mark.weights
def test_the_mini_checkpoint_is_read_by_the_same_loader() -> None:
    model, stored = EvfSamModel.from_pretrained(MINI), read_weights(MINI)
    assert model.state_dict().keys() == stored.keys()
    assert all(torch.equal(value, stored[name].float()) for name, value in model.state_dict().items())
    assert len(EvfSamProcessor.from_pretrained(MINI).tokenizer.encode("the red cup")) > 3


def rewrite_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = {name: value.clone() for name, value in read_weights(directory).items()}
    change(tensors)
    save_weights(directory, tensors)


def test_one_report_names_all_that_does_not_fit(released: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["text_hidden_fcs.0.0.bias"]
        tensors["visual_model.extra"] = torch.zeros(1)
        tensors["text_hidden_fcs.0.2.bias"] = torch.zeros(7)
        tensors["text_hidden_fcs.0.0.weight"] = torch.zeros(32, 32, dtype=torch.int8)

    rewrite_weights(released, change)
    with pytest.raises(CheckpointError) as caught:
        EvfSamModel.from_pretrained(released)
    for part in (
        str(released),
        "1 missing: text_hidden_fcs.0.0.bias",
        "1 unexpected: visual_model.extra",
        "1 mis-shaped: text_hidden_fcs.0.2.bias (expected (32,), got (7,))",
        "1 of another kind of number: text_hidden_fcs.0.0.weight (torch.int8)",
    ):
        assert part in str(caught.value)


def test_a_report_stays_short_whatever_the_file_holds(released: Path) -> None:
    rewrite_weights(released, lambda tensors: tensors.update({f"{i}{'x' * 5000}": torch.zeros(1) for i in range(500)}))
    with pytest.raises(CheckpointError, match=r"500 unexpected: .* and 495 more") as caught:
        EvfSamModel.from_pretrained(released)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("other", ["sam2", "efficient_sam"])
def test_weights_of_another_family_are_refused(models: dict[str, EvfSamModel], other: str, tmp_path: Path) -> None:
    models["sam"].save_pretrained(tmp_path)
    save_weights(tmp_path, models[other].state_dict())
    with pytest.raises(CheckpointError, match=rf"config\.json describes an EVF-SAM .* weights are of .*'{other}'"):
        EvfSamModel.from_pretrained(tmp_path)


def test_weights_of_another_model_are_refused(released: Path) -> None:
    save_weights(released, {"text_model.embeddings.weight": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"holds no EVF-SAM: .* got 1 that begin with text_model"):
        EvfSamModel.from_pretrained(released)


def test_a_truncated_file_gives_no_model(released: Path) -> None:
    path = released / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged, cut short or missing .* again"):
        EvfSamModel.from_pretrained(released)


def test_a_checkpoint_without_its_tokenizer_is_refused_by_name(released: Path) -> None:
    (released / "sentencepiece.bpe.model").unlink()
    with pytest.raises(CheckpointError, match=r"expected sentencepiece\.bpe\.model in .*copy the tokenizer there"):
        EvfSamProcessor.from_pretrained(released)
    with pytest.raises(CheckpointError, match=r"expected sentencepiece\.bpe\.model"):
        load_strategy(released, device="cpu", dtype=torch.float32)


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected config\.json in .*, found none; check the path"):
        EvfSamModel.from_pretrained(tmp_path)


def test_a_directory_without_weights_is_refused(released: Path) -> None:
    (released / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"expected model\.safetensors or pytorch_model\.bin in .*found none"):
        EvfSamModel.from_pretrained(released)


def test_a_file_instead_of_a_directory_is_refused(released: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a checkpoint directory, got the file .*give the directory"):
        EvfSamModel.from_pretrained(released / "model.safetensors")


def test_sizes_that_contradict_the_weights_are_refused(models: dict[str, EvfSamModel], tmp_path: Path) -> None:
    models["sam"].save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values["beit3"]["ffn_dim"] = 48
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"mis-shaped: .*fc1\.bias \(expected \(48,\), got \(64,\)\).*more"):
        EvfSamModel.from_pretrained(tmp_path)


def test_a_revision_of_a_directory_is_refused(released: Path) -> None:
    with pytest.raises(ConfigurationError, match="which has no revision 'main'"):
        EvfSamModel.from_pretrained(released, revision="main")


def test_a_shard_that_did_not_arrive_is_named(models: dict[str, EvfSamModel], tmp_path: Path) -> None:
    write_released(tmp_path, models["sam"], shard_count=3)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"names shards .* 1 missing: model-00002-of-00003\.safetensors"):
        EvfSamModel.from_pretrained(tmp_path)


def test_a_shard_of_another_download_is_named(models: dict[str, EvfSamModel], tmp_path: Path) -> None:
    write_released(tmp_path, models["sam"], shard_count=3)
    shutil.copy(tmp_path / "model-00001-of-00003.safetensors", tmp_path / "model-00002-of-00003.safetensors")
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003\.safetensors lacks weights that .* places in it"):
        EvfSamModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("beit3", "embed_dim", "wide", r"config\.json holds a value of the wrong kind"),
        ("sam", "encoder_global_attn_indexes", 3, r"config\.json holds a value of the wrong kind"),
        ("sam", "decoder_depth", "deep", r"config\.json gives sizes that make no model"),
        ("sam", "encoder_depths", 2, r"config\.json: SAM: unknown fields \['encoder_depths'\]"),
        ("sam", "prompt_embed_dim", 30, r"config\.json: SAM: prompt_embed_dim 30 is not a positive multiple"),
    ],
)
def test_sizes_that_make_no_model_are_refused_with_their_file(
    models: dict[str, EvfSamModel], section: str, field: str, value: object, message: str, tmp_path: Path
) -> None:
    models["sam"].save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values[section][field] = value
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ConfigurationError, match=message):
        EvfSamModel.from_pretrained(tmp_path)
