"""What the options of all strategies share: changing some of them by name, and keeping numbers within their range."""

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from evfsam.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Options = TypeVar("Options", bound=DataclassInstance)


def changed(options: "Options", changes: dict[str, object], title: str, known: Iterable[str] = ()) -> "Options":
    """Return a copy of a frozen dataclass with some fields changed.

    Args:
        options: what to change.
        changes: values by field.
        title: of the strategy, for the message.
        known: the fields that may be changed; all by default.

    Raises:
        ConfigurationError: a field is unknown; or what the dataclass itself raises of a value.
    """
    names = tuple(known) or tuple(entry.name for entry in fields(options))
    unknown = sorted(set(changes) - set(names))
    if unknown:
        raise ConfigurationError(
            "{title} has no option {unknown}; it has {names}",
            title=title,
            unknown=", ".join(unknown),
            names=", ".join(names),
        )
    return replace(options, **changes)


def check_number(options: object, name: str, least: float, most: float, *, is_whole: bool = False) -> None:
    """Refuse a field that is not a number from `least` to `most`.

    Raises:
        ConfigurationError: naming the field, its range and what arrived.
    """
    value: Any = getattr(options, name)
    kinds = int if is_whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        raise ConfigurationError(
            "expected {name} between {least} and {most}, got {value!r}", name=name, least=least, most=most, value=value
        )
