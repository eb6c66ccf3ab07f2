"""A visitor's stop holds for the run it was meant for, and for no other."""

import pytest

from webui.tabs.compare import runs
from webui.tabs.compare.runs import StopMarks


@pytest.fixture
def marks() -> StopMarks:
    return StopMarks()


def test_a_stop_is_for_the_run_under_way_and_not_for_the_next(marks: StopMarks) -> None:
    first = marks.begin()
    assert not marks.is_stopped(first)
    marks.stop()
    assert marks.is_stopped(first)
    marks.end()
    assert not marks.is_stopped(marks.begin())


def test_a_stop_before_its_turn_is_for_the_run_that_waits(marks: StopMarks) -> None:
    marks.stop()
    waiting = marks.begin()
    assert marks.is_stopped(waiting)
    marks.end()
    assert not marks.is_stopped(marks.begin())


def test_a_stop_for_a_run_that_never_begins_is_for_no_other(marks: StopMarks) -> None:
    marks.stop()
    marks.forget_next()
    assert not marks.is_stopped(marks.begin())


def test_a_stop_just_after_the_last_answer_stops_nothing_to_come(
    marks: StopMarks, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(runs, "monotonic", lambda: now[0])
    marks.begin()
    marks.end()
    now[0] += 1
    marks.stop()
    assert not marks.is_stopped(marks.begin())


def test_the_page_is_the_last_askeds_once_it_has_something_to_show(marks: StopMarks) -> None:
    first = marks.begin()
    assert marks.has_page(first)
    later = marks.begin()
    assert marks.has_page(first), "the later one may yet be refused"
    assert marks.has_page(later)
    marks.end()
    assert not marks.has_page(first)
    assert marks.has_page(later)


def test_visitors_are_bounded_and_do_not_stop_each_other(marks: StopMarks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "visitor", lambda: "one")
    first = marks.begin()
    monkeypatch.setattr(runs, "visitor", lambda: "other")
    marks.begin()
    marks.stop()
    monkeypatch.setattr(runs, "visitor", lambda: "one")
    assert not marks.is_stopped(first)
    for number in range(1500):
        monkeypatch.setattr(runs, "visitor", lambda number=number: str(number))
        marks.begin()
    assert len(marks._visitors) == 1000
