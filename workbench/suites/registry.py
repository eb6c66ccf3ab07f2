"""Named sets of strategies and weights. A new strategy is one file elsewhere and one entry here."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import file_digest, sha256
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Final, Protocol, cast, runtime_checkable

import torch

from baselines.strategy_cards import CLIP_TEXT, POINT_QUERY
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.strategy_cards import EVF_SAM
from evfsam.types import Strategy, StrategyCard
from workbench.bundled import CHECKPOINTS
from workbench.names import unknown_name
from workbench.suites.load_status import LoadStatus

READING: Final = Lock()
"""Held while a strategy is made of its weights. transformers imports its modules when they are first asked for, and of
two threads that do so at once one may find a module half imported: an ImportError, where nothing is missing."""
_SUFFIXES: Final = frozenset({".json", ".jinja", ".safetensors", ".bin", ".pt", ".pth", ".model"})


def directory_digest(directory: Path) -> str:
    """Return a digest of the weights and settings below a directory, by their content; see `content_digest`."""
    digest = sha256()
    for path in sorted(directory.rglob("*")):
        if path.suffix in _SUFFIXES and path.is_file():
            digest.update(f"{path.relative_to(directory).as_posix()} {content_digest(path)}\n".encode())
    return digest.hexdigest()[:16]


def with_options_digest(digest: str, options: Mapping[str, object]) -> str:
    """Return a digest that tells options apart too; without options, the digest itself."""
    if not options:
        return digest
    return sha256(f"{digest} {json.dumps(dict(options), sort_keys=True)}".encode()).hexdigest()[:16]


def directory_name(directory: Path) -> str:
    """Name a directory of weights for people: its last two parts, since those above are one machine's own."""
    return "/".join(directory.resolve().parts[-2:])


def content_digest(path: Path) -> str:
    """Return a file's SHA-256. It is read once in a process; after that its time and size tell whether it changed."""
    state = path.stat()
    return _content_digest(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def _content_digest(path: Path, _changed_ns: int, _nbytes: int) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


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


class Entry(Protocol):
    """How to get a strategy, without importing or loading anything yet."""

    @property
    def card(self) -> StrategyCard:
        """What it is, before the weights are there; the loaded strategy's own card may know better."""
        ...

    @property
    def digest(self) -> str:
        """Equal for equal weights and settings."""
        ...

    @property
    def source(self) -> str:
        """Where the weights come from, for people."""
        ...

    @property
    def options(self) -> Mapping[str, object]:
        """What is given to the strategy once it is loaded."""
        ...

    def load(self, device: torch.device, dtype: torch.dtype) -> Strategy:
        """Build the strategy; an EvfSamError says why that is not possible, and the next call tries again."""
        ...


def loader_of(name: str) -> Callable[..., Strategy]:
    """Import what loads a strategy; to be called while `READING` is held.

    Args:
        name: "module:function".
    """
    module_name, _, function_name = name.partition(":")
    return cast(Callable[..., Strategy], getattr(import_module(module_name), function_name))


@dataclass(frozen=True)
class StrategyEntry:
    """An entry whose weights lie in a directory.

    Attributes:
        card: what it is.
        loader: "module:function", called as `function(directory, device=..., dtype=...)`.
        directory: where the weights are.
        options: given to the strategy once it is loaded.
    """

    card: StrategyCard
    loader: str
    directory: Path
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A digest of the files in the directory, and of the options."""
        return with_options_digest(directory_digest(self.directory), self.options)

    @property
    def source(self) -> str:
        """The directory's name, and the options."""
        return ", ".join(filter(None, (directory_name(self.directory), options_text(self.options))))

    def load(self, device: torch.device, dtype: torch.dtype) -> Strategy:
        """Import the loader and build the strategy from its weights.

        Raises:
            CheckpointError: there is no such directory, or it holds something else.
            ConfigurationError: the strategy does not have these options.
        """
        if not self.directory.is_dir():
            raise CheckpointError(
                "{title}: expected weights in {suite}/{directory}, found no such directory; make them with "
                "`python -m training`, or bring them from the repository",
                title=self.card.title,
                suite=self.directory.parent.name,
                directory=self.directory.name,
            )
        with READING:
            loaded = loader_of(self.loader)(self.directory, device=device, dtype=dtype)
        return configured(loaded, self.card.title, self.options)


@dataclass(frozen=True)
class Suite:
    """Strategies that are compared with each other.

    Attributes:
        key: name on the command line and in files.
        title: for people.
        notice: what these weights can and cannot know, for the banner of the page.
        strategies: entries by strategy key, in the order in which they run.
        reason: why this suite runs, where nobody asked for it by name.
        left_out: why a strategy is not in the list, by its title.
        load_status: how far the weights are, where they have to be fetched; None where they are at hand.
    """

    key: str
    title: str
    notice: str
    strategies: Mapping[str, Entry]
    reason: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    load_status: LoadStatus | None = None

    @property
    def has_published_models(self) -> bool:
        """Whether models of the Hub, or what replaces them, are in it: large ones, made for half precision."""
        return self.load_status is not None


MINI: Final = Suite(
    key="mini",
    title="Mini: small weights, offline",
    notice=(
        "Small models, trained by this project on generated scenes, whose things they know. In photographs EVF-SAM and "
        "point query find some things, CLIP text hardly any. They run offline on a CPU."
    ),
    strategies=MappingProxyType(
        {
            "evf-sam": StrategyEntry(
                card=EVF_SAM,
                loader="evfsam.model.strategy:load_strategy",
                directory=CHECKPOINTS / "mini" / "evf-sam",
            ),
            "clip-text": StrategyEntry(
                card=CLIP_TEXT,
                loader="baselines.clip.text:load_strategy",
                directory=CHECKPOINTS / "mini" / "clip-text",
            ),
            "point-query": StrategyEntry(
                card=POINT_QUERY,
                loader="baselines.point_query.strategy:load_strategy",
                directory=CHECKPOINTS / "mini" / "point-query",
            ),
        }
    ),
)

SUITES: Final[Mapping[str, Suite]] = MappingProxyType({MINI.key: MINI})


def find_suite(key: str) -> Suite:
    """Return the suite called `key`.

    Raises:
        ConfigurationError: there is none; the message lists the choices.
    """
    if key not in SUITES:
        raise ConfigurationError(unknown_name("suite", key, tuple(SUITES)))
    return SUITES[key]
