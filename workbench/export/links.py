"""Links that restore a run: a recipe as the query of an address, strictly read back and bounded in length.

Example: `v=1&example=scene-colour.png&phrase=the+blue+bus&suite=mini&strategy=evf-sam&option=point-query.grid_size=7`.
"""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode

from evfsam.errors import ConfigurationError
from workbench.export.run_recipes import (
    ExampleSource,
    GeneratedScene,
    ImageSource,
    OptionValue,
    RunRecipe,
    UploadSource,
    check_recipe,
)
from workbench.suites.registry import SUITES, Suite

VERSION: Final = "1"
MAX_LENGTH: Final = 2_000
"""Characters of a query: every browser, chat and mail program carries this much."""

_MARK: Final = "v"
_ONCE: Final = frozenset({_MARK, "example", "scene", "size", "suite"})
_MANY: Final = frozenset({"phrase", "strategy", "option"})
_FOREIGN_PREFIX: Final = "__"
"""Gradio's own settings, such as `__theme`, stand in the same query."""
_MAX_FIELDS: Final = 100
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""All but tabs and line ends, which a phrase brings along that is copied from a table."""


def encode_link(recipe: RunRecipe) -> str:
    """Write a recipe as a query without the question mark; settings at their defaults are left out.

    Raises:
        ConfigurationError: the picture was uploaded, so that no link can restore it, the link would be too long, or a
            phrase holds control characters.
    """
    pairs = [(_MARK, VERSION), *_source_pairs(recipe.source)]
    pairs += [("phrase", phrase) for phrase in recipe.phrases]
    pairs += [("suite", recipe.suite)] + [("strategy", key) for key in recipe.strategies]
    pairs += [
        ("option", f"{key}.{name}={json.dumps(value)}")
        for key, named in recipe.options.items()
        for name, value in named.items()
    ]
    for name, value in pairs:
        _check_plain(name, value)
    query = urlencode(pairs)
    if len(query) > MAX_LENGTH:
        raise ConfigurationError(
            "expected a link of at most {most} characters, got {got}; use fewer or shorter phrases",
            most=MAX_LENGTH,
            got=len(query),
        )
    return query


def holds_recipe(query: str) -> bool:
    """Say whether a query claims to hold a recipe; the page is also opened without one."""
    text = query.removeprefix("?")[: 2 * MAX_LENGTH]
    return any(part.partition("=")[0] == _MARK for part in text.split("&"))


def decode_link(query: str, *, examples: Collection[str], suites: Mapping[str, Suite] = SUITES) -> RunRecipe:
    """Read a query that anybody may have written.

    Args:
        query: with or without the question mark.
        examples: file names of the examples that exist.
        suites: by key.

    Raises:
        ConfigurationError: it is too long, of another version, incomplete, or names what does not exist.
        PhraseError: a phrase is empty or too long, or there are too many.
    """
    text = query.removeprefix("?")
    if len(text) > MAX_LENGTH:
        raise ConfigurationError(
            "expected a link of at most {most} characters, got {got}; copy it again", most=MAX_LENGTH, got=len(text)
        )
    single, many = _fields_of(text)
    if single.get(_MARK) != VERSION:
        raise ConfigurationError(
            "expected a link of version {expected}, got {value!r}", expected=VERSION, value=single.get(_MARK, "none")
        )
    recipe = RunRecipe(
        source=_source_of(single),
        phrases=tuple(many["phrase"]),
        suite=_required(single, "suite"),
        strategies=tuple(many["strategy"]),
        options=_options_of(many["option"]),
    )
    return check_recipe(recipe, examples=examples, suites=suites)


def _source_pairs(source: ImageSource) -> list[tuple[str, str]]:
    if isinstance(source, ExampleSource):
        return [("example", source.file)]
    if isinstance(source, GeneratedScene):
        return [("scene", str(source.seed)), ("size", str(source.size))]
    assert isinstance(source, UploadSource)
    raise ConfigurationError(
        "expected an example or a scene, got an uploaded image, which no link can restore; save the results instead"
    )


def _fields_of(text: str) -> tuple[dict[str, str], dict[str, list[str]]]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError as error:  # UnicodeDecodeError is one
        raise ConfigurationError(
            "expected a link in UTF-8 of at most {most} parts: {reason}", most=_MAX_FIELDS, reason=error
        ) from error
    single: dict[str, str] = {}
    many: dict[str, list[str]] = {name: [] for name in _MANY}
    for name, value in pairs:
        if name.startswith(_FOREIGN_PREFIX):
            continue
        _check_plain(name, value)
        if name in _MANY:
            many[name].append(value)
        elif name not in _ONCE:
            raise ConfigurationError("unknown part {name!r} in the link; copy it again", name=name[:40])
        elif name in single:
            raise ConfigurationError("expected {name!r} once in the link, got it twice; copy it again", name=name)
        else:
            single[name] = value
    return single, many


def _check_plain(name: str, value: str) -> None:
    if _CONTROL.search(value):
        raise ConfigurationError(
            "expected plain text as {name!r} in the link, got control characters; leave them out", name=name[:40]
        )


def _source_of(single: Mapping[str, str]) -> ImageSource:
    if ("example" in single) == ("scene" in single):
        raise ConfigurationError("expected either an example or a scene in the link; copy it again")
    if "example" in single:
        return ExampleSource(single["example"])
    return GeneratedScene(_whole(single, "scene"), _whole(single, "size"))


def _whole(single: Mapping[str, str], name: str) -> int:
    text = _required(single, name)
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ConfigurationError(
            "expected a whole number as {name!r} in the link, got {value!r}", name=name, value=text[:40]
        )
    return int(text)


def _required(single: Mapping[str, str], name: str) -> str:
    if name not in single:
        raise ConfigurationError("expected {name!r} in the link, got none; copy it again", name=name)
    return single[name]


def _options_of(entries: Iterable[str]) -> dict[str, dict[str, OptionValue]]:
    options: dict[str, dict[str, OptionValue]] = {}
    for entry in entries:
        place, separator, value = entry.partition("=")
        strategy, dot, name = place.partition(".")
        if not separator or not dot:
            raise ConfigurationError("expected strategy.option=value in the link, got {value!r}", value=entry[:40])
        if name in options.setdefault(strategy, {}):
            raise ConfigurationError("expected {name!r} once in the link, got it twice; copy it again", name=place[:80])
        options[strategy][name] = _scalar(place, value)
    return options


def _scalar(name: str, text: str) -> OptionValue:
    """Read one JSON value that is a text, a finite number or a truth value."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ConfigurationError(
        "expected a JSON text, number or truth value as {name!r}, got {text!r}", name=name[:80], text=text[:40]
    )
