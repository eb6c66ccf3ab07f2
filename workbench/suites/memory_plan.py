"""Which models fit where: stated budgets, bytes by model and number type, and what to do with what does not fit.

The plan is made before anything is loaded, from the lock file's parameter counts. Strategies are placed in the suite's
order; a SAM that several of them use is held, and counted, once, every other model by each. One comparison runs at a
time, so what a forward pass needs beside the weights is counted once as well.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch

from evfsam.errors import Sentence
from workbench.suites.model_lock import LockedModel

GB: Final = 10**9
LENT_BYTES: Final = 48 * GB
"""What ZeroGPU lends a Space of a card, whatever the card says that it has."""
SAM_ROLE: Final = "sam"
"""What strategies hold together where they load the same; see `workbench.suites.hub_entries.SharedSams`."""
_CPU_ALLOCATOR: Final = "DefaultCPUAllocator"
_CPU_ASKED: Final = re.compile(_CPU_ALLOCATOR + r".*?you tried to allocate (\d+) bytes")
_RUNNING_BYTES: Final = 3 * GB
"""For one forward pass: SAM ViT-H at 1024 pixels is the largest, beside what CUDA itself keeps."""
_ITEM_BYTES: Final = MappingProxyType({torch.float32: 4, torch.bfloat16: 2, torch.float16: 2})
_NAMED: Final = MappingProxyType({"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16})


@dataclass(frozen=True)
class Budget:
    """A place for models.

    Attributes:
        title: for people.
        nbytes: memory of the device.
        dtype: the number type that the plan runs in there.
    """

    title: str
    nbytes: int
    dtype: torch.dtype

    @property
    def for_weights(self) -> int:
        """Bytes left for weights."""
        return self.nbytes - _RUNNING_BYTES


T4: Final = Budget("T4, 16 GB", 15 * GB, torch.float16)
GPU_24: Final = Budget("24 GB", 23 * GB, torch.bfloat16)
GPU_48: Final = Budget("48 GB", 46 * GB, torch.bfloat16)


@dataclass(frozen=True)
class Placement:
    """Where a strategy goes.

    Attributes:
        key: of the strategy.
        nbytes: of its weights; a SAM placed before it is not counted again.
        refusal: why it does not fit, and what would; None where it fits.
    """

    key: str
    nbytes: int
    refusal: str | None = None


def model_bytes(model: LockedModel, dtype: torch.dtype) -> int:
    """Return what a model's weights take in memory, in the type it runs in."""
    return model.parameter_count * _ITEM_BYTES[_NAMED.get(model.fixed_dtype or "", dtype)]


def lends_gpu(environment: Mapping[str, str]) -> bool:
    """Whether this is a Space with ZeroGPU."""
    return environment.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def budget_of(device: torch.device, total_bytes: int, *, has_bfloat16: bool) -> Budget:
    """Return the budget of a device.

    Args:
        device: where models run.
        total_bytes: its memory; for the CPU, the machine's.
        has_bfloat16: whether the device multiplies faster in bfloat16; a T4 does not, and few CPUs do.
    """
    title = f"{device.type.upper()}, {total_bytes / GB:.0f} GB"
    if device.type == "cpu":
        return Budget(title, total_bytes, torch.bfloat16 if has_bfloat16 else torch.float32)
    return Budget(title, total_bytes, torch.bfloat16 if has_bfloat16 else torch.float16)


def plan_memory(
    needs: Mapping[str, Mapping[str, LockedModel]], budget: Budget, dtype: torch.dtype | None = None
) -> dict[str, Placement]:
    """Place strategies in their order, as long as there is room; a small one may still fit after a large one did not.

    Args:
        needs: models by strategy and role; without those that are not in the lock file.
        budget: the place.
        dtype: number type; by default the budget's.
    """
    chosen, used = dtype or budget.dtype, 0
    held: set[str] = set()
    placements = {}
    for key, models in needs.items():
        fresh = {model.id: model for role, model in models.items() if role != SAM_ROLE or model.id not in held}
        nbytes = sum(model_bytes(model, chosen) for model in fresh.values())
        if used + nbytes <= budget.for_weights:
            used += nbytes
            held |= {model.id for role, model in models.items() if role == SAM_ROLE}
            placements[key] = Placement(key, nbytes)
        else:
            placements[key] = Placement(key, nbytes, _refusal(nbytes, used, budget, chosen))
    return placements


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device ran out of memory; torch has no class of its own for the CPU's."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and _CPU_ALLOCATOR in str(error)
    )


def out_of_memory_reason(error: BaseException) -> Sentence:
    """Say that a device ran out of memory, and what helps."""
    advice = Sentence(
        "ask fewer strategies at once, take a smaller picture, or start with --dtype float16 or --device cpu"
    )
    asked: str = str(error).split(". ")[0].removeprefix("CUDA out of memory").strip(" .")
    if found := _CPU_ASKED.search(str(error)):
        asked = Sentence("{size} were asked for", size=_gb(int(found[1])))
    if not asked:
        return Sentence("the device ran out of memory; {advice}", advice=advice)
    return Sentence("the device ran out of memory ({asked}); {advice}", asked=asked, advice=advice)


def _refusal(nbytes: int, used: int, budget: Budget, dtype: torch.dtype) -> Sentence:
    fitting = next((known.title for known in (T4, GPU_24, GPU_48) if used + nbytes <= known.for_weights), None)
    ways = [Sentence("{place} would hold all of them", place=fitting)] if fitting else []
    if nbytes <= budget.for_weights:
        ways.append(Sentence("it fits alone (--strategies)"))
    if dtype == torch.float32:
        smaller = "float16" if budget.dtype == torch.float16 else "bfloat16"
        ways.append(Sentence("--dtype {dtype} halves it", dtype=smaller))
    advice = ways[0] if ways else Sentence("choose a smaller model with --weights")
    for way in ways[1:]:
        advice = Sentence("{one}, or {other}", one=advice, other=way)
    return Sentence(
        "its models need {needed} in {dtype}, and {place} leaves {free} beside {used} of others; {advice}",
        needed=_gb(nbytes),
        dtype=str(dtype).removeprefix("torch."),
        place=budget.title,
        free=_gb(max(budget.for_weights - used, 0)),
        used=_gb(used),
        advice=advice,
    )


def _gb(nbytes: int) -> str:
    return f"{nbytes / GB:.1f} GB"
