"""Every goal of speed and memory on a CPU, in one command: `python -m benchmarks.all [--json FILE] [--part NAME ...]`.

Prints a row a figure with its goal and whether that is met, and writes them as JSON with the machine's description.
Where a row is a ratio, both sides are taken in turns in one run and compared in processor time, all threads together,
so that a busy neighbour counts little; rows in seconds of the clock are worth as much as the machine was idle, and the
load is noted. `--small` runs the same code on less: it shows that everything runs. `benchmarks.gpu` does the same for a
GPU.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch
from PIL import Image

from benchmarks.comparison import served_app
from benchmarks.gpu import Bench, Part, run_part
from benchmarks.measurements import HEADING, Goal, MeasuredRow, Report, describe_machine
from benchmarks.memory import GIB
from benchmarks.operations import count_operations, operations_per_second
from evfsam.model.strategy import EvfSamStrategy
from evfsam.sam.sam import SamConfig
from evfsam.types import EmbeddingStore, ImageView, RgbImage, Seen
from webui.run_cache import DEFAULT_MAX_BYTES, FinishedRun
from webui.tabs.compare.runs import Progress
from workbench.comparison import Comparison, StrategyResult
from workbench.datasets.known_datasets import open_dataset
from workbench.datasets.scenes import scene, split_seeds
from workbench.embedding_cache import EmbeddingCache
from workbench.evaluation.evaluation import evaluate, limited
from workbench.export.results import write_results
from workbench.pictures.shown_pictures import read_image
from workbench.placement import runs_at_once
from workbench.side_processes import SideBySideComparison
from workbench.suites.registry import MINI

ROOT: Final = Path(__file__).resolve().parent.parent
MANY: Final = 16
MIB: Final = 2**20


class Forgetful:
    """A cache of what models see in images that can be emptied; keeps `evfsam.types.EmbeddingStore`."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Know no image any more."""
        self._kept = EmbeddingCache()

    def get_or_compute(self, key: str, compute: Callable[[], Seen]) -> tuple[Seen, bool]:
        """Do as `EmbeddingCache.get_or_compute`."""
        return self._kept.get_or_compute(key, compute)


def comparison(cache: EmbeddingStore | None = None) -> Comparison:
    """Return the mini suite on a CPU, its weights read, with as many runs at once as the page has."""
    made = Comparison(MINI, cache=cache, at_once=runs_at_once(MINI, torch.device("cpu")))
    for key in made.keys:
        made.strategy(key)
    return made


def many_phrases(bench: Bench) -> list[str]:
    """Return phrases of several scenes: 16, or two where it must be quick."""
    texts = (one.text for seed in split_seeds("val")[1000:1010] for one in scene(seed).expressions)
    return list(islice(dict.fromkeys(texts), 2 if bench.is_small else MANY))


