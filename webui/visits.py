"""What Gradio keeps of each visit: small, and not given up for strangers while the visitor's page is open."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from datetime import datetime
from typing import Any, Final

import gradio as gr
from gradio.context import LocalContext
from gradio.state_holder import SessionState, StateHolder

MOST_VISITS: Final = 300
"""Gradio's bound; it has no regard for who is still there."""
_MOST_REMEMBERED: Final = 10_000


class Visit(SessionState):  # type: ignore[misc,unused-ignore]
    """The state of one visit without a copy of the page's configuration.

    That copy takes half a megabyte and some forty milliseconds for every call of a program, grows with every picture
    shown, and serves links to a page's whole state, which this page does not make.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.config_values: dict[int, Any] = _Forgetful()
        self.state_data: dict[int, Any] = {}
        self._state_ttl: dict[int, Any] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600

    def _update_config(self, key: int) -> None:
        """Keep nothing."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Keep nothing."""


class _Forgetful(dict[int, Any]):
    def __setitem__(self, key: int, value: Any) -> None:
        """Keep nothing."""


class Visits(StateHolder):  # type: ignore[misc,unused-ignore]
    """The visits by session, bounded in number: those without an open page are given up first."""

    def __init__(self) -> None:
        super().__init__()
        self._pages: Counter[str] = Counter()
        self._given_up: OrderedDict[str, None] = OrderedDict()

    def __getitem__(self, session_id: str) -> SessionState:
        with self.lock:
            if session_id not in self.session_data:
                self.session_data[session_id] = Visit(self.blocks)
        self.update(session_id)
        self.time_last_used[session_id] = datetime.now()
        return self.session_data[session_id]

    def update(self, session_id: str) -> None:
        """Count a visit as the one used last, and give up others where there are too many."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            while len(self.session_data) > self.capacity:
                closed = (key for key in self.session_data if key not in self._pages and key != session_id)
                self._give_up(next(closed, next(iter(self.session_data))))

    @contextmanager
    def page_open(self, session_id: str) -> Iterator[None]:
        """Count a visitor's page as open."""
        self._pages[session_id] += 1
        if session_id in self.session_data:
            self.session_data[session_id].is_closed = False
        try:
            yield
        finally:
            self._pages[session_id] -= 1
            if self._pages[session_id] <= 0:
                del self._pages[session_id]

    def was_given_up(self, session_id: str) -> bool:
        """Whether a visit made room for others, and has not begun anew."""
        return session_id in self._given_up

    def begin_anew(self, session_id: str) -> None:
        """Count a visit as one that has lost nothing."""
        self._given_up.pop(session_id, None)

    def _give_up(self, session_id: str) -> None:
        del self.session_data[session_id]
        self.time_last_used.pop(session_id, None)
        self._given_up[session_id] = None
        if len(self._given_up) > _MOST_REMEMBERED:
            self._given_up.popitem(last=False)


def is_visit_lost() -> bool:
    """Whether what was kept of the visit at work made room for others."""
    visits, session = _visit_at_work()
    return visits is not None and visits.was_given_up(session)


def begin_visit_anew() -> None:
    """Count the visit at work as one that has lost nothing: it has a run again."""
    visits, session = _visit_at_work()
    if visits is not None:
        visits.begin_anew(session)


def _visit_at_work() -> tuple[Visits | None, str]:
    blocks, request = LocalContext.blocks.get(None), LocalContext.request.get(None)
    visits = None if blocks is None else getattr(blocks, "state_holder", None)
    return visits if isinstance(visits, Visits) else None, str(getattr(request, "session_hash", ""))
