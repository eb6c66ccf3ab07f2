"""The `full` suite before anything is fetched: what is in it, what is left out and why, what replaces its models."""

# ruff: noqa: ARG001, ARG005 - stand-ins keep the signatures of what they replace

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from evfsam.errors import CheckpointError, ConfigurationError
from workbench.names import SUITE_NAMES
from workbench.suites.choice import Machine, choose_suite, read_places, usual_dtype
from workbench.suites.full import default_model_ids, hub_gated_reason
from workbench.suites.hub_entries import HubEntry, SharedSams
from workbench.suites.load_status import LoadingState
from workbench.suites.memory_plan import T4
from workbench.suites.model_lock import locked_models
from workbench.suites.model_store import ModelStore
from workbench.suites.registry import StrategyEntry, Suite

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
NOT_GRANTED = "facebook/sam3 is gated"


def full(*weights: str, gated: str | None = NOT_GRANTED, machine: Machine | None = None) -> Suite:
    return choose_suite("full", machine or Machine(CPU), weights=weights, gated_reason=lambda model_id: gated)


def entry(suite: Suite, key: str) -> HubEntry:
    found = suite.strategies[key]
    assert isinstance(found, HubEntry)
    return found


def test_what_cannot_run_is_left_out_with_the_reason() -> None:
    suite = full()
    assert list(suite.strategies) == ["evf-sam", "evf-sam2", "clip-ranking", "point-query", "grounded-sam"]
    assert suite.left_out["SAM 3"] == NOT_GRANTED
    assert "--weights clip-text=DIR, or use CLIP ranking" in suite.left_out["CLIP text"]


def test_a_granted_model_and_a_projector_complete_the_suite_in_its_order(tmp_path: Path) -> None:
    suite = full(f"clip-text={tmp_path}", gated=None)
    assert tuple(suite.strategies) == (
        "evf-sam", "evf-sam2", "clip-text", "clip-ranking", "point-query", "grounded-sam", "sam3"
    )  # fmt: skip
    assert suite.left_out == {}
    assert entry(suite, "clip-text").weights["projector"] == tmp_path


def test_every_loader_exists_and_every_default_model_is_locked() -> None:
    for found in full(gated=None).strategies.values():
        assert isinstance(found, HubEntry)
        module, _, function = found.loader.partition(":")
        assert callable(getattr(import_module(module), function))
    used = {model.id for model in locked_models().values() if model.strategies}
    assert used == set(default_model_ids())


def test_the_lock_file_says_who_uses_a_model() -> None:
    suite = full("clip-text=" + str(Path.cwd()), gated=None)
    users: dict[str, set[str]] = {}
    for key, found in suite.strategies.items():
        assert isinstance(found, HubEntry)
        for model in found.models.values():
            users.setdefault(model.id, set()).add(key)
    assert users == {model.id: set(model.strategies) for model in locked_models().values() if model.strategies}


def test_a_directory_replaces_a_strategys_model_a_role_or_an_id(tmp_path: Path) -> None:
    suite = full(f"evf-sam={tmp_path}", f"point-query.sam={tmp_path}", f"openai/clip-vit-large-patch14={tmp_path}")
    assert entry(suite, "evf-sam").weights == {"model": tmp_path}
    assert entry(suite, "point-query").weights["sam"] == tmp_path
    assert entry(suite, "grounded-sam").weights["sam"] == "facebook/sam-vit-huge"
    assert entry(suite, "clip-ranking").weights["clip"] == tmp_path


def test_another_locked_model_replaces_one() -> None:
    assert entry(full("point-query=Qwen/Qwen3.5-2B"), "point-query").weights["mllm"] == "Qwen/Qwen3.5-2B"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("evf-sam", "expected weights as NAME=DIR, such as evf-sam=/models/evf-sam, got 'evf-sam'"),
        ("evf-sam=/no/such", r"there is no directory /no/such, and /no/such is not in models\.lock\.json"),
        ("evf-smm=.", r"unknown weights 'evf-smm': .*did you mean evf-sam"),
    ],
)
def test_a_replacement_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        full(text)


def test_mini_takes_directories_too(tmp_path: Path) -> None:
    suite = choose_suite("mini", Machine(CPU), weights=[f"evf-sam={tmp_path}"])
    found = suite.strategies["evf-sam"]
    assert isinstance(found, StrategyEntry)
    assert found.directory == tmp_path
    with pytest.raises(ConfigurationError, match="suite mini takes directories"):
        choose_suite("mini", Machine(CPU), weights=["evf-sam=YxZhang/evf-sam2"])


