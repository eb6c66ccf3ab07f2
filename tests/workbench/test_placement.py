"""Device and number type are words until an entry point turns them into what this machine has."""

import pytest
import torch

from evfsam.errors import ConfigurationError
from workbench.names import DTYPE_NAMES
from workbench.placement import resolve_device, resolve_dtype

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
