"""SAM's image encoder, ours against the published one: `python -m benchmarks.image_encoder [--out FILE.json]`.

Builds ViT-H at full size with the same random weights twice, each in a process of its own, so that one's memory does
not show in the other's peak; encodes one random image a few times and compares seconds, peak memory and the
embeddings. Peaks of processes include Python, PyTorch and the weights. `benchmarks.gpu` measures the encoder on a GPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from benchmarks.memory import GIB, peak_bytes, resident_bytes
from benchmarks.operations import count_operations
from evfsam.sam.image_encoder import ImageEncoder
from evfsam.sam.sam import SamConfig

ROOT: Final = Path(__file__).resolve().parent.parent
KINDS: Final[Mapping[str, type[ImageEncoderViT]]] = {"ours": ImageEncoder, "segment_anything": ImageEncoderViT}


@dataclass(frozen=True)
class EncoderBounds:
    """What our encoder should reach on a CPU, relative to the published one."""

    speed_ratio: float = 1.5
    memory_ratio: float = 0.65
    difference: float = 1e-4


@dataclass(frozen=True)
class CpuRun:
    """One encoder in one process.

    Attributes:
        seconds: of each timed run.
        processor_seconds: of the same runs, all threads together; tells little of waiting, and nothing of neighbours.
        warm_up_s: of the runs before them.
        built_bytes: resident after building: Python, PyTorch and weights.
        peak_bytes: the most resident at any time.
        threads: PyTorch's.
    """

    seconds: list[float]
    processor_seconds: list[float]
    warm_up_s: float
    built_bytes: int
    peak_bytes: int
    threads: int


def build(kind: str, config: SamConfig) -> ImageEncoderViT:
    """Build an encoder with fresh weights from a fixed seed; tables that start at zero get values that matter."""
    torch.manual_seed(0)
    encoder = KINDS[kind](
        img_size=config.image_size,
        patch_size=config.vit_patch_size,
        embed_dim=config.encoder_embed_dim,
        depth=config.encoder_depth,
        num_heads=config.encoder_num_heads,
        mlp_ratio=config.mlp_ratio,
        out_chans=config.prompt_embed_dim,
        qkv_bias=config.qkv_bias,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=config.use_rel_pos,
        window_size=config.window_size,
        global_attn_indexes=config.encoder_global_attn_indexes,
    )
    for name, parameter in encoder.named_parameters():
        if "pos" in name.rsplit(".", 1)[-1]:
            nn.init.normal_(parameter, std=0.1)
    return encoder.requires_grad_(False).eval()


def operations_of(kind: str, config: SamConfig) -> int:
    """Count what one image takes, without the weights' memory; see `benchmarks.operations`."""
    with torch.device("meta"), torch.no_grad():
        encoder = build(kind, config)
        image = torch.zeros(1, 3, config.image_size, config.image_size)
        return count_operations(lambda: encoder(image))


def random_image(config: SamConfig) -> torch.Tensor:
    """(1, 3, side, side) as if normalised."""
    return torch.randn(1, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(1))


def run_on_cpu(
    kind: str, config: SamConfig, repeats: int, warm_ups: int = 1, dtype: torch.dtype = torch.float32
) -> tuple[CpuRun, torch.Tensor]:
    """Encode one image `repeats` times after warming up; the embeddings come too."""
    torch.set_default_dtype(dtype)  # weights that are made in another type would show in the peak
    encoder, image = build(kind, config), random_image(config)
    torch.set_default_dtype(torch.float32)
    built_bytes = resident_bytes()
    seconds, processor_seconds = [], []
    with torch.inference_mode():
        for _ in range(warm_ups + repeats):
            started, used = time.perf_counter(), time.process_time()
            embeddings = encoder(image)
            seconds.append(time.perf_counter() - started)
            processor_seconds.append(time.process_time() - used)
    run = CpuRun(
        seconds=seconds[warm_ups:],
        processor_seconds=processor_seconds[warm_ups:],
        warm_up_s=sum(seconds[:warm_ups]),
        built_bytes=built_bytes,
        peak_bytes=peak_bytes(),
        threads=torch.get_num_threads(),
    )
    return run, embeddings


