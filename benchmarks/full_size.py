"""Every released variant at full size, on random weights: `python -m benchmarks.full_size [--variant NAME ...]`.

Builds the model, saves it in the released layout, then loads it in a fresh process through
`EvfSamModel.from_pretrained` and asks it for a phrase in two images: the first warms up, the second counts. Prints
seconds by stage and peak memory beside those of the paper's own code. Peaks include Python, PyTorch and the weights;
weights that are mapped from their file count once they are read. The largest variant needs 6 GB of disk and 7 GB of
memory.
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
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from benchmarks.measurements import chosen_device
from benchmarks.memory import GIB, peak_bytes, resident_bytes
from evfsam.encoders.tokenizers import PhraseTokenizer
from evfsam.model.configuration import EvfSamConfig
from evfsam.model.export import MAX_SHARD_BYTES, released_values
from evfsam.model.modeling import EvfSamModel
from evfsam.model.processing import EvfSamProcessor
from evfsam.model.strategy import EvfSamStrategy
from evfsam.weights.checkpoint_files import save_weights, write_config
from evfsam.weights.loading import assign_strictly, build_without_storage
from workbench.comparison import Comparison, StrategyResult
from workbench.suites.registry import SUITES, Suite

ROOT: Final = Path(__file__).resolve().parent.parent
PHRASE: Final = "the dog left of the red ball"
SIZE: Final = (427, 640)
"""(H, W) of the images, as the reference's."""
DECIMAL_GB: Final = 10**9
"""The reference's gigabyte."""


@dataclass(frozen=True)
class Variant:
    """A released model: what its `config.json` says."""

    architecture: str
    mm_extractor_scale: str
    sam_scale: str

    def config(self) -> EvfSamConfig:
        """Return its sizes."""
        return EvfSamConfig(
            mm_extractor_scale=self.mm_extractor_scale,
            sam_scale=self.sam_scale,
            architectures=[self.architecture],
        )


VARIANTS: Final[Mapping[str, Variant]] = {
    "evf_sam_vit_h": Variant("EvfSamModel", "large", "huge"),
    "evf_sam2_hiera_l": Variant("EvfSam2Model", "large", "large"),
    "evf_sam2_hiera_t": Variant("EvfSam2Model", "large", "tiny"),
    "evf_sam2_video_hiera_l": Variant("EvfSam2Model", "large", "large"),
    "evf_effisam_s": Variant("EvfEffiSamModel", "large", "small"),
    "evf_effisam_t": Variant("EvfEffiSamModel", "base", "tiny"),
}


@dataclass(frozen=True)
class Figures:
    """Seconds by stage and gigabytes (10**9 bytes) of one run.

    Attributes:
        encode_s, fuse_s, decode_s, total_s: image encoder, BEiT-3 with the projector, prompt encoder to mask, all.
        warm_up_s: the whole first run.
        loaded_gb, peak_gb: resident once the model is there, and at most.
    """

    encode_s: float
    fuse_s: float
    decode_s: float
    total_s: float
    warm_up_s: float
    loaded_gb: float
    peak_gb: float


REFERENCE_SOURCE: Final = (
    "the paper's own inference() in float32 on random weights, one 640x427 image, a phrase of 8 tokens with its ends, "
    "torch 2.14.1, 2 threads on a 2-core AMD EPYC virtual machine shared with another job, one warm-up run and one "
    "timed run; runs of one model differ by up to 15 %"
)
REFERENCE: Final[Mapping[str, Figures]] = {
    "evf_sam_vit_h": Figures(79.27, 1.30, 0.08, 80.66, 87.02, 5.92, 9.44),
    "evf_sam2_hiera_l": Figures(19.95, 1.58, 0.10, 21.70, 18.87, 4.31, 4.99),
}


def random_weights(model: nn.Module, device: str | torch.device = "cpu") -> dict[str, torch.Tensor]:
    """Draw values for a model without storage: scales of norms 1, other vectors 0, the rest small.

    The modules' own first values take minutes at this size, and time and memory do not depend on them.
    """
    generator = torch.Generator(device).manual_seed(0)
    weights = {}
    for name, value in model.state_dict().items():
        if value.ndim > 1:
            weights[name] = torch.empty(value.shape, device=device).normal_(std=0.02, generator=generator)
        else:
            fill = torch.ones if name.endswith("weight") else torch.zeros
            weights[name] = fill(value.shape, device=device, dtype=value.dtype)
    return weights


