"""A bounded, thread-safe cache of what models see in images, shared by every visitor and every strategy."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Event, Lock
from typing import Any

from evfsam.errors import ConfigurationError
from evfsam.types import Seen, Weighed

DEFAULT_MAX_BYTES = 512 * 2**20
DEFAULT_MOST = 512
"""Of small models it takes a tenth of a megabyte: by bytes alone, a server would grow for thousands of pictures."""


class EmbeddingCache:
    """Keeps what was used last, within bounds; implements `evfsam.types.EmbeddingStore`.

    One cache serves one device and dtype: keys name the encoder and the image, not the place of the tensors.

    Args:
        max_bytes: bound on the tensors held. What is larger than it is handed out but not kept.
        most: bound on the number of what is kept.

    Raises:
        ConfigurationError: `max_bytes` is negative.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES, most: int = DEFAULT_MOST) -> None:
        if max_bytes < 0:
            raise ConfigurationError("expected max_bytes of 0 or more, got {value}; 0 keeps nothing", value=max_bytes)
        self._max_bytes = max_bytes
        self._most = most
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._nbytes = 0
        self._under_way: dict[str, _Computation] = {}
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        with self._lock:
            return self._nbytes

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def get_or_compute(self, key: str, compute: Callable[[], Seen]) -> tuple[Seen, bool]:
        """Return what is kept under `key`, and True where this call did not have to compute it.

        Callers that ask for a key while another computes it wait for that result. Where the computation fails, its
        caller gets the exception and one of those waiting computes anew.
        """
        while True:
            with self._lock:
                known = self._kept.get(key)
                if known is not None:
                    self._kept.move_to_end(key)
                    return known, True
                other = self._under_way.get(key)
                if other is None:
                    mine = _Computation()
                    self._under_way[key] = mine
            if other is None:
                return self._lead(key, mine, compute), False
            other.done.wait()
            if other.seen is not None:
                return other.seen, True

    def _lead(self, key: str, mine: "_Computation", compute: Callable[[], Seen]) -> Seen:
        try:
            seen = compute()
            mine.seen = seen
            with self._lock:
                self._keep(key, seen)
            return seen
        finally:
            with self._lock:
                del self._under_way[key]
            mine.done.set()

    def _keep(self, key: str, seen: Weighed) -> None:
        if seen.nbytes > self._max_bytes:
            return
        self._kept[key] = seen
        self._nbytes += seen.nbytes
        while self._nbytes > self._max_bytes or len(self._kept) > self._most:
            _, dropped = self._kept.popitem(last=False)
            self._nbytes -= dropped.nbytes


class _Computation:
    """One computation under way: the result, once there is one, for those who wait for it."""

    def __init__(self) -> None:
        self.done = Event()
        self.seen: Any = None