def run_in_own_process(
    kind: str, config: SamConfig, repeats: int, warm_ups: int, dtype: str = "float32"
) -> tuple[CpuRun, np.ndarray]:
    """Do `run_on_cpu` in a fresh process.

    Raises:
        subprocess.CalledProcessError: it failed, most likely for want of memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        order = {"kind": kind, "config": config.to_dict(), "repeats": repeats, "warm_ups": warm_ups}
        order |= {"dtype": dtype, "folder": folder}
        subprocess.run([sys.executable, "-m", __spec__.name, "--child", json.dumps(order)], cwd=ROOT, check=True)
        values = json.loads(Path(folder, "run.json").read_text(encoding="utf-8"))
        return CpuRun(**values), np.load(Path(folder, "embeddings.npy"))


def child_main(order: Mapping[str, Any]) -> None:
    """Be the child process of `run_in_own_process`."""
    config = SamConfig.from_dict(order["config"])
    dtype = getattr(torch, order["dtype"])
    run, embeddings = run_on_cpu(order["kind"], config, order["repeats"], order["warm_ups"], dtype)
    np.save(Path(order["folder"], "embeddings.npy"), embeddings.float().numpy())
    Path(order["folder"], "run.json").write_text(json.dumps(asdict(run)), encoding="utf-8")


def compare_on_cpu(config: SamConfig, repeats: int, warm_ups: int) -> dict[str, Any]:
    """Run both encoders, one after the other; JSON values."""
    runs, embeddings = {}, []
    for kind in KINDS:
        runs[kind], values = run_in_own_process(kind, config, repeats, warm_ups)
        embeddings.append(values)
    ours, published = runs["ours"], runs["segment_anything"]
    return {
        "runs": {kind: asdict(run) for kind, run in runs.items()},
        "speed_ratio": min(published.seconds) / min(ours.seconds),
        "processor_ratio": min(published.processor_seconds) / min(ours.processor_seconds),
        "memory_ratio": ours.peak_bytes / published.peak_bytes,
        "difference": float(np.abs(embeddings[0] - embeddings[1]).max()),
        "largest_value": float(np.abs(embeddings[1]).max()),
    }


def report_cpu(measured: Mapping[str, Any], bounds: EncoderBounds) -> list[str]:
    """Put the figures of a CPU into lines for people."""
    lines = [
        f"{'':<18} {'seconds':>8} {'of cores':>9} {'warm-up':>8} {'built GiB':>10} {'peak GiB':>9} {'peak - built':>13}"
    ]
    for kind, run in measured["runs"].items():
        extra = (run["peak_bytes"] - run["built_bytes"]) / GIB
        lines.append(
            f"{kind:<18} {min(run['seconds']):>8.2f} {min(run['processor_seconds']):>9.2f} {run['warm_up_s']:>8.2f} "
            f"{run['built_bytes'] / GIB:>10.2f} {run['peak_bytes'] / GIB:>9.2f} {extra:>13.2f}"
        )
    speed, memory, difference = measured["speed_ratio"], measured["memory_ratio"], measured["difference"]
    rows = [
        ("times as fast", speed, f"at least {bounds.speed_ratio:g}", speed >= bounds.speed_ratio),
        ("share of its peak memory", memory, f"at most {bounds.memory_ratio:g}", memory <= bounds.memory_ratio),
        ("largest difference", difference, f"at most {bounds.difference:g}", difference <= bounds.difference),
    ]
    lines.append("")
    lines += [
        f"{title:<26} {value:>10.3g}   {bound:<15} {'within' if is_within else 'OVER'}"
        for title, value, bound, is_within in rows
    ]
    lines.append(f"{'times as little of cores':<26} {measured['processor_ratio']:>10.3g}")
    lines.append(f"(largest absolute value of the published embeddings: {measured['largest_value']:.3g})")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2, help="timed runs after the warm-up; the best counts (2)")
    parser.add_argument("--warm-ups", type=int, default=1, help="runs before them that do not count (1)")
    parser.add_argument("--depth", type=int, help="blocks; fewer than ViT-H's 32 for a quick look")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        child_main(json.loads(chosen.child))
        return 0
    config = SamConfig()
    if chosen.depth:
        config = replace(
            config, encoder_depth=chosen.depth, encoder_global_attn_indexes=tuple(range(0, chosen.depth, 8))
        )
    measured: dict[str, Any] = {"config": config.to_dict(), "torch": torch.__version__, "cores": os.cpu_count()}
    bounds = EncoderBounds()
    measured["cpu"] = figures = compare_on_cpu(config, max(1, chosen.repeats), max(0, chosen.warm_ups))
    threads = figures["runs"]["ours"]["threads"]
    print(
        f"ViT, {config.encoder_depth} blocks, {config.image_size} pixels, float32; {os.cpu_count()} cores, "
        f"{threads} threads, torch {torch.__version__}\n"
    )
    lines = report_cpu(figures, bounds)
    print("\n".join(lines))
    is_within = not any(line.endswith("OVER") for line in lines)
    if chosen.out:
        chosen.out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
