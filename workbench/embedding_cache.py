"""A bounded, thread-safe cache of image embeddings, shared by every visitor and every strategy."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Event, Lock

from evfsam.errors import ConfigurationError
from evfsam.types import ImageEmbedding

DEFAULT_MAX_BYTES = 512 * 2**20
DEFAULT_MOST = 256
"""Those of small models take a tenth of a megabyte: by bytes alone, a server would grow for thousands of pictures."""


class EmbeddingCache:
    """Keeps the embeddings used last, within bounds; implements `evfsam.types.EmbeddingStore`.

    One cache serves one device and dtype: keys name the encoder and the image, not the place of the tensors.

    Args:
        max_bytes: bound on the tensors held. An embedding larger than it is handed out but not kept.
        most: bound on their number.

    Raises:
        ConfigurationError: `max_bytes` is negative.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES, most: int = DEFAULT_MOST) -> None:
        if max_bytes < 0:
            raise ConfigurationError("expected max_bytes of 0 or more, got {value}; 0 keeps nothing", value=max_bytes)
        self._max_bytes = max_bytes
        self._most = most
        self._embeddings: OrderedDict[str, ImageEmbedding] = OrderedDict()
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
            return len(self._embeddings)

    def get_or_compute(self, key: str, compute: Callable[[], ImageEmbedding]) -> tuple[ImageEmbedding, bool]:
        """Return the embedding under `key`, and True where this call did not have to compute it.

        Callers that ask for a key while another computes it wait for that result. Where the computation fails, its
        caller gets the exception and one of those waiting computes anew.
        """
        while True:
            with self._lock:
                known = self._embeddings.get(key)
                if known is not None:
                    self._embeddings.move_to_end(key)
                    return known, True
                other = self._under_way.get(key)
                if other is None:
                    mine = _Computation()
                    self._under_way[key] = mine
            if other is None:
                return self._lead(key, mine, compute), False
            other.done.wait()
            if other.embedding is not None:
                return other.embedding, True

    def _lead(self, key: str, mine: "_Computation", compute: Callable[[], ImageEmbedding]) -> ImageEmbedding:
        try:
            embedding = compute()
            mine.embedding = embedding
            with self._lock:
                self._keep(key, embedding)
            return embedding
        finally:
            with self._lock:
                del self._under_way[key]
            mine.done.set()

    def _keep(self, key: str, embedding: ImageEmbedding) -> None:
        if embedding.nbytes > self._max_bytes:
            return
        self._embeddings[key] = embedding
        self._nbytes += embedding.nbytes
        while self._nbytes > self._max_bytes or len(self._embeddings) > self._most:
            _, dropped = self._embeddings.popitem(last=False)
            self._nbytes -= dropped.nbytes


class _Computation:
    """One embedding under way: the result, once there is one, for those who wait for it."""

    def __init__(self) -> None:
        self.done = Event()
        self.embedding: ImageEmbedding | None = None
