"""How far the weights of each strategy are, for whoever waits: written by the thread that loads, read by the page."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Literal

LoadingKind = Literal["waiting", "fetching", "loading", "ready", "failed"]


@dataclass(frozen=True)
class LoadingState:
    """Where one strategy stands.

    Attributes:
        kind: "waiting" until it is first needed, "fetching" from the Hub, "loading" into memory, "ready" or "failed".
        model_id: what is being fetched.
        done, total: bytes that have arrived, and in all.
        reason: of a failure.
    """

    kind: LoadingKind = "waiting"
    model_id: str = ""
    done: int = 0
    total: int = 0
    reason: str = ""


class LoadStatus:
    """The states of several strategies by key. Safe to share between threads."""

    def __init__(self) -> None:
        self._states: dict[str, LoadingState] = {}
        self._lock = Lock()

    @property
    def states(self) -> Mapping[str, LoadingState]:
        """The states now, of the strategies that have been needed so far."""
        with self._lock:
            return dict(self._states)

    def put(self, key: str, state: LoadingState) -> None:
        """Note a state."""
        with self._lock:
            self._states[key] = state

    @contextmanager
    def outcome(self, key: str) -> Iterator[None]:
        """Note how what happens inside ends: ready, or failed with the error's words, which is raised on."""
        try:
            yield
        except BaseException as error:
            self.put(key, LoadingState("failed", reason=str(error) or type(error).__name__))
            raise
        self.put(key, LoadingState("ready"))
