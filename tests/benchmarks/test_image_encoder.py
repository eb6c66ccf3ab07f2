from dataclasses import asdict

import pytest

from benchmarks import image_encoder as benchmark
from evfsam.sam.sam import SamConfig

TINY = SamConfig(
    image_size=64,
    vit_patch_size=16,
    encoder_embed_dim=16,
    encoder_depth=2,
    encoder_num_heads=2,
    encoder_global_attn_indexes=(1,),
    window_size=3,
    prompt_embed_dim=16,
)


def run_here(kind: str, config: SamConfig, repeats: int, warm_ups: int) -> tuple[benchmark.CpuRun, object]:
    run, embeddings = benchmark.run_on_cpu(kind, config, repeats, warm_ups)
    return run, embeddings.numpy()


def test_both_encoders_get_the_same_weights_and_image_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "run_in_own_process", run_here)
    measured = benchmark.compare_on_cpu(TINY, repeats=2, warm_ups=1)
    assert measured["difference"] < 1e-5 < measured["largest_value"]
    for run in measured["runs"].values():
        assert len(run["seconds"]) == 2
        assert 0 < run["built_bytes"] <= run["peak_bytes"]


def test_position_tables_of_the_benchmark_are_not_zero() -> None:
    tables = [value for name, value in benchmark.build("ours", TINY).named_parameters() if "pos" in name]
    assert len(tables) == 5
    assert all(bool(table.count_nonzero()) for table in tables)


def test_the_report_gives_ratios_and_what_misses_its_bound() -> None:
    slow = benchmark.CpuRun([30.0, 20.0], [55.0, 38.0], 40.0, 2 * benchmark.GIB, 6 * benchmark.GIB, 2)
    fast = benchmark.CpuRun([10.0], [19.0], 12.0, 2 * benchmark.GIB, 3 * benchmark.GIB, 2)
    measured = {
        "runs": {"ours": asdict(fast), "segment_anything": asdict(slow)},
        "speed_ratio": 2.0,
        "processor_ratio": 2.0,
        "memory_ratio": 0.7,
        "difference": 1e-6,
        "largest_value": 5.0,
    }
    lines = benchmark.report_cpu(measured, benchmark.EncoderBounds())
    assert [line.split()[1:] for line in lines[1:3]] == [
        ["10.00", "19.00", "12.00", "2.00", "3.00", "1.00"],
        ["20.00", "38.00", "40.00", "2.00", "6.00", "4.00"],
    ]
    verdicts = {line.split("   ")[0].strip(): line.split()[-1] for line in lines if line.endswith(("within", "OVER"))}
    assert verdicts == {"times as fast": "within", "share of its peak memory": "OVER", "largest difference": "within"}
    assert any("of its peak memory" in line and "0.7 " in line for line in lines)
