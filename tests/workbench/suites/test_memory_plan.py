from collections.abc import Mapping

import pytest
import torch

from evfsam.types import ImageView
from tests.workbench.doubles import half_lit
from workbench.comparison import failure
from workbench.suites.full import full_suite
from workbench.suites.hub_entries import HubEntry
from workbench.suites.memory_plan import (
    GB,
    GPU_24,
    GPU_48,
    T4,
    Budget,
    budget_of,
    model_bytes,
    out_of_memory_reason,
    plan_memory,
)
from workbench.suites.model_lock import LockedModel, locked_models

CPU = Budget("CPU", 64 * GB, torch.float32)
BUDGETS = (T4, GPU_24, GPU_48, CPU)


def needs() -> dict[str, Mapping[str, LockedModel]]:
    suite = full_suite(gated_reason=lambda _: None)
    return {key: entry.models for key, entry in suite.strategies.items() if isinstance(entry, HubEntry)}


def model(name: str, billions: float, fixed_dtype: str | None = None) -> LockedModel:
    return LockedModel(name, "main", "mit", False, 0, int(billions * GB), ("config.json",), (), fixed_dtype)


def test_bytes_follow_the_number_type_but_for_models_that_keep_theirs() -> None:
    assert model_bytes(model("a", 1), torch.float16) == model_bytes(model("a", 1), torch.bfloat16) == 2 * GB
    assert model_bytes(model("a", 1), torch.float32) == 4 * GB
    assert model_bytes(model("a", 1, "float32"), torch.float16) == 4 * GB


@pytest.mark.parametrize(("budget", "refused"), [(T4, {"sam3"}), *((budget, set()) for budget in BUDGETS[1:])])
def test_the_stated_plans_hold_the_full_suite(budget: Budget, refused: set[str]) -> None:
    placements = plan_memory(needs(), budget)
    assert {key for key, placement in placements.items() if placement.refusal} == refused
    assert sum(placement.nbytes for placement in placements.values() if not placement.refusal) <= budget.for_weights


def test_a_t4_runs_in_float16_and_larger_gpus_in_bfloat16() -> None:
    assert [budget.dtype for budget in BUDGETS] == [torch.float16, torch.bfloat16, torch.bfloat16, torch.float32]
    assert budget_of(torch.device("cuda"), 16 * GB, has_bfloat16=False).dtype == torch.float16
    assert budget_of(torch.device("cuda"), 24 * GB, has_bfloat16=True).dtype == torch.bfloat16
    assert budget_of(torch.device("cpu"), 16 * GB, has_bfloat16=False).dtype == torch.float32
    assert budget_of(torch.device("cpu"), 16 * GB, has_bfloat16=True).dtype == torch.bfloat16


def test_a_sam_that_several_strategies_hold_is_counted_once_and_other_models_by_each() -> None:
    sam, clip = model("sam", 1), model("clip", 0.5)
    placements = plan_memory({"a": {"clip": clip, "sam": sam}, "b": {"clip": clip, "sam": sam}}, T4)
    assert [placement.nbytes for placement in placements.values()] == [3 * GB, 1 * GB]


def test_what_does_not_fit_says_what_would() -> None:
    placements = plan_memory(
        {"a": {"model": model("x", 5)}, "b": {"model": model("y", 2)}, "c": {"model": model("z", 0.5)}}, T4
    )
    assert [placement.refusal is None for placement in placements.values()] == [True, False, True]
    refusal = str(placements["b"].refusal)
    assert "need 4.0 GB in float16, and T4, 16 GB leaves 2.0 GB beside 10.0 GB of others" in refusal
    assert f"{GPU_24.title} would hold all of them, or it fits alone (--strategies)" in refusal


def test_a_model_too_large_for_any_stated_plan_points_to_smaller_ones() -> None:
    (placement,) = plan_memory({"a": {"model": model("x", 40)}}, GPU_24).values()
    assert str(placement.refusal).endswith("choose a smaller model with --weights")


@pytest.mark.parametrize(("budget", "name"), [(CPU, "bfloat16"), (T4, "float16")])
def test_float32_is_told_of_the_smaller_number_type(budget: Budget, name: str) -> None:
    (placement,) = plan_memory({"a": {"model": model("x", 20)}}, budget, torch.float32).values()
    assert f"--dtype {name} halves it" in str(placement.refusal)


def test_out_of_memory_names_what_was_asked_and_what_helps() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity")
    assert out_of_memory_reason(error) == (
        "the device ran out of memory; ask fewer strategies at once, take a smaller picture, or start with "
        "--dtype float16 or --device cpu"
    )


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to"), MemoryError()])
def test_a_strategy_that_runs_out_of_memory_fails_with_advice(error: Exception) -> None:
    verdict = failure(ImageView(half_lit()), "evf-sam", error).verdict
    assert verdict.kind == "failed"
    assert verdict.reason.startswith("the device ran out of memory; ask fewer strategies at once")


def test_a_cpu_without_memory_is_told_as_such() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(10**15)
    verdict = failure(ImageView(half_lit()), "evf-sam", refused.value).verdict
    assert verdict.reason.startswith("the device ran out of memory (4000000.0 GB were asked for); ask fewer")
    other = failure(ImageView(half_lit()), "evf-sam", RuntimeError("shapes do not fit")).verdict
    assert "unexpected error (RuntimeError)" in other.reason


def test_every_model_has_parameters_and_a_size_for_the_plan() -> None:
    assert [
        known.id for known in locked_models().values() if known.parameter_count < 10**8 or known.nbytes < 10**8
    ] == []
