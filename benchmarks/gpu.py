"""What a GPU makes of the models, in one command: `python -m benchmarks.gpu [--minutes 8] [--json FILE]`.

Needs torch, torchvision, transformers, scipy, sentencepiece and segment_anything, and nothing of the page; what needs
more (SAM-2, pytest) says so and is left out. Nothing is fetched and no weights are read but those of the mini suite:
models at full size get random weights, drawn on the device. Parts come in the order of what they tell; each has its own
time limit, the results so far are written after each, and the whole ends within the minutes given.
`--device cpu --small` runs the same code on small models in seconds.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final

import numpy as np
import torch
from torch import nn

from benchmarks.device_timing import copy_bandwidth, product_teraflops, synchronize, timed
from benchmarks.full_size import VARIANTS, random_image, random_model, random_weights
from benchmarks.measurements import HEADING, Goal, MeasuredRow, Report, chosen_device, describe_machine
from benchmarks.memory import GIB
from benchmarks.operations import count_operations
from evfsam.model.configuration import EvfSamConfig
from evfsam.sam.image_encoder import ImageEncoder
from evfsam.sam.sam import SamConfig, build_sam
from evfsam.strategy_cards import EVF_SAM
from evfsam.types import ImageView
from evfsam.weights.loading import assign_strictly, build_without_storage
from workbench.comparison import Comparison
from workbench.names import DEVICE_NAMES
from workbench.suites.registry import SUITES, StrategyEntry, Suite

ROOT: Final = Path(__file__).resolve().parent.parent
TESTS: Final = ROOT / "tests" / "cuda"
MINI: Final = SUITES["mini"].strategies
SHARE_OF_CEILING: Final = Goal(0.6, "higher")
MANY_PHRASES: Final = Goal(3.0)
SHARED_PREFIX: Final = Goal(12.0, "higher")
MASK_IOU: Final = Goal(0.98, "higher")
PHRASES: Final = tuple(
    f"the {size} {colour} ball"
    for size in ("small", "large")
    for colour in (*("red", "green", "blue", "yellow", "black", "white", "brown", "grey"),)
)
LEAST_SECONDS: Final = 3.0
"""A part is not begun with less."""


class OutOfTime(Exception):  # noqa: N818  # it is a limit reached, not an error
    """A part's time is up."""


@dataclass
class Bench:
    """What the parts share.

    Attributes:
        device: where everything runs.
        is_small: small models that a CPU runs in a moment, instead of full size.
        report: takes the rows.
        ceiling: teraflops of a large product, once it is measured.
    """

    device: torch.device
    is_small: bool
    report: Report
    ceiling: float | None = None

    @property
    def seconds(self) -> float:
        """How long a figure is taken, seconds."""
        return 0.05 if self.is_small else 1.0

    def share(self, teraflops: float) -> float | None:
        """Return the share of the ceiling, if that is known."""
        return None if self.ceiling is None else teraflops / self.ceiling


@dataclass(frozen=True)
class Part:
    """One part of the benchmark.

    Attributes:
        name: as on the command line.
        seconds: it is stopped after so long.
        take: yields rows as they are measured; raises ImportError where this machine lacks a module.
    """

    name: str
    seconds: float
    take: Callable[[Bench], Iterator[MeasuredRow]]


def ceilings(bench: Bench) -> Iterator[MeasuredRow]:
    """Measure the largest matrix product and copy."""
    side, byte_count = (256, 2**20) if bench.is_small else (8192, 2**32)
    bench.ceiling = product_teraflops(bench.device, side)
    yield MeasuredRow("ceiling", f"bfloat16 product of {side} x {side} matrices", bench.ceiling, "TFLOP/s")
    yield MeasuredRow("ceiling", "copy, bytes read and written", copy_bandwidth(bench.device, byte_count), "GB/s")


def sam_config(bench: Bench) -> SamConfig:
    """Return ViT-H, or the mini suite's SAM with relative positions."""
    if not bench.is_small:
        return SamConfig()
    config = EvfSamConfig.load(MINI["evf-sam"].directory).sam_config
    assert isinstance(config, SamConfig)
    return replace(config, use_rel_pos=True)


def vit_operations(config: SamConfig) -> int:
    """Operations that SAM's image encoder needs for one image, two a multiply-add: no padding and no tricks counted."""
    width, side = config.encoder_embed_dim, config.embedding_size[0]
    tokens, window = side**2, config.window_size or side
    total = 2 * tokens * 3 * config.vit_patch_size**2 * width
    total += 2 * tokens * config.prompt_embed_dim * (width + 9 * config.prompt_embed_dim)
    for index in range(config.encoder_depth):
        seen = side if index in config.encoder_global_attn_indexes else window
        positions = 2 * seen if config.use_rel_pos else 0
        total += 2 * tokens * width * int(width * (4 + 2 * config.mlp_ratio) + 2 * seen**2 + positions)
    return total


