"""Curves of a run on the disk, for TensorBoard: the loss, the learning rate, and what validations measured."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import torch

from evfsam.errors import ConfigurationError

STEPS_A_POINT: Final = 10
"""A point of the loss is the mean of the steps since the last: a GPU is not made to wait at every one."""


class Curves:
    """Writes the curves of one run; what a killed run had drawn beyond `step` is taken back.

    Args:
        folder: `tensorboard --logdir` shows it; None writes nothing.
        step: from which the run goes on.

    Raises:
        ConfigurationError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._losses: list[torch.Tensor] = []
        self._writer = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as err:
            raise ConfigurationError(
                f"training needs {err.name} for its curves: pip install -r requirements-train.txt"
            ) from err
        # TensorBoard's own purge takes steps from the given one on.
        self._writer = SummaryWriter(folder, purge_step=step + 1)

    def add(self, step: int, loss: torch.Tensor, learning_rate: float) -> None:
        """Add a step that was taken, counted from 1."""
        if self._writer is None:
            return
        self._losses.append(loss.detach())
        if step % STEPS_A_POINT == 0:
            self._writer.add_scalar("loss", float(torch.stack(self._losses).mean()), step)
            self._writer.add_scalar("learning rate", learning_rate, step)
            self._losses.clear()

    def add_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Add what a validation after a step measured."""
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(f"validation/{name}", value, step)

    def flush(self) -> None:
        """Bring everything to the disk: before a state is saved, so that none is ahead of its curves."""
        if self._writer is not None:
            self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
