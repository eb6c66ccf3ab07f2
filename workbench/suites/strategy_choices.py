"""Strategies and their options as they are asked for in text, before anything is loaded."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from evfsam.errors import ConfigurationError

CHOICE_FORM: Final = "[LABEL=][SUITE:]KEY[@DIR]"
OPTION_FORM: Final = "KEY.NAME=VALUE"
OPTION_HELP: Final = "an option of a strategy, such as point-query.threshold=0.8; may be repeated"
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Options = Mapping[str, Mapping[str, object]]
"""Options by strategy key."""


@dataclass(frozen=True)
class StrategyChoice:
    """A strategy as it is asked for.

    Attributes:
        key: in its suite.
        suite: name; None for the suite of the others.
        place: directory of its weights, or an id of the lock file; None for the suite's own.
        label: what it is called beside the others; None for the key, and the suite where that is named.
    """

    key: str
    suite: str | None = None
    place: str | None = None
    label: str | None = None

    @property
    def name(self) -> str:
        """Its key in the suite that is put together."""
        return self.label or (f"{self.key}-{self.suite}" if self.suite else self.key)

    @property
    def is_plain(self) -> bool:
        """Whether it is a key and nothing else."""
        return self.label is None and self.suite is None and self.place is None

    @classmethod
    def read(cls, text: str) -> "StrategyChoice":
        """Read `CHOICE_FORM`, such as "evf-sam", "full:evf-sam" or "mine=evf-sam@runs/evf/model".

        Raises:
            ConfigurationError: it has another form.
        """
        head, at, place = text.strip().partition("@")
        label, equals, rest = head.rpartition("=")
        suite, colon, key = (part.strip() for part in rest.rpartition(":"))
        label = label.strip()
        if not key or (equals and not _LABEL.fullmatch(label)) or (colon and not suite) or (at and not place.strip()):
            raise ConfigurationError(
                "expected a strategy as {form}, such as mine=evf-sam@runs/evf, got {text!r}",
                form=CHOICE_FORM,
                text=text,
            )
        return cls(key, suite or None, place.strip() or None, label or None)


def read_choices(text: str) -> tuple[StrategyChoice, ...] | None:
    """Read strategies with commas between; None of an empty text.

    Raises:
        ConfigurationError: one has another form.
    """
    return tuple(StrategyChoice.read(part) for part in text.split(",") if part.strip()) or None


def read_options(texts: Sequence[str]) -> Options:
    """Read options of strategies, `OPTION_FORM` each: numbers, true and false as in JSON, anything else as text.

    Raises:
        ConfigurationError: one has another form.
    """
    options: dict[str, dict[str, object]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        # A label may have dots in it, the name of an option has none.
        key, dot, name = (part.strip() for part in target.rpartition("."))
        if not equals or not dot or not key or not name:
            raise ConfigurationError(
                "expected an option as {form}, such as point-query.threshold=0.8, got {text!r}",
                form=OPTION_FORM,
                text=text,
            )
        options.setdefault(key, {})[name] = _value(value.strip())
    return options


def _value(text: str) -> object:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | float | bool) else text