def on_device(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Give a module without storage random values, drawn on the device."""
    assign_strictly(module, random_weights(module, device), "random weights", device=device, dtype=dtype)
    return module.eval().requires_grad_(False)


def encoder_rows(
    bench: Bench, part: str, title: str, encoder: nn.Module, side: int, operations: int | None
) -> Iterator[MeasuredRow]:
    """Time an image encoder in bfloat16 on one image; without `operations` they are counted."""
    image = torch.randn(1, 3, side, side, device=bench.device, dtype=torch.bfloat16)
    with torch.inference_mode():
        if operations is None:
            operations = count_operations(lambda: encoder(image))
        timing = timed(lambda: encoder(image), bench.device, seconds=bench.seconds)
    teraflops = operations / timing.milliseconds / 1e9
    yield MeasuredRow(part, f"{title}, bfloat16, one image", timing.milliseconds, "ms", note=f"{timing.runs} runs")
    yield MeasuredRow(part, f"{title}, peak memory", timing.peak_bytes / GIB, "GiB")
    yield MeasuredRow(part, f"{title}, {operations / 1e12:.2f} T operations", teraflops, "TFLOP/s")
    yield MeasuredRow(part, f"{title}, share of the ceiling", bench.share(teraflops), goal=SHARE_OF_CEILING)


def vit(bench: Bench) -> Iterator[MeasuredRow]:
    """Measure our image encoder at ViT-H's size."""
    config = sam_config(bench)
    encoder = on_device(build_without_storage(lambda: build_sam(config).image_encoder), bench.device, torch.bfloat16)
    assert isinstance(encoder, ImageEncoder)
    yield from encoder_rows(bench, "vit", "ViT-H", encoder, config.image_size, vit_operations(config))


def published_vit(bench: Bench) -> Iterator[MeasuredRow]:
    """Measure the published image encoder at the same size."""
    from benchmarks.image_encoder import build

    config = sam_config(bench)
    with torch.device(bench.device):
        encoder = build("segment_anything", config).to(torch.bfloat16)
    title = "ViT-H of segment_anything"
    for row in encoder_rows(bench, "published-vit", title, encoder, config.image_size, vit_operations(config)):
        yield replace(row, goal=None)


def hiera(bench: Bench) -> Iterator[MeasuredRow]:
    """Measure SAM-2's image encoder at Hiera-L's size."""
    import sam2  # noqa: F401  # says by its absence that this part has to be left out

    from evfsam.sam.sam2 import Sam2Config, build_sam2

    config = Sam2Config()
    if bench.is_small:
        config = Sam2Config(
            image_size=256, trunk_embed_dim=24, trunk_num_heads=1, trunk_stages=(1, 1, 2, 1), trunk_global_blocks=(3,)
        )
    with torch.device(bench.device):
        encoder = build_sam2(config).image_encoder.to(torch.bfloat16).requires_grad_(False)
    yield from encoder_rows(bench, "hiera", "Hiera-L", encoder, config.image_size, None)


def full_comparison(bench: Bench) -> Comparison:
    """Return a comparison of EVF-SAM on random weights in bfloat16."""
    loader = "load_random_small" if bench.is_small else "load_random_vit_h"
    directory = MINI["evf-sam"].directory
    entry = StrategyEntry(EVF_SAM, f"benchmarks.full_size:{loader}", directory)
    suite = Suite("full-size", "Full size", "Random weights.", {"evf-sam": entry})
    return Comparison(suite, bench.device, torch.bfloat16)


def ask(comparison: Comparison, view: ImageView, phrases: Sequence[str]) -> Mapping[str, float]:
    """Ask phrases about an image: the seconds of the stages, and under "all" of everything until the mask is there.

    Raises:
        RuntimeError: the strategy failed.
    """
    synchronize(comparison.device)
    started = time.perf_counter()
    (result,) = comparison.run(view, phrases)
    synchronize(comparison.device)
    seconds = time.perf_counter() - started
    if result.segmentation.verdict.kind == "failed":
        raise RuntimeError(f"the strategy failed: {result.segmentation.verdict.reason}")
    return {**result.segmentation.seconds, "all": seconds}


def best_of(repeats: int, work: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
    """Return the seconds of the fastest of some runs."""
    return min((work() for _ in range(repeats)), key=lambda seconds: seconds["all"])


def comparison_rows(bench: Bench) -> Iterator[MeasuredRow]:
    """Measure a comparison at full size: one phrase, and 16 against one."""
    comparison = full_comparison(bench)
    started = time.perf_counter()
    strategy = comparison.strategy("evf-sam")
    synchronize(bench.device)
    yield MeasuredRow("comparison", "EVF-SAM at full size: build and draw weights", time.perf_counter() - started, "s")
    started = time.perf_counter()
    _ = strategy.backbone.encoder_identity  # type: ignore[attr-defined]
    yield MeasuredRow("comparison", "digest of the image encoder, once a model", time.perf_counter() - started, "s")
    ask(comparison, comparison.view(random_image(0)), PHRASES[:1])
    fresh = iter(range(1, 100))
    first = best_of(3, lambda: ask(comparison, comparison.view(random_image(next(fresh))), PHRASES[:1]))
    for stage, seconds in first.items():
        yield MeasuredRow("comparison", f"one phrase in a new image: {stage}", seconds * 1000, "ms")
    seen = comparison.view(random_image(0))
    ask(comparison, seen, PHRASES)
    one = best_of(5, lambda: ask(comparison, seen, PHRASES[:1]))["all"]
    many = best_of(5, lambda: ask(comparison, seen, PHRASES))["all"]
    yield MeasuredRow("comparison", "one phrase more in the same image", one * 1000, "ms")
    yield MeasuredRow("comparison", f"{len(PHRASES)} phrases more in the same image", many * 1000, "ms")
    yield MeasuredRow(
        "comparison", f"{len(PHRASES)} phrases against one, image encoded before", many / one, goal=MANY_PHRASES
    )
    anew = best_of(3, lambda: ask(comparison, comparison.view(random_image(next(fresh))), PHRASES))["all"]
    title = f"{len(PHRASES)} phrases against one, image encoded anew"
    yield MeasuredRow("comparison", title, anew / first["all"], goal=MANY_PHRASES)
    if bench.device.type == "cuda":
        yield MeasuredRow("comparison", "peak memory", torch.cuda.max_memory_allocated(bench.device) / GIB, "GiB")


def precision(bench: Bench) -> Iterator[MeasuredRow]:
    """Compare masks of bfloat16 with those of float32: trained weights on scenes, then random ones at full size."""
    from workbench.datasets.scenes import scene, split_seeds

    ious = []
    comparisons = [Comparison(SUITES["mini"], bench.device, dtype) for dtype in (torch.float32, torch.bfloat16)]
    for seed in split_seeds("val")[: 2 if bench.is_small else 20]:
        drawn = scene(seed, 512)
        phrase = next(one.text for one in drawn.expressions if one.kind != "absent")
        exact, rounded = (next(iter(one.run(drawn.image, phrase, ["evf-sam"]))).segmentation for one in comparisons)
        ious.append(mask_iou(exact.mask_logits > 0, rounded.mask_logits > 0))
    title = f"bfloat16 against float32, mini, mean of {len(ious)} masks"
    yield MeasuredRow("precision", f"{title}: IoU", float(np.mean(ious)), goal=MASK_IOU, note=f"least {min(ious):.3f}")
    config = EvfSamConfig.load(MINI["evf-sam"].directory) if bench.is_small else VARIANTS["evf_sam_vit_h"].config()
    exact, rounded = (low_res_logits(config, bench.device, dtype) for dtype in (torch.float32, torch.bfloat16))
    border = exact.median()
    yield MeasuredRow(
        "precision",
        "bfloat16 against float32, full size: IoU",
        mask_iou(exact > border, rounded > border),
        note="random weights, border at the median logit",
    )
    correlation = torch.corrcoef(torch.stack([exact.flatten(), rounded.flatten()]))[0, 1]
    yield MeasuredRow("precision", "bfloat16 against float32, full size: correlation", float(correlation))


@torch.inference_mode()
def low_res_logits(config: EvfSamConfig, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """(4h, 4w) float32 of random weights for one image and phrase."""
    model = random_model(config, device, dtype)
    generator = torch.Generator(device).manual_seed(1)
    side, encoder_side = config.sam_config.image_size, config.encoder_sizes.image_size
    pixels = torch.randn(1, 3, side, side, generator=generator, device=device)
    encoder_pixels = torch.randn(1, 3, encoder_side, encoder_side, generator=generator, device=device)
    features = model.encode_image_features(pixels)
    prompts, _ = model.fuse(encoder_pixels, torch.arange(3, 11, device=device)[None])
    logits, _ = model.decode(features.image_embeddings, prompts)
    return logits[0, 0].float()


def mask_iou(left: torch.Tensor, right: torch.Tensor) -> float:
    """Return the share of the pixels in either mask that are in both; 1 where both are empty."""
    union = int((left | right).sum())
    return int((left & right).sum()) / union if union else 1.0


def points(bench: Bench) -> Iterator[MeasuredRow]:
    """Compare 25 questions about points over one prefix with 25 dialogues."""
    from benchmarks.point_query import SIZES, build_language, measure

    size = "tiny" if bench.is_small else "2b"
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3) if bench.is_small else (480, 640, 3), dtype=np.uint8)
    language = build_language(SIZES[size], bench.device, torch.bfloat16)
    measured = measure(language, image, rounds=1 if bench.is_small else 3)
    billions = measured.parameters / 1e9
    yield MeasuredRow("points", f"25 dialogues, Qwen3-VL of {billions:.2g} G parameters", measured.separate_s, "s")
    yield MeasuredRow("points", "25 questions over one prefix", measured.shared_s, "s")
    yield MeasuredRow("points", "25 points: times as fast as 25 dialogues", measured.ratio, goal=SHARED_PREFIX)
    spread = f"spread over the points {measured.spread:.1e}"
    yield MeasuredRow("points", "largest difference of P(yes)", measured.largest_difference, note=spread)


def device_tests(bench: Bench) -> Iterator[MeasuredRow]:
    """Run the tests that are marked `cuda`."""
    import pytest  # noqa: F401  # says by its absence that this part has to be left out

    if bench.device.type != "cuda":
        yield MeasuredRow("tests", "tests marked cuda", note="skipped: no CUDA device")
        return
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "cuda", str(TESTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1:]
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)
    yield MeasuredRow("tests", "tests marked cuda: exit status", done.returncode, goal=Goal(0), note="".join(last))


