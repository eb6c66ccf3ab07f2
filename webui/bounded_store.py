"""What is kept for visitors between two requests, by a key that nobody can guess: bounded in bytes, shared out fairly.

What one visitor is at does not go because strangers come: it stays for as long as its owner looks at it. Whoever comes
when all room is in use is told so.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Final, Generic, NoReturn, TypeVar

from gradio.context import LocalContext

from evfsam.errors import EvfSamError, Sentence

Value = TypeVar("Value")

IN_USE_SECONDS: Final = 600.0
"""A value that its owner has looked at within this time is not given up for others."""
SHARE: Final = 4
"""A visitor who holds more than this part of all room makes room for what is new with what is older."""
_MOST_REMEMBERED: Final = 10_000


class GoneError(EvfSamError):
    """What stood under a key is not kept any more."""


class NoRoomError(EvfSamError):
    """There is no room for something.

    Attributes:
        key: under which the store says why.
    """

    def __init__(self, words: Sentence, key: str) -> None:
        super().__init__(words)
        self.key = key


def has_left(owner: str) -> bool:
    """Whether a visitor's page is closed, as far as the server that answers the request under way can tell."""
    blocks = LocalContext.blocks.get(None)
    session = None if blocks is None else blocks.state_holder.session_data.get(owner)
    return session is not None and session.is_closed


def visitor() -> str:
    """Return what tells the visitor of the request under way from others; empty where there is none."""
    request = LocalContext.request.get(None)
    return str(getattr(request, "session_hash", "") or "")


@dataclass(eq=False)
class _Kept(Generic[Value]):
    value: Value
    owner: str
    nbytes: int
    used: float


class BoundedStore(Generic[Value]):
    """Values by key; safe to share between threads.

    Args:
        max_bytes: bound on all together.
        nbytes: measures one.
        what: names one in a sentence, such as "run".
        again: what to do where one is gone, a sentence.
        is_busy: whether one is being worked on, and must stay.
        put_away: called with each that is given up.
        has_left: whether an owner's page is closed.
        clock: seconds.
    """

    def __init__(
        self,
        max_bytes: int,
        nbytes: Callable[[Value], int],
        what: str,
        again: str,
        *,
        is_busy: Callable[[Value], bool] = lambda _: False,
        put_away: Callable[[Value], None] = lambda _: None,
        has_left: Callable[[str], bool] = has_left,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.max_bytes, self._nbytes, self._what, self._again = max_bytes, nbytes, what, again
        self._is_busy, self._put_away, self._has_left, self._clock = is_busy, put_away, has_left, clock
        self._kept: OrderedDict[str, _Kept[Value]] = OrderedDict()
        self._gone: OrderedDict[str, Sentence] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def put(self, value: Value, key: str = "", owner: str | None = None) -> str:
        """Keep a value; returns its key.

        Args:
            value: what to keep.
            key: by default one that nobody can guess; see `keep_for_all` for others.
            owner: whose it is; by default the visitor's whose request is under way.

        Raises:
            NoRoomError: it is larger than all room, or what others are at takes that.
        """
        key = key or secrets.token_urlsafe(16)
        new = _Kept(value, visitor() if owner is None else owner, 0, self._clock())
        with self._lock:
            self._kept[key] = new
            self._kept.move_to_end(key)
            away = self._make_room(key)
            is_in = key in self._kept
        for each in away:
            self._put_away(each)
        if not is_in:
            self.refuse(
                Sentence(
                    "This {what} could not be kept: all room on the server is in use by others. "
                    "Try again in a few minutes.",
                    what=Sentence(self._what),
                )
            )
        return key

    def keep_for_all(self, value: Value, key: str) -> str:
        """Keep what all may see under a key, once: it is nobody's, and no visitor's share holds it; returns the key.

        Raises:
            NoRoomError: as of `put`.
        """
        try:
            self.get(key)
        except GoneError:
            self.put(value, key, owner="")
        return key

    def refuse(self, words: Sentence) -> NoReturn:
        """Say that something is not kept, now and to whoever asks for it by the key.

        Raises:
            NoRoomError: always.
        """
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._remember(key, words)
        raise NoRoomError(words, key)

    def get(self, key: str) -> Value:
        """Return the value under a key.

        Raises:
            GoneError: it made room for others, or never was.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                raise GoneError(self._gone.get(key, self._words("the server does not know it, or was started anew")))
            kept.used = self._clock()
            self._kept.move_to_end(key)
            return kept.value

    def drop(self, key: str) -> None:
        """Give up the value under a key, if it is there: its owner has done with it."""
        with self._lock:
            kept = self._kept.pop(key, None)
        if kept is not None:
            self._put_away(kept.value)

    def _make_room(self, newest: str) -> list[Value]:
        """Give up what goes first until everything fits, the newest itself if need be; returns what was given up."""
        for kept in self._kept.values():
            kept.nbytes = self._nbytes(kept.value)  # a batch grows
        owner = self._kept[newest].owner
        away: list[Value] = []
        while self._held() > self.max_bytes:
            key, why = self._first_to_go(newest, owner)
            away.append(self._give_up(key, why))
        return away

    def _first_to_go(self, newest: str, owner: str) -> tuple[str, str]:
        """Choose what makes room for the newest, and say why: its owner's own where that holds more than a share."""
        free = [key for key, kept in self._kept.items() if key != newest and not self._is_busy(kept.value)]
        own = [key for key in free if self._kept[key].owner == owner]
        idle = [key for key in free if self._is_idle(self._kept[key])]
        if own and self._held(owner) > self.max_bytes // SHARE:
            return own[0], "others that you began since took its room"
        if idle:
            return idle[0], "nobody looked at it for a while, and others needed the room"
        if own:
            return own[0], "others that you began since took its room"
        return newest, "all room was in use by others"

    def _held(self, owner: str | None = None) -> int:
        return sum(kept.nbytes for kept in self._kept.values() if owner is None or kept.owner == owner)

    def _is_idle(self, kept: _Kept[Value]) -> bool:
        return self._clock() - kept.used > IN_USE_SECONDS or self._has_left(kept.owner)

    def _give_up(self, key: str, why: str) -> Value:
        self._remember(key, self._words(why))
        return self._kept.pop(key).value

    def _remember(self, key: str, words: Sentence) -> None:
        self._gone[key] = words
        while len(self._gone) > _MOST_REMEMBERED:
            self._gone.popitem(last=False)

    def _words(self, why: str) -> Sentence:
        what, again = Sentence(self._what), Sentence(self._again)
        return Sentence("This {what} is no longer kept: {why}. {again}", what=what, why=Sentence(why), again=again)
