"""Strategies with other options than their own."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from evfsam.errors import ConfigurationError
from evfsam.types import Strategy


@runtime_checkable
class ConfigurableStrategy(Protocol):
    """A strategy that can be had with other options."""

    def with_options(self, /, **options: object) -> Strategy:
        """Return a copy with these options, sharing the weights.

        Raises:
            ConfigurationError: an option is unknown or out of range.
        """
        ...


def configured(strategy: Strategy, key: str, options: Mapping[str, object]) -> Strategy:
    """Return a strategy with options; the strategy itself where there are none.

    Raises:
        ConfigurationError: it has no options, or not these.
    """
    if not options:
        return strategy
    if not isinstance(strategy, ConfigurableStrategy):
        raise ConfigurationError(
            "strategy {strategy} has no options, got {options}; leave them out",
            strategy=key,
            options=", ".join(sorted(options)),
        )
    return strategy.with_options(**options)


def options_text(options: Mapping[str, object]) -> str:
    """Write options for people, such as "threshold=0.8, grid_size=6"."""
    return ", ".join(f"{name}={value}" for name, value in options.items())
