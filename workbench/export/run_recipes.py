"""What makes a run: picture, phrases, suite, strategies and options. Enough to make it again."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from evfsam.errors import ConfigurationError
from evfsam.phrases import PHRASE_SEPARATOR, check_phrases
from workbench.names import unknown_name
from workbench.suites.registry import SUITES, Suite

OptionValue = str | int | float | bool
RecipeOptions = Mapping[str, Mapping[str, OptionValue]]
"""Options by strategy key and name."""

SCENE_SIDES: Final = range(64, 1025)
MAX_SEED: Final = 10**9
MAX_OPTIONS: Final = 32
MAX_OPTION_TEXT: Final = 100
_OPTION_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_EXAMPLE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True)
class ExampleSource:
    """A picture of `examples/`, by file name."""

    file: str


@dataclass(frozen=True)
class GeneratedScene:
    """A generated scene, by seed and side in pixels."""

    seed: int
    size: int


@dataclass(frozen=True)
class UploadSource:
    """A picture that only its owner has; its name is for people."""

    name: str


ImageSource = ExampleSource | GeneratedScene | UploadSource


@dataclass(frozen=True)
class RunRecipe:
    """A run that can be made again. Plain values: safe to keep, compare and print.

    Attributes:
        source: the picture.
        phrases: one or more, as they were checked.
        suite: key of the suite.
        strategies: keys, in the order of the run.
        options: of the strategies.
    """

    source: ImageSource
    phrases: tuple[str, ...]
    suite: str
    strategies: tuple[str, ...]
    options: RecipeOptions = field(default_factory=dict)

    @property
    def request(self) -> str:
        """All phrases in one text, as the page's field and the endpoints take them."""
        return f"{PHRASE_SEPARATOR} ".join(self.phrases)


def check_recipe(recipe: RunRecipe, *, examples: Collection[str], suites: Mapping[str, Suite] = SUITES) -> RunRecipe:
    """Check a recipe that came from outside and return it with its phrases stripped.

    Whether an option's value is in range is left to its strategy, which answers "failed" with the reason.

    Args:
        recipe: of any values.
        examples: file names that exist.
        suites: by key.

    Raises:
        ConfigurationError: a part names nothing that exists, or is out of range.
        PhraseError: a phrase is empty or too long, or there are too many.
    """
    _check_source(recipe.source, examples)
    if recipe.suite not in suites:
        raise ConfigurationError(unknown_name("suite", recipe.suite, tuple(suites)))
    known = tuple(suites[recipe.suite].strategies)
    if not recipe.strategies or len(set(recipe.strategies)) < len(recipe.strategies):
        raise ConfigurationError(
            "expected each strategy once out of {choices}, got {value}",
            choices=", ".join(known),
            value=recipe.strategies,
        )
    for key in (*recipe.strategies, *recipe.options):
        if key not in known:
            raise ConfigurationError(unknown_name("strategy", key, known))
    _check_options(recipe.options)
    phrases = check_phrases(recipe.phrases)
    return RunRecipe(recipe.source, phrases, recipe.suite, recipe.strategies, recipe.options)


def _check_source(source: ImageSource, examples: Collection[str]) -> None:
    if isinstance(source, ExampleSource):
        if not _EXAMPLE_NAME.fullmatch(source.file) or source.file not in examples:
            raise ConfigurationError(unknown_name("example", source.file, tuple(sorted(examples))))
    elif isinstance(source, GeneratedScene):
        if not 0 <= source.seed <= MAX_SEED:
            raise ConfigurationError(
                "expected a scene's seed from 0 to {most}, got {value}", most=MAX_SEED, value=source.seed
            )
        if source.size not in SCENE_SIDES:
            raise ConfigurationError("expected a scene's side of 64 to 1024 pixels, got {value}", value=source.size)


def _check_options(options: RecipeOptions) -> None:
    pairs = [(name, value) for named in options.values() for name, value in named.items()]
    if len(pairs) > MAX_OPTIONS:
        raise ConfigurationError("expected at most {most} options, got {got}", most=MAX_OPTIONS, got=len(pairs))
    for name, value in pairs:
        if not _OPTION_NAME.fullmatch(name):
            raise ConfigurationError(
                "expected an option's name in small letters, digits and _, got {name!r}", name=name
            )
        if isinstance(value, str) and len(value) > MAX_OPTION_TEXT:
            raise ConfigurationError(
                "option {name}: expected at most {most} characters, got {got}",
                name=name,
                most=MAX_OPTION_TEXT,
                got=len(value),
            )
