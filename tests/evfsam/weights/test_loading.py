import pytest
import torch
from torch import nn

from evfsam.errors import CheckpointError
from evfsam.weights.loading import assign_strictly, build_without_storage


class WithConstants(nn.Module):
    """Holds what modules hold beside parameters: tables worked out, whole numbers, and a rate."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("table", torch.arange(4.0).sin(), persistent=False)
        self.register_buffer("kinds", torch.zeros(3, dtype=torch.long), persistent=False)
        self.rate = torch.linspace(0, 1, 3)[1].item()


def weights() -> dict[str, torch.Tensor]:
    return {"linear.weight": torch.ones(2, 3), "linear.bias": torch.zeros(2), "scale": torch.full((2,), 0.1)}


def test_parameters_need_no_storage_until_they_get_values() -> None:
    module = build_without_storage(WithConstants)
    assert all(value.is_meta for value in module.parameters())
    assert torch.equal(module.table, torch.arange(4.0).sin())
    assert torch.equal(module.kinds, torch.zeros(3, dtype=torch.long))
    assert module.rate == 0.5


def test_building_elsewhere_stays_as_it_was() -> None:
    build_without_storage(WithConstants)
    assert not WithConstants().scale.is_meta


def test_weights_become_the_modules_own_without_a_copy() -> None:
    module, given = build_without_storage(WithConstants), weights()
    places = {name: value.data_ptr() for name, value in given.items()}
    module.scale.requires_grad_(False)
    assign_strictly(module, given, "here", device="cpu", dtype=torch.float32)
    assert {name: value.data_ptr() for name, value in module.state_dict().items()} == places
    assert [module.linear.weight.requires_grad, module.scale.requires_grad] == [True, False]


def test_a_converted_module_holds_nothing_of_its_file() -> None:
    module, given = build_without_storage(WithConstants), weights()
    stored = {value.untyped_storage().data_ptr() for value in given.values()}
    kept = dict(given)
    assign_strictly(module, given, "here", device="cpu", dtype=torch.float16, float32_parts=("scale",))
    assert given == {}
    assert len(kept) == 3
    assert not stored & {value.untyped_storage().data_ptr() for value in module.state_dict().values()}


def test_named_parts_keep_the_exact_numbers_of_their_file() -> None:
    module = build_without_storage(WithConstants)
    assign_strictly(module, weights(), "here", device="cpu", dtype=torch.float16, float32_parts=("scale",))
    assert module.linear.weight.dtype == torch.float16
    assert torch.equal(module.scale, torch.full((2,), 0.1))


def test_all_weights_fit_or_none_is_taken() -> None:
    module = build_without_storage(WithConstants)
    with pytest.raises(
        CheckpointError, match=r"here does not fit .* 1 mis-shaped: scale \(expected \(2,\), got \(5,\)\)"
    ):
        assign_strictly(module, {**weights(), "scale": torch.ones(5)}, "here", device="cpu", dtype=torch.float32)
    assert all(value.is_meta for value in module.parameters())
