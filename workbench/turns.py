"""Models are run by one at a time, in the order in which they were asked for, and long work lets others in between."""

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
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: deque[Event] = deque()
        self._is_taken = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn, and have it while this lasts."""
        with self._lock:
            mine = Event() if self._is_taken else None
            self._is_taken = True
            if mine is not None:
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
                    self._is_taken = False

    def each(self, values: Iterator[Value]) -> Iterator[Value]:
        """Make each value in a turn of its own."""
        while True:
            with self.taken():
                value = next(values, _END)
            if value is _END:
                return
            yield value  # type: ignore[misc]
