import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch

from benchmarks import full_size as benchmark
from evfsam.model.configuration import EvfSamConfig
from tests.evfsam.tiny import BEIT3, SAM

RELEASED = Path(__file__).parent.parent / "fixtures" / "released"


@dataclass(frozen=True)
class TinyVariant:
    """Stands in for a released variant, with sizes of its own."""

    def config(self) -> EvfSamConfig:
        return EvfSamConfig(beit3={**BEIT3, "vocab_size": 4096}, sam=SAM)


def test_the_variants_are_the_six_released_ones() -> None:
    released = {
        path.stem.partition("__")[0]: json.loads(path.read_text())["config"] for path in RELEASED.glob("*.json")
    }
    assert {name: asdict(variant) for name, variant in benchmark.VARIANTS.items()} == {
        name: {
            "architecture": values["architectures"][0],
            "mm_extractor_scale": values["mm_extractor_scale"],
            "sam_scale": values["sam_scale"],
        }
        for name, values in released.items()
    }


def test_a_checkpoint_is_saved_as_released_then_loaded_and_asked(tmp_path: Path) -> None:
    saved = benchmark.save_released(TinyVariant().config(), tmp_path)
    assert saved["file_bytes"] > 4 * saved["parameters"] > 0
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "evf"
    measured = benchmark.load_and_compare(tmp_path, "cpu", torch.float32)
    assert measured["mask_size"] == list(benchmark.SIZE)
    figures = measured["figures"]
    assert measured["processor_s"] > 0
    assert 0 < figures["encode_s"] + figures["fuse_s"] + figures["decode_s"] <= figures["total_s"]
    assert 0 < figures["loaded_gb"] <= figures["peak_gb"]


def test_the_folder_of_weights_is_gone_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []

    def fails(order: dict[str, str]) -> None:
        folders.append(Path(order["directory"]))
        assert folders[0].is_dir()
        raise RuntimeError("no memory")

    monkeypatch.setattr(benchmark, "_in_own_process", fails)
    with pytest.raises(RuntimeError, match="no memory"):
        benchmark.measure("evf_effisam_t", "cpu", "float32")
    assert not folders[0].exists()


@pytest.mark.parametrize(("variant", "beside"), [("evf_sam_vit_h", ["79.27", "2.00"]), ("evf_effisam_t", [])])
def test_the_report_sets_the_reference_beside_ours_where_there_is_one(variant: str, beside: list[str]) -> None:
    figures = benchmark.Figures(79.27 / 2, 1.0, 0.1, 41.0, 45.0, 5.0, 6.0)
    steps = {"build_s": 1.0, "save_s": 2.0, "load_s": 3.0, "identity_s": 4.0, "processor_s": 70.5}
    sizes = {"parameters": 1e9, "file_bytes": 2**32, "threads": 2}
    lines = benchmark.report(
        {"variant": variant, "dtype": "float32", "device": "cpu", "figures": asdict(figures), **steps, **sizes}
    )
    (encoder,) = [line for line in lines if "image encoder" in line]
    assert encoder.split()[3:] == [f"{79.27 / 2:.2f}", *beside]
    assert any(line.split() == ["all,", "of", "all", "threads,", "s", "70.50"] for line in lines)
    (peak,) = [line for line in lines if "peak memory" in line]
    assert peak.split()[3:] == ["6.00", *(["9.44"] if beside else [])]
