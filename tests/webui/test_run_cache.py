from pathlib import Path

import pytest
from PIL import Image

from tests.webui.fakes import fake_comparison, three_colours
from webui.run_cache import FinishedRun, RunGoneError, RunShelf
from webui.tabs.compare.runs import run


@pytest.fixture
def finished(tmp_path: Path) -> FinishedRun:
    path = tmp_path / "picture.png"
    Image.fromarray(three_colours()).save(path)
    *_, last = run(fake_comparison()[0], {"path": str(path)}, "a square", ["evf-sam", "clip-text"])
    return FinishedRun(last, {}, None)


def test_a_run_is_found_under_its_key_and_keys_differ(finished: FinishedRun) -> None:
    shelf = RunShelf()
    first, second = shelf.put(finished), shelf.put(finished)
    assert first != second
    assert shelf.get(first) is finished


def test_the_run_not_looked_at_for_longest_makes_room(finished: FinishedRun) -> None:
    shelf = RunShelf(max_bytes=2 * finished.nbytes)
    first, second = shelf.put(finished), shelf.put(finished)
    shelf.get(first)
    shelf.put(finished)
    assert len(shelf) == 2
    assert shelf.get(first) is finished
    with pytest.raises(RunGoneError, match="Press Compare to run it again"):
        shelf.get(second)


def test_the_newest_run_stays_however_large(finished: FinishedRun) -> None:
    shelf = RunShelf(max_bytes=1)
    key = shelf.put(finished)
    assert shelf.get(key) is finished
    assert finished.nbytes > 2 * three_colours().nbytes
