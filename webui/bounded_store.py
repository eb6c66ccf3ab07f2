"""Values that visitors come back to: each under a key that nobody can guess, all of them bounded in bytes.

A visitor's session holds a key alone, so that a hundred open pages cost no more memory or disk than a store may take.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

_KEYS_REMEMBERED = 1000

Value = TypeVar("Value")


class BoundedStore(Generic[Value]):
    """Keeps the values put or asked for last; safe to share between visitors.

    Args:
        max_bytes: bound on what the values hold; one that alone exceeds it is not kept.
        nbytes: what a value holds now; asked anew whenever another is put.
        on_drop: called with each value that is kept no longer, or never was.
    """

    def __init__(
        self, max_bytes: int, nbytes: Callable[[Value], int], on_drop: Callable[[Value], None] = lambda _: None
    ) -> None:
        self.max_bytes = max_bytes
        self._nbytes = nbytes
        self._on_drop = on_drop
        self._kept: OrderedDict[str, Value] = OrderedDict()
        self._too_large: OrderedDict[str, int] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def put(self, value: Value, key: str = "") -> str:
        """Keep a value and return its key; of one that is too large, the key and the size alone.

        Args:
            value: what to keep.
            key: of a value that all may see; by default one that nobody can guess.
        """
        key = key or secrets.token_urlsafe(16)
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            sizes = {each: self._nbytes(kept) for each, kept in self._kept.items()}
            if sizes[key] > self.max_bytes:
                self._too_large[key] = sizes[key]
                while len(self._too_large) > _KEYS_REMEMBERED:
                    self._too_large.popitem(last=False)
                gone = [self._kept.pop(key)]
            else:
                gone = []
                while sum(sizes[each] for each in self._kept) > self.max_bytes:
                    gone.append(self._kept.popitem(last=False)[1])
        for old in gone:
            self._on_drop(old)
        return key

    def find(self, key: str) -> Value | None:
        """Return the value under a key; None where it made room for others, or never was there."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key]

    def refused_bytes(self, key: str) -> int | None:
        """Return what a value held that was too large to be kept; None of other keys."""
        with self._lock:
            return self._too_large.get(key)

    def drop(self, key: str) -> None:
        """Forget a value."""
        with self._lock:
            value = self._kept.pop(key, None)
        if value is not None:
            self._on_drop(value)
