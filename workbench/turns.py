"""Models are run by few at a time, in the order in which they were asked for, and long work lets others in between."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from threading import Event, Lock
from typing import Final, TypeVar

Value = TypeVar("Value")
_END: Final = object()


@dataclass(eq=False)
class _Waiting:
    """Somebody who waits for a turn, and the place that became free."""

    called: Event = field(default_factory=Event)
    place: int = 0


class Turns:
    """Turns at the models, first come first served; a plain lock would let a loop that takes it again go first.

    Whoever has the turn must not take another.

    Args:
        at_once: how many have a turn at a time, each at a place of its own.
    """

    def __init__(self, at_once: int = 1) -> None:
        self._lock = Lock()
        self._waiting: deque[_Waiting] = deque()
        self._free = list(range(at_once))

    @contextmanager
    def taken(self) -> Iterator[int]:
        """Wait for the turn, and have it while this lasts; gives the lowest place that is free, from 0."""
        place = self._place()
        try:
            yield place
        finally:
            with self._lock:
                if self._waiting:
                    first = self._waiting.popleft()
                    first.place = place
                    first.called.set()
                else:
                    heappush(self._free, place)

    def _place(self) -> int:
        with self._lock:
            if self._free:
                return heappop(self._free)
            mine = _Waiting()
            self._waiting.append(mine)
        mine.called.wait()
        return mine.place

    def each(self, values: Iterator[Value]) -> Iterator[Value]:
        """Make each value in a turn of its own."""
        while True:
            with self.taken():
                value = next(values, _END)
            if value is _END:
                return
            yield value  # type: ignore[misc]
