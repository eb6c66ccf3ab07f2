"""Building a model without storage and handing it stored weights, so that they are in memory once.

A model of 1.3 G parameters would otherwise be drawn at random first, copied over, and then converted.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.weights.checkpoint_files import listed, shortened

_M = TypeVar("_M", bound=nn.Module)

logger = logging.getLogger(__name__)

# What parameters are allocated with. Constants that modules work out for themselves (drop rates, rotary and sine
# tables, indices) begin with arange, linspace, tensor or whole numbers and keep their values, which the meta device
# would lose.
_ALLOCATIONS = frozenset({torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn})


class _WithoutStorage(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Collection[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = dict(kwargs or {})
        dtype = kwargs.get("dtype")
        if func in _ALLOCATIONS and kwargs.get("device") is None and (dtype is None or dtype.is_floating_point):
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def build_without_storage(build: Callable[[], _M], origin: str = "the configuration") -> _M:
    """Build a module whose parameters have shapes but no storage; `assign_strictly` gives them values.

    Args:
        build: makes the module.
        origin: where its sizes come from, for messages.

    Raises:
        ConfigurationError: the sizes make no model.
    """
    try:
        with _WithoutStorage():
            return build()
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as err:
        reason = shortened(" ".join(str(err).split()) or type(err).__name__)
        raise ConfigurationError(
            "{origin} gives sizes that make no model ({reason}); restore the file", origin=origin, reason=reason
        ) from err


def check_fit(module: nn.Module, tensors: Mapping[str, torch.Tensor], origin: str) -> None:
    """Check that weights are a module's whole state dict.

    Args:
        module: its parameters need no storage.
        tensors: names to tensors.
        origin: where they come from, for messages.

    Raises:
        CheckpointError: keys are missing or unexpected, or shapes or kinds of number differ; names them.
    """
    expected = module.state_dict()
    both = sorted(set(expected) & set(tensors))
    misshaped = [name for name in both if expected[name].shape != tensors[name].shape]
    other_kind = [
        f"{name} ({tensors[name].dtype})"
        for name in both
        if expected[name].is_floating_point() != tensors[name].is_floating_point()
    ]
    problems = [
        listed("missing", sorted(set(expected) - set(tensors))),
        listed("unexpected", sorted(set(tensors) - set(expected))),
        listed(
            "mis-shaped",
            [
                f"{name} (expected {tuple(expected[name].shape)}, got {tuple(tensors[name].shape)})"
                for name in misshaped
            ],
        ),
        listed("of another kind of number", other_kind),
    ]
    found = "; ".join(problem for problem in problems if problem)
    if found:
        raise CheckpointError(
            "{origin} does not fit its configuration: {found}. Use weights saved with this configuration",
            origin=origin,
            found=found,
        )


def assign_strictly(
    module: nn.Module,
    tensors: dict[str, torch.Tensor],
    origin: str,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    float32_parts: tuple[str, ...] = (),
) -> None:
    """Make weights a module's own, converting one tensor at a time; all of them fit or none is taken.

    Args:
        module: from `build_without_storage`.
        tensors: its whole state dict; emptied on the way, so that each file is let go once it is converted. Where
            device and type are the stored ones, tensors are not copied.
        origin: where they come from, for messages.
        device: where the module goes.
        dtype: type of its floating-point weights.
        float32_parts: beginnings of the names that stay float32.

    Raises:
        CheckpointError: as in `check_fit`.
    """
    check_fit(module, tensors, origin)
    converted = {}
    for name in list(tensors):
        value = tensors.pop(name)
        is_exact = bool(float32_parts) and name.startswith(float32_parts)
        wanted = (torch.float32 if is_exact else dtype) if value.is_floating_point() else value.dtype
        # One small tensor that is still mapped would hold its whole file beside the converted rest.
        converted[name] = value.to(device, wanted, copy=is_exact and dtype != torch.float32)
    module.load_state_dict(converted, assign=True)
    empty = [name for name, value in (*module.named_parameters(), *module.named_buffers()) if value.is_meta]
    assert not empty, f"left without values: {empty}"
    module.to(device)


def load_strictly(module: nn.Module, tensors: Mapping[str, torch.Tensor], origin: str) -> None:
    """Copy weights into a module; every key and shape must fit, and every value is converted to the module's type.

    Args:
        module: takes the weights.
        tensors: its whole state dict.
        origin: where they come from, for messages.

    Raises:
        CheckpointError: keys are missing or unexpected, or shapes differ; names them.
    """
    check_fit(module, tensors, origin)
    module.load_state_dict(dict(tensors))
    logger.debug("loaded %d tensors from %s", len(tensors), origin)
