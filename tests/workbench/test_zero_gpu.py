"""A lent GPU: a stand-in for the `spaces` package runs the task in a fork and pickles what goes in and out."""

import os
import pickle
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import gradio as gr
import pytest
import torch
from PIL import Image

import app
from evfsam.errors import CheckpointError
from evfsam.types import SamPrompt, Segmentation, TraceEntry, Verdict
from tests.workbench.doubles import half_lit, suite_of
from webui.tabs.compare.tab import build_compare
from workbench.suites.full import full_suite
from workbench.suites.hub_entries import HubEntry
from workbench.zero_gpu import (
    LONGEST_SECONDS,
    START_SECONDS,
    GpuUnavailableError,
    ZeroGpuComparison,
    gpu_fault_in_words,
    on_cpu,
    zero_gpu_decorator,
)

Task = Callable[..., Generator[object, None, None]]


@dataclass
class FakeSpaces:
    """Keeps what was asked of it: seconds, and the arguments as the forked process got them."""

    seconds: list[int] = field(default_factory=list)
    fault: Exception | None = None

    def gpu(self, *, duration: Callable[..., int]) -> Callable[[Task], Task]:
        def decorate(task: Task) -> Task:
            def lent(*arguments: object) -> Generator[object, None, None]:
                self.seconds.append(duration(*arguments))
                if self.fault is not None:
                    raise self.fault
                yield from in_a_fork(task, arguments)

            return lent

        return decorate