@pytest.mark.parametrize(
    ("device", "answers", "key", "reason"),
    [
        (CPU, True, "mini", "models run on the CPU here, and full wants a CUDA GPU"),
        (CUDA, True, "full", "there is a CUDA GPU, and the Hugging Face Hub answers"),
        (CUDA, False, "mini", "the Hugging Face Hub does not answer, and not all models of full are in its cache"),
    ],
)
def test_auto_says_which_suite_and_why(
    device: torch.device, answers: bool, key: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    machine = Machine(device, T4, tmp_path / "record.json")
    suite = choose_suite("auto", machine, hub_answers=lambda: answers, gated_reason=lambda model_id: NOT_GRANTED)
    assert (suite.key, suite.reason) == (key, f"chosen because {reason}")


def test_auto_takes_full_without_the_hub_where_all_models_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelStore, "missing_reason", lambda self, model_id: None)
    suite = choose_suite("auto", Machine(CUDA), hub_answers=lambda: False)
    assert (suite.key, suite.reason) == (
        "full",
        "chosen because there is a CUDA GPU, and all models are in the Hub's cache",
    )


def test_an_unknown_suite_is_refused_with_the_choices() -> None:
    assert SUITE_NAMES == ("auto", "mini", "full")
    with pytest.raises(ConfigurationError, match=r"unknown suite 'fulll': .*auto, mini, full; did you mean full"):
        choose_suite("fulll", Machine(CPU))


def test_the_number_type_is_the_plans_for_full_alone() -> None:
    assert usual_dtype(full(), Machine(CUDA, T4)) == torch.float16
    assert usual_dtype(choose_suite("mini", Machine(CUDA, T4)), Machine(CUDA, T4)) == torch.float32


def test_what_does_not_fit_refuses_to_load_and_says_what_would() -> None:
    found = entry(full(gated=None, machine=Machine(CUDA, T4)), "sam3")
    with pytest.raises(ConfigurationError, match=r"SAM 3 is not loaded: its models need 1\.7 GB .*24 GB would hold"):
        found.load(CUDA, torch.float16)
    assert found.load_status.states["sam3"].kind == "failed"


def test_the_plan_counts_only_the_strategies_that_will_be_asked() -> None:
    suite = choose_suite("full", Machine(CUDA, T4), strategies=("sam3",), gated_reason=lambda model_id: None)
    assert entry(suite, "sam3").refusal is None


def test_a_gated_model_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "accept its terms at https://huggingface.co/facebook/sam3, then set HF_TOKEN" in str(
        hub_gated_reason("facebook/sam3")
    )


def test_a_directory_that_has_gone_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    found = entry(full(f"evf-sam={folder}"), "evf-sam")
    folder.rmdir()
    with pytest.raises(
        CheckpointError, match=r"EVF-SAM: expected a directory at .*weights, found none; check --weights"
    ):
        found.load(CPU, torch.float32)


def test_a_device_without_room_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(directory: Path, **places: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("evfsam.model.strategy.load_strategy", load)
    with pytest.raises(ConfigurationError, match="EVF-SAM is not loaded: the device ran out of memory"):
        entry(full(f"evf-sam={tmp_path}"), "evf-sam").load(CPU, torch.float32)


def test_a_failed_fetch_is_on_the_board_and_in_the_digest_is_the_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    def directory(self: ModelStore, model_id: str, on_bytes: object) -> Path:
        raise CheckpointError("the disk is full")

    monkeypatch.setattr(ModelStore, "directory", directory)
    suite = full()
    with pytest.raises(CheckpointError):
        entry(suite, "evf-sam").fetch()
    assert suite.load_status is not None
    assert suite.load_status.states == {"evf-sam": LoadingState("failed", reason="the disk is full")}
    assert entry(suite, "evf-sam").digest != entry(suite, "evf-sam2").digest


def test_strategies_on_the_same_sam_hold_it_once(tmp_path: Path) -> None:
    from tests.workbench.doubles import BrightStrategy, CountingBackbone

    sams = SharedSams()
    first, second = (BrightStrategy(key, backbone=CountingBackbone()) for key in ("a", "b"))
    kept = sams.adopt(first, tmp_path, CPU, torch.float32)
    given = sams.adopt(second, tmp_path, CPU, torch.float32)
    other = sams.adopt(second, tmp_path, CPU, torch.float16)
    assert kept is first
    assert given.backbone is first.backbone  # type: ignore[attr-defined]
    assert other is second


def test_a_decoder_that_learnt_on_is_no_other_strategys(tmp_path: Path) -> None:
    from tests.workbench.doubles import BrightStrategy, CountingBackbone

    sams, strategies = SharedSams(), []
    for key, has_own_decoder in (("a", True), ("b", False), ("c", True), ("d", False)):
        backbone = CountingBackbone()
        backbone.sam = SimpleNamespace(image_encoder=object())  # type: ignore[attr-defined]
        strategy = BrightStrategy(key, backbone=backbone)
        strategies.append(sams.adopt(strategy, tmp_path, CPU, torch.float32, has_own_decoder=has_own_decoder))
    a, b, c, d = (strategy.backbone for strategy in strategies)  # type: ignore[attr-defined]
    assert d is b
    assert len({id(a), id(b), id(c)}) == 3
    assert a.sam.image_encoder is b.sam.image_encoder is c.sam.image_encoder


def test_places_keep_their_order_and_kind(tmp_path: Path) -> None:
    assert dict(read_places([f"a = {tmp_path}", "b=YxZhang/evf-sam2"])) == {"a": tmp_path, "b": "YxZhang/evf-sam2"}
