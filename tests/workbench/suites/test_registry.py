from importlib import import_module
from pathlib import Path

import pytest
import torch

from evfsam.errors import CheckpointError, ConfigurationError
from tests.workbench.doubles import suite_of
from workbench.placement import resolve_device
from workbench.suites.registry import SUITES, find_suite


def test_suites_are_filed_under_their_own_keys() -> None:
    assert {key: suite.key for key, suite in SUITES.items()} == {key: key for key in SUITES}


def test_mini_runs_evf_sam_first_from_the_repository() -> None:
    mini = find_suite("mini")
    assert list(mini.strategies) == ["evf-sam", "clip-text", "point-query"]
    root = Path(__file__).parents[3]
    assert [entry.directory.relative_to(root).as_posix() for entry in mini.strategies.values()] == [
        f"checkpoints/mini/{key}" for key in mini.strategies
    ]


@pytest.mark.parametrize("key", ["evf-sam", "clip-text", "point-query"])
def test_every_loader_of_mini_refuses_an_empty_folder_by_name(key: str, tmp_path: Path) -> None:
    entry = find_suite("mini").strategies[key]
    module_name, _, function_name = entry.loader.partition(":")
    loader = getattr(import_module(module_name), function_name)
    with pytest.raises(CheckpointError):
        loader(tmp_path, device=torch.device("cpu"), dtype=torch.float32)


def test_an_unknown_suite_is_refused_with_a_guess() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown suite 'minni': expected one of mini; did you mean mini\?"):
        find_suite("minni")


def test_a_missing_folder_of_weights_is_named_with_the_next_step(tmp_path: Path) -> None:
    entry = suite_of(tmp_path, lost="load_missing").strategies["lost"]
    with pytest.raises(CheckpointError, match=r"Title of lost: expected weights in .*lost, .*python -m training"):
        entry.load(torch.device("cpu"), torch.float32)


def test_an_entry_loads_where_and_how_it_is_told(tmp_path: Path) -> None:
    entry = suite_of(tmp_path, light="load_bright").strategies["light"]
    assert entry.load(torch.device("cpu"), torch.bfloat16).card.key == "light"
    assert (tmp_path / "light" / "loaded.txt").read_text() == "cpu torch.bfloat16\n"


@pytest.mark.parametrize(("has_cuda", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch, has_cuda: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert resolve_device("auto") == torch.device(expected)
    assert resolve_device("cpu") == torch.device("cpu")


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="no cuda device that torch can use; choose auto or cpu"):
        resolve_device("cuda")


def test_an_unknown_device_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigurationError, match="device out of auto, cpu, cuda, mps, got 'tpu'"):
        resolve_device("tpu")
