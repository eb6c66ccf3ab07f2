"""The whole path of the `full` suite on tiny models under the real ids: cache, record, load, compare, page, API."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from PIL import Image

from evfsam.types import RgbImage
from tests.evfsam.tiny_families import tiny_family_model, write_released
from tests.hub.tiny_hub import CLIP, GROUNDING_DINO, QWEN3_VL, SAM, SAM3, lay_down, snapshot_of, use_hub
from webui.blocks import build_demo, launch_arguments
from workbench.__main__ import main
from workbench.comparison import Comparison, StrategyResult
from workbench.suites.choice import Machine, choose_suite
from workbench.suites.model_lock import find_model

KEYS = ("evf-sam", "evf-sam2", "clip-ranking", "point-query", "grounded-sam", "sam3")
RELEASED = {"YxZhang/evf-sam-multitask": "sam", "YxZhang/evf-sam2": "sam2"}
LOADED = {*RELEASED, SAM, CLIP, QWEN3_VL, GROUNDING_DINO, SAM3}
OPTIONS = {
    "clip-ranking": {"points_per_side": 2, "pred_iou_threshold": 0, "stability_threshold": 0},
    "point-query": {"max_new_tokens": 8},
}
"""Random weights propose nothing that SAM would trust, and never stop talking."""


def picture() -> RgbImage:
    return np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Hub cache that holds every model at the commit of the lock file, and no connection."""
    root = tmp_path_factory.mktemp("full") / "hub"
    lay_down(root, *(LOADED - set(RELEASED)))
    for model_id in LOADED - set(RELEASED):
        snapshot = snapshot_of(root, model_id)
        snapshot.rename(snapshot.with_name(find_model(model_id).revision))
    for model_id, family in RELEASED.items():
        locked = find_model(model_id)
        is_pickled = "pytorch_model.bin" in locked.files
        write_released(pinned(root, model_id), tiny_family_model(family), pickled=is_pickled)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_hub(monkeypatch, root)
        yield root


def pinned(root: Path, model_id: str) -> Path:
    return snapshot_of(root, model_id).with_name(find_model(model_id).revision)


@pytest.fixture(scope="module")
def comparison(cache: Path) -> Comparison:
    machine = Machine(torch.device("cpu"), record=cache / "record.json")
    return Comparison(choose_suite("full", machine), "cpu", torch.float32)


@pytest.fixture(scope="module")
def results(comparison: Comparison) -> dict[str, StrategyResult]:
    return {result.key: result for result in comparison.run(picture(), "the red cup", options=OPTIONS)}


@pytest.fixture(scope="module")
def client(
    comparison: Comparison, results: dict[str, StrategyResult], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    assert results, "the weights are loaded before the page is asked"
    demo = build_demo(comparison)
    _, url, _ = demo.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, _frontend=False, **launch_arguments()
    )
    yield Client(url, verbose=False, httpx_kwargs={"timeout": 90}, download_files=tmp_path_factory.mktemp("got"))
    demo.close(verbose=False)


def test_every_strategy_answers_from_the_cache_alone(results: dict[str, StrategyResult]) -> None:
    assert tuple(results) == KEYS
    reasons = {key: result.segmentation.verdict.reason for key, result in results.items()}
    assert [reason for reason in reasons.values() if "unexpected error" in reason or "cache" in reason] == []
    drew = {key for key, result in results.items() if result.segmentation.verdict.kind != "failed"}
    assert drew >= set(KEYS) - {"point-query"}, "a random language model may answer prose"
    assert all(result.segmentation.mask_logits.shape == (45, 70) for result in results.values())


def test_the_record_holds_the_commit_and_the_files_of_every_model(
    cache: Path, results: dict[str, StrategyResult]
) -> None:
    assert results
    record = json.loads((cache / "record.json").read_text())
    assert set(record) == LOADED
    assert {model_id: model["commit"] for model_id, model in record.items()} == {
        model_id: find_model(model_id).revision for model_id in LOADED
    }
    assert all("config.json" in model["files"] for model in record.values())


