"""Sizes read from plain values, with unknown fields refused by name."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from evfsam.errors import ConfigurationError

T = TypeVar("T")


def with_known_fields(kind: type[T], values: Mapping[str, Any], title: str) -> T:
    """Build a dataclass from plain values.

    Args:
        kind: the dataclass.
        values: its fields by name; absent ones keep their defaults.
        title: whose fields they are, for the message.

    Raises:
        ConfigurationError: a field is unknown, or what `kind` refuses.
    """
    known = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigurationError(
            "{title}: unknown fields {unknown}; known are {known}", title=title, unknown=unknown, known=sorted(known)
        )
    return kind(**values)