PARTS: Final = (
    Part("ceiling", 15, ceilings),
    Part("vit", 30, vit),
    Part("comparison", 90, comparison_rows),
    Part("precision", 60, precision),
    Part("points", 120, points),
    Part("hiera", 30, hiera),
    Part("tests", 120, device_tests),
    Part("published-vit", 30, published_vit),
)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block after so many seconds, where the system has alarms."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise OutOfTime(f"stopped after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_part(part: Part, bench: Bench, seconds: float) -> None:
    """Take one part's figures; what goes wrong becomes a row that says so."""
    try:
        with limited(seconds):
            for row in part.take(bench):
                bench.report.add(row)
    except OutOfTime as stop:
        bench.report.add(MeasuredRow(part.name, "the rest of this part", note=str(stop)))
    except ImportError as error:
        bench.report.add(MeasuredRow(part.name, "this part", note=f"skipped: {error}"))
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        bench.report.add(MeasuredRow(part.name, "the rest of this part", note=f"failed: {reason}"))
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(bench.device)
    bench.report.write()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where a goal is missed or a figure with a goal could not be taken."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="end within so many minutes (8)")
    parser.add_argument("--json", type=Path, help="also write the figures there, after each part")
    parser.add_argument("--device", choices=DEVICE_NAMES, default="cuda")
    parser.add_argument("--small", action="store_true", help="small models: shows that everything runs, not how fast")
    parser.add_argument("--part", action="append", choices=[part.name for part in PARTS], help="may be repeated")
    chosen = parser.parse_args(arguments)
    device = chosen_device(parser, chosen.device)
    if chosen.small and device.type == "cpu":
        torch.set_num_threads(1)  # small products take 20 times as long where threads wait for a busy neighbour's core
    report = Report({**describe_machine(device), "small": chosen.small}, chosen.json)
    print(", ".join(f"{name} {value}" for name, value in report.machine.items()))
    print(HEADING, flush=True)
    bench = Bench(device, chosen.small, report)
    # Python and the libraries took some seconds before this line, and the last part needs a moment to stop.
    end = started + chosen.minutes * 60 * 0.95 - min(5.0, chosen.minutes * 5)
    for part in PARTS:
        if chosen.part and part.name not in chosen.part:
            continue
        seconds = min(part.seconds, end - time.perf_counter())
        if seconds < LEAST_SECONDS:
            report.add(MeasuredRow(part.name, "this part", note="skipped: no time left"))
            report.write()
        else:
            run_part(part, bench, seconds)
    missed = report.missed()
    print(f"{len(missed)} goals missed" if missed else "all goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
