"""`python -m workbench` with doubles in place of the suite `mini`, as a process of its own.

Usage: python -m tests.workbench.run_doubles WEIGHTS ARGUMENTS...

The strategy "mortal" kills its process at its fifteenth question, unless a file tells that it did so before.
"""

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch

from evfsam.types import ImageView, Segmentation
from tests.workbench.doubles import BrightStrategy, card_of, suite_of
from workbench.__main__ import main
from workbench.suites import registry as suites
from workbench.suites.registry import StrategyEntry, Suite

DEADLY_QUESTION = 15


@dataclass(frozen=True)
class MortalStrategy(BrightStrategy):
    """Bright, and dead at its fifteenth question where it has not died before."""

    marker: Path = Path()
    asked: list[str] = field(default_factory=list)

    def segment(self, view: ImageView, phrase: str) -> Segmentation:
        self.asked.append(phrase)
        if len(self.asked) == DEADLY_QUESTION and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().segment(view, phrase)


def load_mortal(directory: Path, *, device: torch.device, dtype: torch.dtype) -> MortalStrategy:  # noqa: ARG001
    return MortalStrategy(directory.name, marker=directory / "died.txt")


def suite_with_mortal(directory: Path) -> Suite:
    suite = suite_of(directory, light="load_bright", mortal="load_bright", refused="load_refused")
    loader = "tests.workbench.run_doubles:load_mortal"
    mortal = StrategyEntry(card_of("mortal", "Mortal"), loader, directory / "mortal")
    return Suite("mini", "Doubles", "", MappingProxyType({**suite.strategies, "mortal": mortal}))


if __name__ == "__main__":
    suites.SUITES = MappingProxyType({"mini": suite_with_mortal(Path(sys.argv[1]))})
    sys.exit(main(sys.argv[2:]))
