"""Suites put together from strategies of several suites, from several weights of one strategy, and with options."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import torch

from evfsam.errors import ConfigurationError
from workbench.names import unknown_name
from workbench.suites.choice import Machine, choose_suite, planned
from workbench.suites.hub_entries import HubEntry, SharedSams
from workbench.suites.load_status import LoadStatus
from workbench.suites.registry import Entry, StrategyEntry, Suite
from workbench.suites.strategy_choices import Options, StrategyChoice


def composed_suite(
    choices: Sequence[StrategyChoice] | None,
    suite: str,
    machine: Machine,
    *,
    weights: Sequence[str] = (),
    options: Options = MappingProxyType({}),
    dtype: torch.dtype | None = None,
    is_rest_kept: bool = True,
) -> Suite:
    """Return the suite of some choices, ready for `Comparison`; nothing is loaded.

    Args:
        choices: what is asked; None for the whole suite.
        suite: name of the suite of choices that name none.
        machine: where it will run.
        weights: replacements in that suite, see `choose_suite`.
        options: by name of the choice.
        dtype: number type.
        is_rest_kept: whether the suite keeps its other strategies where each choice is a plain key.

    Raises:
        ConfigurationError: a suite, a strategy, a name or a replacement is unknown, or two choices have one name.
    """
    asked = choices or ()
    if not asked or (is_rest_kept and all(choice.is_plain for choice in asked)):
        keys = [choice.key for choice in asked] or None
        return _with_options(choose_suite(suite, machine, weights=weights, strategies=keys, dtype=dtype), options)
    names = [choice.name for choice in asked]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigurationError(
            "two strategies are called {double}; give one a label, such as a={again}", double=double, again=double
        )
    load_status, sams = LoadStatus(), SharedSams()
    entries: dict[str, Entry] = {}
    parts: list[Suite] = []
    unplanned = replace(machine, budget=None)  # parts would be planned as if each were alone
    for choice in asked:
        replaced = [] if choice.place is None else [f"{choice.key}={choice.place}"]
        own = weights if choice.suite in (None, suite) else ()
        part = choose_suite(choice.suite or suite, unplanned, weights=[*own, *replaced])
        if choice.key not in part.strategies:
            reason = "; ".join(f"{title}: {why}" for title, why in part.left_out.items())
            problem = unknown_name("strategy", choice.key, tuple(part.strategies))
            raise (
                ConfigurationError("{problem} ({reason})", problem=problem, reason=reason)
                if reason
                else (ConfigurationError(problem))
            )
        entries[choice.name] = _named(part.strategies[choice.key], choice, load_status, sams)
        parts.append(part)
    return _with_options(planned(_joined(parts, entries, load_status), machine, dtype=dtype), options)


def _named(entry: Entry, choice: StrategyChoice, load_status: LoadStatus, sams: SharedSams) -> Entry:
    told = choice.label or choice.suite or entry.source
    card = entry.card if choice.is_plain else replace(entry.card, title=f"{entry.card.title} ({told})")
    if isinstance(entry, HubEntry):
        return replace(entry, key=choice.name, card=card, load_status=load_status, sams=sams)
    assert isinstance(entry, StrategyEntry)
    return replace(entry, card=card)


def _joined(parts: Sequence[Suite], entries: Mapping[str, Entry], load_status: LoadStatus) -> Suite:
    by_key = {part.key: part for part in parts}
    return Suite(
        key="+".join(by_key),
        title=" + ".join(part.title for part in by_key.values()),
        notice=" ".join(part.notice for part in by_key.values()),
        strategies=MappingProxyType(dict(entries)),
        load_status=load_status if any(part.load_status is not None for part in parts) else None,
    )


def _with_options(suite: Suite, options: Options) -> Suite:
    entries = dict(suite.strategies)
    for key, values in options.items():
        entry = entries.get(key)
        if entry is None:
            raise ConfigurationError(unknown_name("strategy", key, tuple(entries)))
        assert isinstance(entry, StrategyEntry | HubEntry)
        entries[key] = replace(entry, options={**entry.options, **values})
    return replace(suite, strategies=MappingProxyType(entries)) if options else suite
