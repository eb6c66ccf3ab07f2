"""Named sets of strategies and weights. A new strategy is one file elsewhere and one entry here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, cast

import torch

from baselines.strategy_cards import CLIP_TEXT, POINT_QUERY
from evfsam.errors import CheckpointError, ConfigurationError
from evfsam.strategy_cards import EVF_SAM
from evfsam.types import Strategy, StrategyCard
from workbench.bundled import CHECKPOINTS
from workbench.names import unknown_name
from workbench.suites.configured import configured, options_text
from workbench.suites.load_status import LoadStatus
from workbench.suites.weight_files import directory_digest, directory_name, with_options_digest


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
        module_name, _, function_name = self.loader.partition(":")
        function = cast(Callable[..., Strategy], getattr(import_module(module_name), function_name))
        return configured(function(self.directory, device=device, dtype=dtype), self.card.title, self.options)


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


MINI: Final = Suite(
    key="mini",
    title="Mini: small weights, offline",
    notice=(
        "Small models, trained by this project on generated scenes: they know the objects of those scenes, drawn as "
        "such. Point query knows some things in photographs, too, the others hardly any. They run offline on a CPU."
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
