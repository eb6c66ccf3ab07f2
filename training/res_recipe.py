"""How a run on real data goes, and how it ended."""

from dataclasses import dataclass

from evfsam.errors import ConfigurationError, EvfSamError


class TrainingError(EvfSamError):
    """A run cannot go on as it is set up."""


@dataclass(frozen=True)
class ResRecipe:
    """How a run goes.

    Attributes:
        steps: optimiser steps.
        batch: images a step, of all processes and accumulated passes together.
        images_at_once: images of one pass of one process; less needs less memory, and the batch stays.
        learning_rate: at the first step; falls along a line to 0.
        weight_decay: of AdamW.
        seed: of the images drawn.
        save_every: steps between two states.
        workers: threads that read images ahead.
    """

    steps: int = 15_000
    batch: int = 128
    images_at_once: int = 4
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    seed: int = 0
    save_every: int = 500
    workers: int = 4

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "images_at_once", "save_every", "workers"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"expected {name} of at least 1, got {getattr(self, name)}")

    def passes(self, processes: int) -> int:
        """Return the passes of each process that make one step.

        Raises:
            ConfigurationError: the batch cannot be divided evenly.
        """
        count, rest = divmod(self.batch, self.images_at_once * processes)
        if rest or not count:
            raise ConfigurationError(
                f"expected a batch that is a multiple of {self.images_at_once} images at once x {processes} processes, "
                f"got {self.batch}; change --batch or --images-at-once"
            )
        return count


@dataclass(frozen=True)
class ResRun:
    """How a run ended.

    Attributes:
        losses: of the steps taken, those of a resumed run alone.
        first_step: that it took.
        unreadable: samples left out, and why, of all processes and resumed runs.
    """

    losses: tuple[float, ...]
    first_step: int
    unreadable: dict[str, str]
