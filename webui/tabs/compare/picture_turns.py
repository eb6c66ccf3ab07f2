"""Which picture a visitor is at: a run on an earlier one must not write its answers beside the new one.

A run is asked for with the number that was on the page when the button was pressed, and looks before every answer
whether that is still the visitor's. Gradio's own `cancels` acts on the browser's side, some time after the press: it
can hit the run that was asked for next, and leave it unfinished for good.
"""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Final

from gradio.context import LocalContext

_VISITORS: Final = 1000


@dataclass(frozen=True)
class _Turn:
    """The visitor's picture: its number, and its file where the visitor uploaded it."""

    number: int
    path: str | None


class PictureTurns:
    """Numbers the pictures of each visitor; safe to share between threads, bounded in visitors."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        self._lock = Lock()

    def begin(self, path: str | None = None) -> int:
        """Count another picture of this visitor and return its number.

        Args:
            path: file of an uploaded picture: runs on it count as current before the page has its number.
        """
        visitor = _visitor()
        with self._lock:
            before = self._turns.pop(visitor, None)
            self._turns[visitor] = _Turn(1 if before is None else before.number + 1, path)
            while len(self._turns) > _VISITORS:
                self._turns.popitem(last=False)
            return self._turns[visitor].number

    def is_current(self, number: object, path: str | None = None) -> bool:
        """Whether a run belongs to this visitor's picture; one of a visitor who is not known here does.

        Args:
            number: as the page sent it with the run.
            path: file of the run's picture.
        """
        with self._lock:
            turn = self._turns.get(_visitor())
        return turn is None or number == turn.number or (turn.path is not None and path == turn.path)


def _visitor() -> str:
    request = LocalContext.request.get(None)
    return str(getattr(request, "session_hash", "") or "")
