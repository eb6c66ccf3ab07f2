"""Which suite runs, and why: by name, or by what this machine has; with weights replaced, and memory planned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch

from evfsam.errors import ConfigurationError, Sentence
from workbench.names import AUTO_KEY, FULL_KEY, SUITE_NAMES, unknown_name
from workbench.suites.full import GatedReason, ModelPlaces, default_model_ids, full_suite
from workbench.suites.hub_entries import HubEntry
from workbench.suites.memory_plan import Budget, plan_memory
from workbench.suites.model_lock import find_model
from workbench.suites.model_store import ModelStore
from workbench.suites.registry import MINI, StrategyEntry, Suite, find_suite

_HUB_TIMEOUT_S: Final = 3.0

HubProbe = Callable[[], bool]


@dataclass(frozen=True)
class Machine:
    """What the choice depends on; the entry points find it out.

    Attributes:
        device: where models run.
        budget: its memory; None where it is not known, and nothing is refused.
        record: where downloads are recorded; None for the default place.
    """

    device: torch.device
    budget: Budget | None = None
    record: Path | None = None


def choose_suite(
    name: str,
    machine: Machine,
    *,
    weights: Sequence[str] = (),
    strategies: Sequence[str] | None = None,
    dtype: torch.dtype | None = None,
    hub_answers: HubProbe | None = None,
    gated_reason: GatedReason | None = None,
) -> Suite:
    """Return a suite, ready for `Comparison`; nothing is loaded.

    Args:
        name: "auto", "mini" or "full".
        machine: where it will run.
        weights: replacements as they stand on the command line: "evf-sam=DIR", "point-query.sam=DIR",
            "facebook/sam-vit-huge=DIR", "point-query=Qwen/Qwen3.5-2B".
        strategies: keys that will be asked, for the memory plan; all by default.
        dtype: number type; by default the budget's.
        hub_answers: whether the Hub can be reached; by default one request to it.
        gated_reason: as in `full_suite`.

    Raises:
        ConfigurationError: a name is unknown, or a replacement is not a directory or a known id.
    """
    if name not in SUITE_NAMES:
        raise ConfigurationError(unknown_name("suite", name, SUITE_NAMES))
    store = ModelStore(record=machine.record)
    reason = ""
    if name == AUTO_KEY:
        name, reason = _automatic(machine, store, hub_answers or hub_is_reached)
    places = read_places(weights)
    if name != FULL_KEY:
        return replace(_with_directories(find_suite(name), places), reason=reason)
    suite = full_suite(store, places, gated_reason)
    return replace(planned(suite, machine, strategies, dtype), reason=reason)


def planned(
    suite: Suite, machine: Machine, strategies: Sequence[str] | None = None, dtype: torch.dtype | None = None
) -> Suite:
    """Refuse what does not fit on a machine beside the strategies before it.

    Args:
        suite: whose strategies from the Hub are placed, in their order.
        machine: where they will run; without a budget nothing is refused.
        strategies: keys that will be asked; all by default.
        dtype: number type; by default the budget's.
    """
    if machine.budget is None:
        return suite
    entries: Mapping[str, HubEntry] = {
        key: entry for key, entry in suite.strategies.items() if isinstance(entry, HubEntry)
    }
    asked = tuple(key for key in entries if strategies is None or key in strategies)
    placements = plan_memory({key: entries[key].models for key in asked}, machine.budget, dtype)
    refused = {key: replace(entries[key], refusal=placement.refusal) for key, placement in placements.items()}
    return replace(suite, strategies=MappingProxyType({**suite.strategies, **refused}))


def read_places(weights: Sequence[str]) -> ModelPlaces:
    """Read replacements "NAME=DIR" or "NAME=ID".

    Raises:
        ConfigurationError: one has another form, or its right side is neither a directory nor an id of the lock file.
    """
    places: dict[str, str | Path] = {}
    for text in weights:
        name, separator, place = (part.strip() for part in text.partition("="))
        if not separator or not name or not place:
            raise ConfigurationError(
                "expected weights as NAME=DIR, such as evf-sam=/models/evf-sam, got {text!r}", text=text
            )
        path = Path(place).expanduser()
        places[name] = path if path.is_dir() else _known_id(place)
    return MappingProxyType(places)


def usual_dtype(suite: Suite, machine: Machine) -> torch.dtype:
    """Return the number type in which a suite runs on a machine where nobody asks for another.

    All its strategies run in one type; where published models are among them, in that of the memory plan.
    """
    if not suite.has_published_models or machine.budget is None:
        return torch.float32
    return machine.budget.dtype


def hub_is_reached() -> bool:
    """Ask the Hub for a sign of life."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=_HUB_TIMEOUT_S)
    except Exception:  # what the client's transport raises differs between its versions
        return False
    return True


def _automatic(machine: Machine, store: ModelStore, hub_answers: HubProbe) -> tuple[str, str]:
    if machine.device.type != "cuda":
        where = machine.device.type.upper()
        return MINI.key, Sentence(
            "chosen because models run on the {device} here, and full wants a CUDA GPU", device=where
        )
    if hub_answers():
        return FULL_KEY, "chosen because there is a CUDA GPU, and the Hugging Face Hub answers"
    needed = [model_id for model_id in default_model_ids() if not store.model(model_id).is_gated]
    if all(store.missing_reason(model_id) is None for model_id in needed):
        return FULL_KEY, "chosen because there is a CUDA GPU, and all models are in the Hub's cache"
    return MINI.key, "chosen because the Hugging Face Hub does not answer, and not all models of full are in its cache"


def _with_directories(suite: Suite, places: ModelPlaces) -> Suite:
    entries = dict(suite.strategies)
    for name, place in places.items():
        entry = entries.get(name)
        if entry is None:
            raise ConfigurationError(unknown_name("weights", name, tuple(entries)))
        if not isinstance(entry, StrategyEntry) or not isinstance(place, Path):
            raise ConfigurationError(
                "suite {suite} takes directories, got {name}={place}; choose --suite full",
                suite=suite.key,
                name=name,
                place=place,
            )
        entries[name] = replace(entry, directory=place)
    return replace(suite, strategies=MappingProxyType(entries))


def _known_id(place: str) -> str:
    try:
        return find_model(place).id
    except ConfigurationError as error:
        raise ConfigurationError("there is no directory {place}, and {reason}", place=place, reason=error) from error