def test_strategies_on_one_sam_hold_it_once_and_encode_the_image_once(
    comparison: Comparison, results: dict[str, StrategyResult]
) -> None:
    ranking, grounded = (comparison.strategy(key) for key in ("clip-ranking", "grounded-sam"))
    assert ranking.backbone is grounded.backbone  # type: ignore[attr-defined]
    assert not results["clip-ranking"].segmentation.embedding_was_cached
    assert results["grounded-sam"].segmentation.embedding_was_cached


def test_the_board_says_that_all_is_ready(comparison: Comparison, results: dict[str, StrategyResult]) -> None:
    assert results
    assert comparison.suite.load_status is not None
    assert {key: state.kind for key, state in comparison.suite.load_status.states.items()} == dict.fromkeys(
        KEYS, "ready"
    )


def test_the_api_of_the_page_answers_with_the_suites_name_and_masks(client: Client, tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    asked = ["evf-sam", "evf-sam2", "grounded-sam", "sam3"]
    result = client.predict(handle_file(tmp_path / "a.png"), "the red cup", asked, api_name="/compare_strategies")
    assert client.predict(api_name="/list_strategies")["suite"] == "full"
    assert [answer["strategy"] for answer in result["answers"]] == asked
    assert {answer["verdict"] for answer in result["answers"]} <= {"found", "absent"}


def test_the_page_introduces_all_strategies_and_says_which_are_missing(comparison: Comparison) -> None:
    page = str(build_demo(comparison).get_config_file())
    assert all(f"column-{key}" in page for key in KEYS)
    assert "Not here: CLIP text, no projector between CLIP and SAM is published" in page


def test_one_damaged_model_fails_one_strategy_and_a_retry_mends_it(cache: Path) -> None:
    machine = Machine(torch.device("cpu"), record=cache / "other-record.json")
    fresh = Comparison(choose_suite("full", machine), "cpu", torch.float32)
    weights = pinned(cache, GROUNDING_DINO) / "model.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    try:
        broken, other = fresh.run(picture(), "the red cup", ["grounded-sam", "evf-sam"])
    finally:
        weights.write_bytes(whole)
    assert broken.segmentation.verdict.kind == "failed"
    assert "IDEA-Research/grounding-dino-base is not whole: its weights are missing" in (
        broken.segmentation.verdict.reason
    )
    assert other.segmentation.verdict.kind != "failed"
    (mended,) = fresh.run(picture(), "the red cup", ["grounded-sam"])
    assert mended.segmentation.verdict.kind != "failed"


def test_half_a_file_fails_in_words(cache: Path) -> None:
    machine = Machine(torch.device("cpu"), record=cache / "third-record.json")
    fresh = Comparison(choose_suite("full", machine), "cpu", torch.float32)
    weights = pinned(cache, SAM3) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    try:
        (broken,) = fresh.run(picture(), "the red cup", ["sam3"])
    finally:
        weights.write_bytes(whole)
    assert broken.segmentation.verdict.kind == "failed"
    assert "SAM 3: weights are damaged, such as half a file" in broken.segmentation.verdict.reason
    (mended,) = fresh.run(picture(), "the red cup", ["sam3"])
    assert mended.segmentation.verdict.kind != "failed", "what was recorded of the half is forgotten"


def test_the_command_line_runs_the_suite_and_replaces_a_model(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAM_WORKBENCH_RECORD", str(tmp_path / "record.json"))
    Image.fromarray(picture()).save(tmp_path / "a.png")
    directory = pinned(cache, "YxZhang/evf-sam-multitask")
    arguments = ["compare", str(tmp_path / "a.png"), "the red cup", "--suite", "full"]
    arguments += ["--strategies", "evf-sam,evf-sam2"]
    assert main([*arguments, "--weights", f"evf-sam={directory}", "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["suite"] == "full"
    assert set(json.loads((tmp_path / "record.json").read_text())) == {"YxZhang/evf-sam2"}
    assert "evf-sam2" in capsys.readouterr().out