def photograph(width: int, height: int) -> RgbImage:
    """(height, width, 3): a picture of the examples, enlarged, with noise as a camera's, the same every time."""
    cat = read_image(str(ROOT / "examples" / "photo-cat.jpg"))
    rows, columns = (np.arange(count) * cat.shape[axis] // count for axis, count in ((0, height), (1, width)))
    noise = np.random.default_rng(0).integers(-3, 4, (height, width, 1), dtype=np.int16)
    return np.clip(cat[rows][:, columns].astype(np.int16) + noise, 0, 255).astype(np.uint8)


def in_turns(rounds: int, *works: Callable[[], object]) -> list[float]:
    """Processor seconds of each work, all threads together: the least of some rounds in which they take turns."""
    least = [float("inf")] * len(works)
    for _ in range(rounds):
        for index, work in enumerate(works):
            started = time.process_time()
            work()
            least[index] = min(least[index], time.process_time() - started)
    return least


def ask(asked: Comparison, view: ImageView, phrases: Sequence[str], keys: Sequence[str] | None) -> list[StrategyResult]:
    """Ask, and insist on answers.

    Raises:
        RuntimeError: a strategy failed for another reason than what it saw.
    """
    results = list(asked.run(view, phrases, keys))
    for result in results:
        if "unexpected error" in result.segmentation.verdict.reason:
            raise RuntimeError(f"{result.key} failed: {result.segmentation.verdict.reason}")
    return results


def phrases(bench: Bench) -> Iterator[MeasuredRow]:
    """Compare 16 phrases with one, about a picture that was asked about before and about a new one."""
    cache = Forgetful()
    asked, texts = comparison(cache), many_phrases(bench)
    view = asked.view(scene(split_seeds("val")[1000]).image)
    rate = operations_per_second()

    def ask_all(key: str, *, is_new: bool) -> None:
        if is_new:
            cache.forget()
        ask(asked, view, texts, [key])

    def one_by_one(key: str, *, is_new: bool) -> None:
        for text in texts:
            if is_new:
                cache.forget()
            ask(asked, view, [text], [key])

    for key, limit in (("evf-sam", 3.0), ("clip-text", 3.0), ("point-query", 4.0)):
        for is_new, picture in ((False, "known"), (True, "new")):
            all_of_them, each = partial(ask_all, key, is_new=is_new), partial(one_by_one, key, is_new=is_new)
            all_of_them()
            one, many = in_turns(1 if bench.is_small else 5, each, all_of_them)
            note = f"{1000 * one / len(texts):.0f} ms and {1000 * many:.0f} ms"
            if not is_new:
                (answer,) = ask(asked, view, texts, [key])
                stages = answer.segmentation.seconds
                parts = {stage: seconds / sum(stages.values()) for stage, seconds in stages.items()}
                shares = ", ".join(f"{stage} {share:.0%}" for stage, share in parts.items() if share >= 0.01)
                operations = count_operations(all_of_them)
                more = operations * len(texts) / count_operations(each)
                note += f"; of the {len(texts)}: {shares}; {more:.1f} times the operations, "
                note += f"{1000 * operations / rate:.0f} ms at the rate of a large product"
            yield MeasuredRow(
                "phrases",
                f"{key}, {len(texts)} phrases against one, {picture} picture, processor time",
                many / (one / len(texts)),
                goal=Goal(limit),
                note=note,
            )


def evaluation(bench: Bench) -> Iterator[MeasuredRow]:
    """Compare `evaluate` with a loop that encodes the image anew for every question."""
    cache = Forgetful()
    asked = comparison(cache)
    samples = list(limited(open_dataset("scenes:val", None), 1 if bench.is_small else 40))
    question_count = sum(len(sample.questions) for sample in samples)
    rate = operations_per_second()

    def naively(keys: Sequence[str]) -> None:
        for sample in samples:
            for question in sample.questions:
                for key in keys:
                    asked.strategy(key).segment(ImageView(sample.image), question.phrase)

    def together(keys: Sequence[str]) -> None:
        cache.forget()
        evaluate(asked, samples, keys)

    for title, keys in (("all three strategies", asked.keys), *((key, (key,)) for key in asked.keys)):
        rounds = 1 if bench.is_small else 2
        loop, ours = in_turns(rounds, partial(naively, keys), partial(together, keys))
        seconds = loop, ours, count_operations(partial(together, keys)) / rate
        naive_ms, our_ms, alone_ms = (1000 * each / question_count for each in seconds)
        note = (
            f"processor time, {question_count} questions on {len(samples)} images: {naive_ms:.0f} ms and {our_ms:.0f} "
            f"ms each; the operations left take {alone_ms:.0f} ms at the rate of a large product"
        )
        goal = Goal(5.0, "higher") if len(keys) > 1 else None
        title = f"{title}: times as fast as the naive loop"
        yield MeasuredRow(
            "evaluate",
            title,
            loop / ours,
            goal=goal,
            note=note,
        )


def page(bench: Bench) -> Iterator[MeasuredRow]:
    """Ask the served page as a program does: what it takes beside the models."""
    from gradio_client import Client, handle_file

    keys = list(MINI.strategies)
    sizes = {"640 x 480": (640, 480)} if bench.is_small else {"24 megapixels": (6000, 4000), "640 x 480": (640, 480)}
    with TemporaryDirectory() as folder, served_app("mini", "cpu") as served:
        client = Client(served.address, verbose=False)
        for title, size in sizes.items():
            file = Path(folder, "photograph.jpg")
            Image.fromarray(photograph(*size)).save(file, quality=90)
            least: tuple[float, float] = (float("inf"), 0.0)
            for _ in range(1 if bench.is_small else 4):
                started = time.perf_counter()
                answer = client.predict(handle_file(str(file)), "the cat", keys, api_name="/compare_strategies")
                seconds = time.perf_counter() - started
                models = sum(each["seconds"] for each in answer["answers"])
                least = min(least, (seconds, models), key=lambda pair: pair[0] - pair[1])
            beside, ratio = least[0] - least[1], least[0] / least[1]
            is_large = title != "640 x 480"
            note = f"by the clock, load {os.getloadavg()[0]:.1f}"
            if is_large:
                yield MeasuredRow("page", f"{title}: answers beside the models' time", beside, "s", Goal(1.0), note)
            else:
                yield MeasuredRow(
                    "page", f"{title}: request against the models' time", ratio, goal=Goal(3.0), note=note
                )


def files(bench: Bench) -> Iterator[MeasuredRow]:
    """Write the files of a comparison on 48 megapixels."""
    asked = comparison()
    image = photograph(800, 600) if bench.is_small else photograph(8000, 6000)
    results = ask(asked, asked.view(image), ["the cat"], None)
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        write_results(Path(folder), image, "the cat", MINI.key, results)
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    yield MeasuredRow("files", f"files of {image.shape[1]} x {image.shape[0]}: time", seconds, "s", Goal(10.0))
    yield MeasuredRow("files", f"files of {image.shape[1]} x {image.shape[0]}: size", size / 1e6, "MB", Goal(60.0))


def shelf(bench: Bench) -> Iterator[MeasuredRow]:
    """Weigh a run of 16 phrases on 12 megapixels as the page keeps it."""
    asked, texts = comparison(), many_phrases(bench)
    view = asked.view(photograph(400, 300) if bench.is_small else photograph(4000, 3000))
    results = ask(asked, view, texts, None)
    run = FinishedRun(Progress(view, tuple(texts), asked.keys, tuple(results), 0.0, (None,) * len(texts)), {}, None)
    title = f"one run of {len(texts)} phrases and 3 strategies on {view.size[1]} x {view.size[0]}"
    yield MeasuredRow("shelf", title, run.nbytes / MIB, "MiB", Goal(DEFAULT_MAX_BYTES / MIB))


def fusion(bench: Bench) -> Iterator[MeasuredRow]:
    """Compare the fusion of a phrase with 48 megapixels and with 1.2: of a new picture, and asked once more."""
    strategy = comparison().strategy("evf-sam")
    assert isinstance(strategy, EvfSamStrategy)
    model, pixels = strategy.model, strategy.processor.encoder_pixels
    small, large = photograph(1280, 960), photograph(*((2560, 1920) if bench.is_small else (8000, 6000)))
    ids, words = strategy.processor.tokenizer.encode_batch(["the cat"])
    rounds, size = 2 if bench.is_small else 7, f"{large.shape[1]} x {large.shape[0]}"
    with torch.inference_mode():
        seen = {id(image): model.look(pixels(image)) for image in (small, large)}

    def fuse(image: RgbImage, *, is_new: bool) -> None:
        with torch.inference_mode():
            model.fuse(model.look(pixels(image)) if is_new else seen[id(image)], ids, words)

    resized = min(in_turns(rounds, lambda: pixels(large)))
    for is_new, picture in ((False, "known"), (True, "new")):
        one, other = in_turns(rounds, partial(fuse, small, is_new=is_new), partial(fuse, large, is_new=is_new))
        note = f"of which making it smaller, all of its pixels read, {1000 * resized:.0f} ms" if is_new else ""
        title = f"{picture} picture, {size}"
        yield MeasuredRow("fuse", f"{title} against 1280 x 960, processor time", other / one, goal=Goal(2.0))
        yield MeasuredRow("fuse", f"{title}, processor time", other * 1000, "ms", note=note)


def encoder(bench: Bench) -> Iterator[MeasuredRow]:
    """Compare SAM's image encoder with the published one, each in a process of its own."""
    from benchmarks.image_encoder import compare_on_cpu, operations_of, run_in_own_process

    config = SamConfig()
    if bench.is_small:
        config = replace(config, encoder_depth=1, encoder_global_attn_indexes=(0,))
        config = replace(config, encoder_embed_dim=64, encoder_num_heads=2, image_size=256)
    measured = compare_on_cpu(config, 1, 1)
    runs = measured["runs"]
    faster = Goal(2.5, "higher")
    ours, published = (min(runs[kind]["processor_seconds"]) for kind in ("ours", "segment_anything"))
    alone = operations_of("ours", config) / operations_per_second()
    limits = (
        f"{ours:.1f} s and {published:.1f} s; the operations alone take {alone:.1f} s at the rate of a large product, "
        f"so none is more than {published / alone:.1f} times as fast"
    )
    yield MeasuredRow(
        "encoder", "ViT-H: times as fast as the published, by the clock", measured["speed_ratio"], goal=faster
    )
    title = "ViT-H: times as fast, processor time"
    yield MeasuredRow("encoder", title, measured["processor_ratio"], goal=faster, note=limits)
    peaks = {kind: run["peak_bytes"] / GIB for kind, run in runs.items()}
    built = runs["ours"]["built_bytes"] / GIB
    note = f"{peaks['ours']:.2f} of {peaks['segment_anything']:.2f} GiB; {built:.2f} before the first image"
    yield MeasuredRow(
        "encoder", "ViT-H, float32: share of the published peak memory", measured["memory_ratio"], note=note
    )
    yield MeasuredRow("encoder", "ViT-H: largest difference of embeddings", measured["difference"], goal=Goal(1e-4))
    rounded, _ = run_in_own_process("ours", config, 1, 1, "bfloat16")
    seconds, peak = min(rounded.processor_seconds), rounded.peak_bytes / GIB
    note = f"{seconds:.1f} s, processor time"
    title = "ViT-H, bfloat16: times as fast as the published in float32"
    yield MeasuredRow("encoder", title, published / seconds, note=note)
    title, share = "ViT-H, bfloat16: share of the published peak memory", peak / peaks["segment_anything"]
    note = f"{peak:.2f} of {peaks['segment_anything']:.2f} GiB"
    yield MeasuredRow("encoder", title, share, goal=Goal(0.5), note=note)


def bfloat16(bench: Bench) -> Iterator[MeasuredRow]:
    """Compare the image encoder's blocks in bfloat16 with float32, and what the plan would choose."""
    from benchmarks.image_encoder import build, random_image
    from workbench.placement import describe_machine as described

    config = replace(SamConfig(), encoder_depth=2, encoder_global_attn_indexes=(1,))
    if bench.is_small:
        config = replace(config, encoder_embed_dim=64, encoder_num_heads=2, image_size=256)
    exact, rounded = build("ours", config), build("ours", config).to(torch.bfloat16)
    image = random_image(config)
    with torch.inference_mode():
        rounded(image.bfloat16())
        slow, fast = in_turns(1 if bench.is_small else 2, lambda: exact(image), lambda: rounded(image.bfloat16()))
    budget = described(torch.device("cpu"), {}).budget
    chosen = "nothing" if budget is None else str(budget.dtype).removeprefix("torch.")
    note = f"processor time; the plan chooses {chosen}"
    yield MeasuredRow("bfloat16", "two blocks of ViT-H: times as fast as float32", slow / fast, note=note)


def points(bench: Bench) -> Iterator[MeasuredRow]:
    """Compare 25 questions about points over one prefix with 25 dialogues."""
    from benchmarks.point_query import SIZES, build_language, measure

    language = build_language(SIZES["tiny" if bench.is_small else "small"], bench.device, torch.float32)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    measured = measure(language, image, 1 if bench.is_small else 2)
    note = f"processor time; P(yes) differs by {measured.largest_difference:.0e} at most"
    title = "25 questions over one prefix against 25 dialogues"
    yield MeasuredRow("points", title, measured.ratio, goal=Goal(12.0, "higher"), note=note)


def processor_seconds_of_children() -> float:
    """Return what all processes that this one waited for have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def import_seconds(names: str) -> float:
    """Return the processor seconds of an interpreter that imports modules and nothing else."""
    before = processor_seconds_of_children()
    subprocess.run([sys.executable, "-c", f"import {names}"], check=True)
    return processor_seconds_of_children() - before


def starts(bench: Bench) -> Iterator[MeasuredRow]:
    """Start the command line anew."""
    for title, words, limit in (
        ("python -m workbench --help", ["--help"], 0.4),
        ("python -m workbench compare, cold", ["compare", "examples/scene-colour.png", "the blue bus"], 3.0),
    ):
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "workbench", *words, *(["--out", folder] if len(words) > 1 else [])]
            timings = []
            for _ in range(1 if bench.is_small else 4):
                started, used = time.perf_counter(), processor_seconds_of_children()
                subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                timings.append((time.perf_counter() - started, processor_seconds_of_children() - used))
        seconds, used = (min(each) for each in zip(*timings, strict=True))
        note = f"by the clock, load {os.getloadavg()[0]:.1f}; {used:.2f} s of processor time"
        if len(words) > 1:
            torch_alone, both = (import_seconds(names) for names in ("torch", "torch, transformers.modeling_utils"))
            note += f", of which importing torch {torch_alone:.2f} s, and transformers' models as well {both:.2f} s"
        yield MeasuredRow("starts", title, seconds, "s", Goal(limit), note)


def visitors(bench: Bench) -> Iterator[MeasuredRow]:
    """Answer two visitors at once, a thread each, against one after the other, as a page does on two cores."""
    asked = SideBySideComparison(MINI, at_once=2)
    for key in asked.keys:
        asked.strategy(key)
    drawn = [scene(seed, 480) for seed in split_seeds("val")[1000 : 1002 if bench.is_small else 1012]]
    questions = [(one.image, expression.text) for one in drawn for expression in one.expressions[:2]]
    threads, numbers = torch.get_num_threads(), count(1)
    torch.set_num_threads(1)

    def ask_new(question: tuple[RgbImage, str]) -> None:
        image = question[0].copy()
        image[0, 0] = (*divmod(next(numbers), 256), 0)  # no process knows this picture
        ask(asked, asked.view(image), [question[1]], None)

    def answer(visitor_count: int) -> float:
        started = time.perf_counter()
        with ThreadPoolExecutor(visitor_count) as visitors:
            list(visitors.map(ask_new, questions))
        return time.perf_counter() - started

    answer(2)
    asked.beside[0].wait_until_started()
    answer(2)
    rounds = [(answer(1), answer(2)) for _ in range(1 if bench.is_small else 3)]
    alone, together = (min(each) for each in zip(*rounds, strict=True))
    asked.close()
    torch.set_num_threads(threads)
    title = "two visitors at once, against one with half the questions"
    note = f"by the clock, {len(questions)} questions, load {os.getloadavg()[0]:.1f}"
    yield MeasuredRow("visitors", title, 2 * together / alone, goal=Goal(1.2), note=note)


PARTS: Final = (
    Part("phrases", 300, phrases),
    Part("evaluate", 600, evaluation),
    Part("page", 300, page),
    Part("files", 120, files),
    Part("shelf", 120, shelf),
    Part("fuse", 120, fusion),
    Part("points", 600, points),
    Part("starts", 300, starts),
    Part("visitors", 300, visitors),
    Part("bfloat16", 300, bfloat16),
    Part("encoder", 1200, encoder),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where a goal is missed or a figure with a goal could not be taken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the figures there, after each part")
    parser.add_argument("--small", action="store_true", help="less of everything: shows that it runs, not how fast")
    parser.add_argument("--part", action="append", choices=[part.name for part in PARTS], help="may be repeated")
    chosen = parser.parse_args(arguments)
    device = torch.device("cpu")
    report = Report({**describe_machine(device), "small": chosen.small, "load": os.getloadavg()[0]}, chosen.json)
    print(", ".join(f"{name} {value}" for name, value in report.machine.items()))
    print(HEADING, flush=True)
    bench = Bench(device, chosen.small, report)
    for part in PARTS:
        if not chosen.part or part.name in chosen.part:
            run_part(part, bench, part.seconds)
    missed = report.missed()
    print(f"{len(missed)} goals missed" if missed else "all goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
