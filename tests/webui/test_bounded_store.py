"""What is kept for visitors: nobody's goes because strangers come, and what is gone is said."""

import pytest

from webui.bounded_store import IN_USE_SECONDS, BoundedStore, GoneError, NoRoomError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def kept(clock: Clock, left: set[str] | None = None, away: list[bytes] | None = None) -> BoundedStore[bytes]:
    return BoundedStore(
        100,
        len,
        "run",
        "Ask again.",
        is_busy=lambda value: value.startswith(b"busy"),
        put_away=(away if away is not None else []).append,
        has_left=lambda owner: owner in (left or set()),
        clock=clock,
    )


def test_what_a_visitor_is_at_stays_however_many_strangers_come() -> None:
    values = kept(Clock())
    mine = values.put(bytes(30), owner="me")
    for number in range(2):
        values.put(bytes(30), owner=f"stranger {number}")
    for number in range(100):
        with pytest.raises(NoRoomError, match="all room on the server is in use by others"):
            values.put(bytes(30), owner=f"late stranger {number}")
    assert values.get(mine) == bytes(30)
    assert len(values) == 3


def test_what_nobody_looks_at_makes_room_and_that_is_said() -> None:
    clock, away = Clock(), list[bytes]()
    values = kept(clock, away=away)
    first, second = values.put(b"a" * 50, owner="a"), values.put(b"b" * 50, owner="b")
    clock.now = IN_USE_SECONDS
    values.get(first)
    clock.now += 1
    values.put(b"c" * 50, owner="c")
    assert values.get(first)
    with pytest.raises(GoneError, match=r"This run .* nobody looked at it for a while.*Ask again\."):
        values.get(second)
    assert away == [b"b" * 50]


def test_a_visitor_with_much_makes_room_alone() -> None:
    values = kept(Clock())
    other = values.put(bytes(40), owner="other")
    first = values.put(bytes(40), owner="me")
    values.put(bytes(40), owner="me")
    with pytest.raises(GoneError, match="others that you began since"):
        values.get(first)
    assert values.get(other)


def test_what_belongs_to_a_closed_page_goes_first_and_what_is_at_work_does_not() -> None:
    left = {"gone", "busy"}
    values = kept(Clock(), left)
    working, closed = values.put(b"busy" + bytes(46), owner="busy"), values.put(bytes(40), owner="gone")
    values.put(bytes(50), owner="new")
    assert values.get(working)
    with pytest.raises(GoneError):
        values.get(closed)


def test_what_was_never_there_or_was_dropped_is_said_too() -> None:
    values = kept(Clock())
    key = values.put(b"a", owner="me")
    values.drop(key)
    for unknown in (key, "guess"):
        with pytest.raises(GoneError, match="does not know it, or was started anew"):
            values.get(unknown)


def test_what_grew_is_measured_anew() -> None:
    growing = bytearray(10)
    values: BoundedStore[bytearray] = BoundedStore(100, len, "batch", "Ask again.", clock=Clock())
    values.put(growing, owner="me")
    growing.extend(bytes(80))
    with pytest.raises(NoRoomError):
        values.put(bytearray(20), owner="you")


def test_what_all_may_see_is_kept_once_and_in_nobodys_share() -> None:
    given: list[bytes] = []
    values = kept(Clock(), away=given)
    first = bytes(20)
    assert {values.keep_for_all(first, "first") for _ in range(3)} == {"first"}
    mine = values.put(bytes(20), owner="me")
    values.put(bytes(60), owner="you")
    assert (values.get("first"), values.get(mine), len(values), given) == (first, bytes(20), 3, [])
    values.drop("first")
    assert values.get(values.keep_for_all(first, "first")) is first
