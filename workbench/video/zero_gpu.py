"""Clips on a GPU that is lent for one call at a time; see `workbench.zero_gpu`."""

from collections.abc import Generator, Iterator
from typing import Final

from evfsam.errors import EvfSamError
from workbench.comparison import Comparison
from workbench.video.clip_run import ClipAsker, ClipOrder, FrameAnswer
from workbench.zero_gpu import (
    LOAD_SECONDS,
    LONGEST_SECONDS,
    START_SECONDS,
    GpuUnavailableError,
    ZeroGpuComparison,
    gpu_fault_in_words,
)

FRAME_SECONDS: Final = 0.25
"""For one frame, on the generous side, so that `workbench.video.clips.FRAME_LIMIT` frames fit into one call."""


class LentClipAsker(ClipAsker):
    """Asks about each clip in one call on a lent GPU: the file's path crosses the process border, not its frames.

    Args:
        comparison: whose strategies, and who lends the GPU.
    """

    def __init__(self, comparison: ZeroGpuComparison) -> None:
        super().__init__(comparison)
        self._lender = comparison
        asked = super().answers

        def ask(order: ClipOrder) -> Generator[FrameAnswer, None, None]:
            yield from asked(order)

        self._on_gpu = comparison.gpu(duration=self.duration)(ask)

    def duration(self, order: ClipOrder) -> int:
        """Return the seconds to ask for; same argument as the decorated function."""
        loading = LOAD_SECONDS if self._lender.loaded(order.strategy) is None else 0
        return min(round(START_SECONDS + loading + FRAME_SECONDS * order.count), LONGEST_SECONDS)

    def answers(self, order: ClipOrder) -> Iterator[FrameAnswer]:
        """Fetch files here, then do as `ClipAsker.answers` in one call.

        Raises:
            GpuUnavailableError: while iterating: the GPU was not lent, or taken away.
            EvfSamError: while iterating, as in `ClipAsker.answers`.
        """
        self._lender.fetch(order.strategy)
        try:
            yield from self._on_gpu(order)
        except EvfSamError:
            raise
        except Exception as error:  # gradio's own, which this room does not import
            raise GpuUnavailableError(gpu_fault_in_words(error)) from error


def clip_asker(comparison: Comparison) -> ClipAsker:
    """Return what asks a comparison's strategies about clips, on a lent GPU where the comparison runs on one."""
    return LentClipAsker(comparison) if isinstance(comparison, ZeroGpuComparison) else ClipAsker(comparison)
