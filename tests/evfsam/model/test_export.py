import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from evfsam.__main__ import main
from evfsam.encoders.tokenizers import PhraseTokenizer
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.export import WeightLayout, export_checkpoint
from evfsam.model.modeling import EvfSamModel
from evfsam.weights.checkpoint_files import read_weights, save_weights
from tests.evfsam.tiny import BEIT3, SAM, TOKENIZER_DIRECTORY
from tests.evfsam.tiny_families import FAMILY_SIZES, tiny_family_model, write_released


def weight_bytes(directory: Path) -> dict[str, tuple[torch.dtype, bytes]]:
    return {
        name: (value.dtype, value.contiguous().view(torch.uint8).numpy().tobytes() if value.ndim else b"")
        for name, value in read_weights(directory).items()
    }


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    model, folder = tiny_family_model("sam"), tmp_path / "ours"
    model.save_pretrained(folder, storage_dtype=torch.float16)
    PhraseTokenizer.from_pretrained(TOKENIZER_DIRECTORY, 38).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", sorted(FAMILY_SIZES))
def test_a_round_trip_keeps_every_bit(family: str, tmp_path: Path) -> None:
    source = write_released(tmp_path / "source", tiny_family_model(family), pickled=True, shard_count=2)
    there = export_checkpoint(source, tmp_path / "there", "ours")
    back = export_checkpoint(there, tmp_path / "back", "released")
    assert weight_bytes(source) == weight_bytes(there) == weight_bytes(back)
    assert json.loads((back / "config.json").read_text()) == json.loads((source / "config.json").read_text())
    assert EvfSamConfig.load(there).to_dict() == EvfSamModel.from_pretrained(source).config.to_dict()
    for name in ("sentencepiece.bpe.model", "tokenizer_config.json"):
        assert (back / name).read_bytes() == (there / name).read_bytes() == (source / name).read_bytes()


def test_smaller_storage_stays_as_it_is(ours: Path, tmp_path: Path) -> None:
    released = export_checkpoint(ours, tmp_path / "released", "released")
    assert weight_bytes(released) == weight_bytes(ours)
    assert json.loads((released / "config.json").read_text())["torch_dtype"] == "float16"


def test_mixed_storage_stays_mixed(ours: Path, tmp_path: Path) -> None:
    weights = read_weights(ours)
    mixed = {name: value.float() if name.startswith("mm_") else value.clone() for name, value in weights.items()}
    save_weights(ours, mixed)
    released = export_checkpoint(ours, tmp_path / "released", "released")
    assert {value.dtype for value in read_weights(released).values()} == {torch.float16, torch.float32}
    assert weight_bytes(released) == weight_bytes(ours)
    assert EvfSamModel.from_pretrained(released).dtype == torch.float32


def test_the_released_layout_is_what_the_authors_files_are(ours: Path, tmp_path: Path) -> None:
    (ours / "tokenizer_config.json").unlink()
    released = export_checkpoint(ours, tmp_path / "released", "released")
    assert sorted(path.name for path in released.iterdir()) == [
        *("config.json", "model.safetensors", "sentencepiece.bpe.model"),
        *("special_tokens_map.json", "tokenizer_config.json"),
    ]
    tokenizer = json.loads((released / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == "XLMRobertaTokenizer"


def test_large_weights_become_shards_behind_an_index(ours: Path, tmp_path: Path) -> None:
    released = export_checkpoint(ours, tmp_path / "released", "released", max_shard_bytes=100_000)
    shards = sorted(released.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert max(path.stat().st_size for path in shards) < 150_000
    assert not (released / "model.safetensors").exists()
    assert weight_bytes(released) == weight_bytes(ours)
    index = json.loads((released / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in read_weights(ours).values())


def test_shards_replace_an_older_whole_file(tmp_path: Path) -> None:
    save_weights(tmp_path, {"a": torch.zeros(2)})
    save_weights(tmp_path, {"a": torch.ones(2), "b": torch.ones(2)}, max_shard_bytes=8)
    assert read_weights(tmp_path)["a"].tolist() == [1, 1]


@pytest.mark.parametrize("layout", ["released", "ours"])
def test_nothing_is_written_where_the_source_does_not_fit(layout: WeightLayout, ours: Path, tmp_path: Path) -> None:
    weights = {name: value for name, value in read_weights(ours).items() if not name.endswith("0.2.bias")}
    save_weights(ours, weights)
    with pytest.raises(CheckpointError, match=r"1 missing: text_hidden_fcs\.0\.2\.bias"):
        export_checkpoint(ours, tmp_path / "copy", layout)
    assert not (tmp_path / "copy").exists()


def test_nothing_is_written_without_a_tokenizer(ours: Path, tmp_path: Path) -> None:
    (ours / "sentencepiece.bpe.model").unlink()
    with pytest.raises(CheckpointError, match=r"expected sentencepiece\.bpe\.model"):
        export_checkpoint(ours, tmp_path / "copy", "released")
    assert not (tmp_path / "copy").exists()


def test_a_checkpoint_is_not_exported_onto_itself(ours: Path) -> None:
    before = weight_bytes(ours)
    with pytest.raises(CheckpointError, match="another directory than the source"):
        export_checkpoint(ours, ours, "ours")
    assert weight_bytes(ours) == before


def test_a_model_that_was_never_released_is_not_exported_as_such(ours: Path, tmp_path: Path) -> None:
    EvfSamModel(EvfSamConfig(beit3=BEIT3, sam=SAM, feature="text_cls")).save_pretrained(ours)
    with pytest.raises(ConfigurationError, match="released layout only knows"):
        export_checkpoint(ours, tmp_path / "copy", "released")
    assert not (tmp_path / "copy").exists()


def test_the_command_line_writes_and_says_so(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(ours), str(tmp_path / "copy"), "--layout", "released"]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'copy'} in the layout 'released'\n"
    assert EvfSamModel.from_pretrained(tmp_path / "copy").family.model_type == "sam"


def test_the_command_line_gives_the_reason_of_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "nothing"), str(tmp_path / "copy"), "--layout", "ours"]) == 1
    assert "error: expected a checkpoint directory or a Hub id owner/name, found no" in capsys.readouterr().err


def test_the_library_is_a_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["python", "export", "--help"])
    monkeypatch.delitem(sys.modules, "evfsam.__main__")  # as in a process of its own, where nobody imported it
    with pytest.raises(SystemExit) as left:
        runpy.run_module("evfsam", run_name="__main__", alter_sys=True)
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m evfsam export")