def in_a_fork(task: Task, arguments: tuple[object, ...]) -> Iterator[object]:
    """Run a generator function in a child process; only pickles cross the border, and no tensor on a device."""
    reading, writing = os.pipe()
    sent = pickle.dumps(arguments)
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "wb") as pipe:
            for value in task(*pickle.loads(sent)):
                pickle.dump(value, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        while True:
            try:
                yield pickle.load(pipe)
            except EOFError:
                break
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def spaces() -> FakeSpaces:
    return FakeSpaces()


def lent(spaces: FakeSpaces, directory: Path, **loaders: str) -> ZeroGpuComparison:
    return ZeroGpuComparison(suite_of(directory, **loaders), "cpu", torch.float32, spaces.gpu)


def test_one_comparison_is_one_call_and_its_answers_cross_the_process_border(
    spaces: FakeSpaces, tmp_path: Path
) -> None:
    comparison = lent(spaces, tmp_path, left="load_bright", right="load_bright")
    results = list(comparison.run(half_lit(), "light"))
    assert len(spaces.seconds) == 1
    assert [(result.key, result.segmentation.verdict.kind) for result in results] == [
        ("left", "found"),
        ("right", "found"),
    ]
    assert results[0].segmentation.mask[:, :30].all()
    assert results[1].segmentation.embedding_was_cached
    assert comparison._strategies == {}, "what the child loads is lost with it"


def test_refinement_options_and_several_phrases_cross_the_border_too(spaces: FakeSpaces, tmp_path: Path) -> None:
    comparison = lent(spaces, tmp_path, left="load_bright")
    (result,) = comparison.run(half_lit(), "light; nothing", options={"left": MappingProxyType({"threshold": 255.0})})
    assert [answer.phrase for answer in result.answers] == ["light", "nothing"]
    (refused,) = comparison.run(half_lit(), "light", refinement=SamPrompt(box=(0.0, 0.0, 5.0, 5.0)))
    assert "takes no points and no box" in refused.segmentation.verdict.reason


def test_weights_read_before_the_launch_serve_the_fork_and_shorten_the_call(spaces: FakeSpaces, tmp_path: Path) -> None:
    comparison = lent(spaces, tmp_path, left="load_bright")
    list(comparison.run(half_lit(), "light"))
    app.preload_weights(comparison)
    list(comparison.run(half_lit(), "light"))
    assert (tmp_path / "left" / "loaded.txt").read_text().count("\n") == 2
    assert spaces.seconds[1] < spaces.seconds[0]


def test_the_duration_grows_with_strategies_and_phrases_up_to_a_bound(spaces: FakeSpaces, tmp_path: Path) -> None:
    comparison = lent(spaces, tmp_path, **{"evf-sam": "load_bright", "point-query": "load_bright"})
    app.preload_weights(comparison)
    one = comparison.seconds_for(1, ["evf-sam"])
    both = comparison.seconds_for(1, ["evf-sam", "point-query"])
    assert START_SECONDS < one < both < comparison.seconds_for(2, ["evf-sam", "point-query"])
    assert both <= 60, "an anonymous visitor has 120 s a day"
    assert comparison.seconds_for(100, ["evf-sam"]) == LONGEST_SECONDS
    assert 1.5 * LONGEST_SECONDS <= 120, "half as much again is counted"


def test_bad_input_costs_no_gpu_time(spaces: FakeSpaces, tmp_path: Path) -> None:
    comparison = lent(spaces, tmp_path, left="load_bright")
    with pytest.raises(Exception, match="expected"):
        comparison.run(half_lit(), " ")
    assert spaces.seconds == []


def test_files_are_fetched_before_the_call_and_a_failed_fetch_fails_one_strategy(
    spaces: FakeSpaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(self: HubEntry) -> None:
        raise CheckpointError(f"{self.card.title}: the disk is full")

    monkeypatch.setattr(HubEntry, "fetch", fetch)
    mixed = suite_of(tmp_path, left="load_bright", right="load_bright")
    gone = full_suite(gated_reason=lambda _: "gated").strategies["evf-sam"]
    entries = {"left": mixed.strategies["left"], "evf-sam": gone, "right": mixed.strategies["right"]}
    suite = type(mixed)("mixed", "Mixed", "", MappingProxyType(entries))
    comparison = ZeroGpuComparison(suite, "cpu", torch.float32, spaces.gpu)
    results = list(comparison.run(half_lit(), "light"))
    assert [result.key for result in results] == ["left", "evf-sam", "right"]
    assert [result.segmentation.verdict.kind for result in results] == ["found", "failed", "found"]
    assert results[1].segmentation.verdict.reason == "EVF-SAM: the disk is full"
    list(comparison.run(half_lit(), "light", ["evf-sam"]))
    assert len(spaces.seconds) == 1, "where nothing can be asked, no GPU is"


def test_a_refused_gpu_is_told_as_a_visitors_error(spaces: FakeSpaces, tmp_path: Path) -> None:
    spaces.fault = RuntimeError("You have exceeded your free ZeroGPU quota (45s requested vs. 12s left).")
    with pytest.raises(GpuUnavailableError, match="used up for now"):
        list(lent(spaces, tmp_path, left="load_bright").run(half_lit(), "light"))


def test_the_page_says_why_the_gpu_was_refused_and_keeps_what_was_given(spaces: FakeSpaces, tmp_path: Path) -> None:
    spaces.fault = RuntimeError("No GPU was available after 60s")
    Image.fromarray(half_lit()).save(tmp_path / "a.png")
    with gr.Blocks():
        page = build_compare(lent(spaces, tmp_path, left="load_bright"), ())
    options = [control.default for control in page.controls.options]
    *_, last = page.ask({"path": str(tmp_path / "a.png")}, "light", ["left"], None, 0, *options)
    assert "All GPUs are busy, and none came free in time." in str(last[page.status])
    assert page.controls.phrase not in last


@pytest.mark.parametrize(
    ("title", "message", "expected"),
    [
        (
            "ZeroGPU quota exceeded",
            "You have exceeded your ZeroGPU quota (60s requested vs. 42s left). Try again in 1:02:03. ",
            "used up for now (42 s are left, this comparison asks for 60 s). It comes back in 1:02:03. Ask fewer",
        ),
        ("ZeroGPU quota exceeded", "Space app has reached its GPU limit.", "free GPU time on Hugging Face is used up"),
        ("ZeroGPU quota exceeded", "No GPU was available after 60s. Try re-running", "All GPUs are busy"),
        ("ZeroGPU client error", "No GPU was available", "All GPUs are busy"),
        ("ZeroGPU illegal duration", "The requested GPU duration (400s) is larger than the maximum allowed", "fewer"),
        ("ZeroGPU pending credits exceeded", "You have too many ZeroGPU credits allocated", "still running"),
        ("ZeroGPU worker error", "GPU task aborted", "taken away before the comparison ended"),
        ("ZeroGPU worker error", "OutOfMemoryError", "ran out of memory"),
        ("ZeroGPU client error", "Expired ZeroGPU proxy token", "Reload it"),
        ("ZeroGPU worker error", "KeyError", "The GPU call failed (ZeroGPU worker error: KeyError)"),
    ],
)
def test_faults_of_the_lender_are_told_in_plain_words(title: str, message: str, expected: str) -> None:
    error = RuntimeError()
    error.title, error.message = title, message  # type: ignore[attr-defined]
    assert expected in gpu_fault_in_words(error)


def test_tensors_come_to_the_cpu_and_read_only_mappings_become_plain() -> None:
    segmentation = Segmentation(
        Verdict("found"),
        torch.ones(2, 2, requires_grad=True),
        prompts=(SamPrompt(text_prompt_embeddings=torch.ones(1, 2, requires_grad=True)),),
        trace=(TraceEntry("look", values=MappingProxyType({"a": (1, 2)})),),
        seconds=MappingProxyType({"look": 1.0}),
    )
    plain = pickle.loads(pickle.dumps(on_cpu(segmentation)))
    assert not plain.mask_logits.requires_grad
    assert not plain.prompts[0].text_prompt_embeddings.requires_grad
    assert (plain.trace[0].values, plain.seconds) == ({"a": (1, 2)}, {"look": 1.0})


def test_the_package_is_asked_only_on_a_space_that_lends(monkeypatch: pytest.MonkeyPatch, spaces: FakeSpaces) -> None:
    monkeypatch.setitem(sys.modules, "spaces", None)
    assert zero_gpu_decorator({}) is None
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=spaces.gpu))
    assert zero_gpu_decorator({"SPACES_ZERO_GPU": "false"}) is None
    assert zero_gpu_decorator({"SPACES_ZERO_GPU": "true"}) == spaces.gpu


def test_the_app_borrows_the_gpu_on_such_a_space(monkeypatch: pytest.MonkeyPatch, spaces: FakeSpaces) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=spaces.gpu))
    _, comparison = app.create_demo(app.read_settings(["--device", "cpu"]))
    assert isinstance(comparison, ZeroGpuComparison)