def random_model(config: EvfSamConfig, device: torch.device, dtype: torch.dtype) -> EvfSamModel:
    """Build a model whose random weights are drawn on the device; no file is read or written.

    Two models of one configuration hold the same values, rounded to their number types.
    """
    model = build_without_storage(lambda: EvfSamModel(config))
    exact = tuple(f"visual_model.{part}." for part in model.family.float32_parts)
    weights = random_weights(model, device)
    assign_strictly(model, weights, "random weights", device=device, dtype=dtype, float32_parts=exact)
    return model.eval().requires_grad_(False)


def load_random_vit_h(directory: Path, *, device: torch.device, dtype: torch.dtype) -> EvfSamStrategy:
    """Build EVF-SAM on ViT-H at its released size on random weights, with the tokenizer of a directory."""
    return _random_strategy(VARIANTS["evf_sam_vit_h"].config(), directory, device, dtype)


def load_random_small(directory: Path, *, device: torch.device, dtype: torch.dtype) -> EvfSamStrategy:
    """Build an EVF-SAM of a directory's sizes, but on random weights, with the tokenizer that lies there."""
    return _random_strategy(EvfSamConfig.load(directory), directory, device, dtype)


def _random_strategy(config: EvfSamConfig, directory: Path, device: torch.device, dtype: torch.dtype) -> EvfSamStrategy:
    tokenizer = PhraseTokenizer.from_pretrained(directory, config.encoder_sizes.max_text_tokens)
    return EvfSamStrategy(random_model(config, device, dtype), EvfSamProcessor(tokenizer, config))


def save_released(config: EvfSamConfig, directory: Path) -> dict[str, float]:
    """Build a model with random weights and write it as the authors would; seconds of both and its size."""
    started = time.perf_counter()
    weights = random_weights(build_without_storage(lambda: EvfSamModel(config)))
    built = time.perf_counter()
    save_weights(directory, weights, max_shard_bytes=MAX_SHARD_BYTES)
    write_config(directory, released_values(config, (value.dtype for value in weights.values())))
    mini = SUITES["mini"].strategies["evf-sam"].directory
    tokenizer = PhraseTokenizer.from_pretrained(mini, config.encoder_sizes.max_text_tokens)
    tokenizer.save_pretrained(directory, released=True)
    return {
        "build_s": built - started,
        "save_s": time.perf_counter() - built,
        "parameters": sum(value.numel() for value in weights.values()),
        "file_bytes": sum(path.stat().st_size for path in directory.iterdir()),
    }


