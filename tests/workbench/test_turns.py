"""Turns at the models: one at a time, and nobody twice before those who wait."""

import time
from collections.abc import Iterator
from threading import Lock, Thread

import pytest

from workbench.turns import Turns


def test_long_work_lets_those_who_wait_in_between() -> None:
    turns, told = Turns(), list[str]()

    def frames() -> Iterator[int]:
        for number in range(6):
            time.sleep(0.05)
            told.append(f"frame {number}")
            yield number

    def ask(name: str) -> None:
        with turns.taken():
            told.append(name)

    clip = Thread(target=lambda: list(turns.each(frames())))
    clip.start()
    time.sleep(0.02)
    others = [Thread(target=ask, args=(f"other {number}",)) for number in range(2)]
    for other in others:
        other.start()
        time.sleep(0.005)
    for thread in (clip, *others):
        thread.join(10)
    assert told[:3] == ["frame 0", "other 0", "other 1"]
    assert told[3:] == [f"frame {number}" for number in range(1, 6)]


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_more_than_may_are_at_the_models_at_once_and_an_error_gives_the_turn_up(at_once: int) -> None:
    turns, counting, at_work, most = Turns(at_once), Lock(), [0], [0]

    def work() -> None:
        for number in range(20):
            try:
                with turns.taken():
                    with counting:
                        at_work[0] += 1
                        most[0] = max(most[0], at_work[0])
                    time.sleep(0.001)
                    with counting:
                        at_work[0] -= 1
                    if number % 3 == 0:
                        raise ValueError
            except ValueError:
                continue

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [at_once]
    with turns.taken():
        pass
