"""Device and number type are words until an entry point turns them into what this machine has."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from evfsam.errors import ConfigurationError
from workbench import placement
from workbench.names import DTYPE_NAMES
from workbench.placement import (
    describe_machine,
    processes_beside,
    question_budget,
    resolve_device,
    resolve_dtype,
    runs_at_once,
)
from workbench.suites.memory_plan import LENT_BYTES
from workbench.suites.registry import MINI

CPU = torch.device("cpu")


def test_every_number_type_runs_on_the_cpu() -> None:
    assert [resolve_dtype(name, CPU) for name in DTYPE_NAMES] == [torch.float32, torch.bfloat16, torch.float16]


def test_unknown_words_are_refused_with_the_choices() -> None:
    with pytest.raises(ConfigurationError, match="number type out of float32, bfloat16, float16, got 'int8'"):
        resolve_dtype("int8", CPU)
    with pytest.raises(ConfigurationError, match="device out of auto, cpu, cuda, mps, got 'tpu'"):
        resolve_device("tpu")


def test_a_device_that_cannot_compute_in_the_type_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(ConfigurationError, match="does not compute in bfloat16; choose float16 or float32"):
        resolve_dtype("bfloat16", torch.device("cuda"))
    assert resolve_dtype("float16", torch.device("cuda")) == torch.float16


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match=f"no {name} device that torch can use"):
        resolve_device(name)
    assert resolve_device("auto") == CPU


@pytest.mark.parametrize(("environment", "expected"), [({}, 80 * 10**9), ({"SPACES_ZERO_GPU": "true"}, LENT_BYTES)])
def test_a_lent_gpu_counts_as_large_as_what_is_lent_of_it(
    environment: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * 10**9))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    budget = describe_machine(torch.device("cuda"), environment).budget
    assert budget is not None
    assert budget.nbytes == expected == {False: 80 * 10**9, True: 48 * 10**9}[bool(environment)]


@pytest.mark.parametrize(("cores", "count"), [(1, 1), (6, 6), (64, 8)])
def test_small_models_on_a_cpu_run_as_many_at_once_as_there_are_cores_within_a_bound(
    cores: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert runs_at_once(MINI, CPU) == count
    assert runs_at_once(MINI, torch.device("cuda")) == 1
    assert runs_at_once(replace(MINI, key="full"), CPU) == 1


@pytest.mark.parametrize(("has_matrix_units", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_computes_in_bfloat16_where_it_has_matrix_units_for_it(
    has_matrix_units: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_matrix_units, raising=False)
    budget = describe_machine(CPU, {}).budget
    assert budget is not None
    assert budget.dtype == dtype


def test_a_torch_that_does_not_tell_of_matrix_units_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    budget = describe_machine(CPU, {}).budget
    assert budget is not None
    assert budget.dtype == torch.float32


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which meminfo, and the files of a control group, tell of this machine's memory."""
    monkeypatch.setattr(placement, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(placement, "_GROUP", tmp_path)
    return tmp_path


def test_questions_get_half_of_what_is_free_shared_among_those_at_a_time(machine: Path) -> None:
    (machine / "meminfo").write_text("MemTotal:       9000 kB\nMemAvailable:   8000 kB\n", encoding="ascii")
    assert question_budget() == 4000 * 1024
    assert question_budget(4) == 1000 * 1024
    (machine / "memory.max").write_text("max\n", encoding="ascii")
    (machine / "memory.current").write_text("1024\n", encoding="ascii")
    assert question_budget() == 4000 * 1024
    (machine / "memory.max").write_text("5120\n", encoding="ascii")
    assert question_budget() == 2048


def test_files_that_a_container_has_read_leave_its_memory_to_questions(machine: Path) -> None:
    (machine / "meminfo").write_text("MemAvailable:   8000 kB\n", encoding="ascii")
    (machine / "memory.max").write_text("5120\n", encoding="ascii")
    (machine / "memory.current").write_text("5120\n", encoding="ascii")
    (machine / "memory.stat").write_text("anon 512\nfile 4608\ninactive_file 4096\n", encoding="ascii")
    assert question_budget() == 2048


@pytest.mark.parametrize(("free_gib", "count"), [(1, 0), (5, 2), (64, 3)])
def test_questions_are_answered_in_further_processes_as_far_as_memory_is_free(
    free_gib: int, count: int, machine: Path
) -> None:
    (machine / "meminfo").write_text(f"MemAvailable:   {free_gib * 2**20} kB\n", encoding="ascii")
    assert processes_beside(4) == count


def test_nothing_is_bounded_where_the_system_does_not_tell_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "_MEMORY", tmp_path / "none")
    assert question_budget() is None
    assert processes_beside(4) == 3