def random_image(seed: int) -> np.ndarray:
    """(427, 640, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def load_and_compare(directory: Path, device: str, dtype: torch.dtype) -> dict[str, Any]:
    """Load a checkpoint as the product does and ask for a phrase in two images; JSON values.

    Raises:
        RuntimeError: the strategy failed.
    """
    entry = replace(SUITES["mini"].strategies["evf-sam"], directory=directory)
    comparison = Comparison(Suite("full-size", "Full size", "Random weights.", {"evf-sam": entry}), device, dtype)
    started = time.perf_counter()
    strategy = comparison.strategy("evf-sam")
    load_s, loaded_bytes = time.perf_counter() - started, resident_bytes()
    assert isinstance(strategy, EvfSamStrategy)
    started = time.perf_counter()
    identity = strategy.backbone.encoder_identity  # read once a model, so that equal encoders share embeddings
    identity_s = time.perf_counter() - started
    warm_up, _ = _ask(comparison, seed=0)
    result, processor_s = _ask(comparison, seed=1)
    seconds = result.segmentation.seconds
    figures = Figures(
        seconds["encode image"],
        seconds["fuse"],
        seconds["decode"],
        result.seconds,
        warm_up.seconds,
        loaded_bytes / DECIMAL_GB,
        peak_bytes() / DECIMAL_GB,
    )
    return {
        "load_s": load_s,
        "identity_s": identity_s,
        "encoder_identity": identity,
        "processor_s": processor_s,
        "figures": asdict(figures),
        "mask_size": list(result.segmentation.mask.shape),
        "threads": torch.get_num_threads(),
    }


def _ask(comparison: Comparison, seed: int) -> tuple[StrategyResult, float]:
    """Ask for the phrase in a random image: the answer, and processor seconds of all threads together."""
    used = time.process_time()
    (result,) = comparison.run(random_image(seed), PHRASE)
    used = time.process_time() - used
    if result.segmentation.verdict.kind == "failed":
        raise RuntimeError(f"the strategy failed: {result.segmentation.verdict.reason}")
    return result, used


def measure(name: str, device: str, dtype: str) -> dict[str, Any]:
    """Measure a variant: one process builds and saves it, another loads and asks it.

    Raises:
        subprocess.CalledProcessError: one of them failed, most likely for want of memory or disk.
    """
    with tempfile.TemporaryDirectory(prefix="full-size-") as folder:
        order = {"config": asdict(VARIANTS[name]), "directory": folder, "device": device, "dtype": dtype}
        saved = _in_own_process({**order, "step": "save"})
        loaded = _in_own_process({**order, "step": "load"})
    return {"variant": name, "device": device, "dtype": dtype, **saved, **loaded}


def _in_own_process(order: Mapping[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        order = {**order, "answer": str(answer)}
        subprocess.run(
            [sys.executable, "-m", "benchmarks.full_size", "--child", json.dumps(order)], cwd=ROOT, check=True
        )
        values: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return values


def child_main(order: Mapping[str, Any]) -> None:
    """Be one of the child processes of `measure`."""
    directory = Path(order["directory"])
    if order["step"] == "save":
        done = save_released(Variant(**order["config"]).config(), directory)
    else:
        done = load_and_compare(directory, order["device"], getattr(torch, order["dtype"]))
    Path(order["answer"]).write_text(json.dumps(done), encoding="utf-8")


def report(measured: Mapping[str, Any]) -> list[str]:
    """Put a variant's figures into lines for people, beside the reference's where there are any."""
    ours, reference = Figures(**measured["figures"]), REFERENCE.get(measured["variant"])
    lines = [
        f"{measured['variant']}: {measured['parameters'] / 1e9:.3f} G parameters, "
        f"{measured['file_bytes'] / GIB:.2f} GiB of files; {measured['dtype']} on {measured['device']}, "
        f"{measured['threads']} threads of {os.cpu_count()} cores",
        f"  build {measured['build_s']:.1f} s, save {measured['save_s']:.1f} s, load {measured['load_s']:.1f} s, "
        f"identify the encoder {measured['identity_s']:.1f} s",
        f"  {'':<28} {'ours':>8} {'reference':>10} {'times as fast':>14}",
    ]
    rows = {
        "image encoder, s": "encode_s",
        "BEiT-3 and projector, s": "fuse_s",
        "prompt encoder to mask, s": "decode_s",
        "all, s": "total_s",
        "all, warm-up run, s": "warm_up_s",
    }
    for title, field in rows.items():
        value = getattr(ours, field)
        beside = (
            ""
            if reference is None
            else f" {getattr(reference, field):>10.2f} {getattr(reference, field) / value:>14.2f}"
        )
        lines.append(f"  {title:<28} {value:>8.2f}{beside}")
    lines.append(f"  {'all, of all threads, s':<28} {measured['processor_s']:>8.2f}")
    for title, field in {"memory once loaded, GB": "loaded_gb", "peak memory, GB": "peak_gb"}.items():
        beside = "" if reference is None else f" {getattr(reference, field):>10.2f}"
        lines.append(f"  {title:<28} {getattr(ours, field):>8.2f}{beside}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the variants asked for, one after the other, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", action="append", choices=list(VARIANTS), help="may be repeated; all by default")
    parser.add_argument("--device", choices=["cpu", "cuda", "mps"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        child_main(json.loads(chosen.child))
        return 0
    device = chosen_device(parser, chosen.device)
    measured = []
    for name in chosen.variant or list(VARIANTS):
        measured.append(measure(name, device.type, chosen.dtype))
        print("\n".join(report(measured[-1])), flush=True)
    if any(one["variant"] in REFERENCE for one in measured):
        print(f"reference: {REFERENCE_SOURCE}")
    if chosen.out:
        chosen.out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
