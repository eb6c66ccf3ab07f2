"""What no program saves: the operations of some work, and the time they take at the best rate of the processor."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

_SIDE: Final = 1536


def _attention(query: Any, key: Any, value: Any, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query, key, value))


_UNKNOWN_TO_TORCH: Final = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


def count_operations(work: Callable[[], object]) -> int:
    """Count additions and multiplications in products, convolutions and attention; everything else comes on top."""
    with FlopCounterMode(display=False, custom_mapping=_UNKNOWN_TO_TORCH) as counter:
        work()
    return int(counter.get_total_flops())


def operations_per_second(rounds: int = 5) -> float:
    """Return the best rate of a large product in float32, by the processor time of all threads together."""
    left, right = torch.randn(2, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    multiply = partial(torch.mm, left, right)
    multiply()
    least = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        multiply()
        least = min(least, time.process_time() - started)
    return 2 * _SIDE**3 / least
