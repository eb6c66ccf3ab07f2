"""Models are run by few at a time, in the order in which they were asked for, and long work lets others in between."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock
from typing import Final, TypeVar

Value = TypeVar("Value")
_END: Final = object()


class Turns:
    """Turns at the models, first come first served; a plain lock would let a loop that takes it again go first.

    Whoever has the turn must not take another.

    Args:
        at_once: how many have a turn at a time.
    """

    def __init__(self, at_once: int = 1) -> None:
        self._lock = Lock()
        self._waiting: deque[Event] = deque()
        self._free = at_once

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn, and have it while this lasts."""
        with self._lock:
            mine = None if self._free else Event()
            if mine is None:
                self._free -= 1
            else:
                self._waiting.append(mine)
        if mine is not None:
            mine.wait()
        try:
            yield
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting.popleft().set()
                else:
                    self._free += 1

    def each(self, values: Iterator[Value]) -> Iterator[Value]:
        """Make each value in a turn of its own."""
        while True:
            with self.taken():
                value = next(values, _END)
            if value is _END:
                return
            yield value  # type: ignore[misc]
