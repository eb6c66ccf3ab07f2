from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from webui.bounded_store import NoRoomError
from webui.tabs.batch.store import BatchRequest, BatchStore, VisitorBatch


class StoppableRun(SimpleNamespace):
    is_stopped = False

    def stop(self) -> None:
        self.is_stopped = True


def batch(nbytes: int) -> VisitorBatch:
    place: TemporaryDirectory[str] = TemporaryDirectory()
    (Path(place.name) / "file").write_bytes(bytes(nbytes))
    return VisitorBatch(BatchRequest((), "", (), ""), StoppableRun(), place)  # type: ignore[arg-type]


def test_batches_make_room_for_newer_ones_and_their_files_go() -> None:
    store = BatchStore(max_bytes=100)
    first, second, third = batch(60), batch(30), batch(60)
    keys = [store.put(first), store.put(second)]
    assert store.find(keys[0]) is first
    store.put(third)
    assert store.find(keys[1]) is None, "the one asked for least recently goes first"
    assert store.find(keys[0]) is None
    assert not Path(first.place.name).exists()
    assert first.run.is_stopped
    assert Path(third.place.name).exists()


def test_a_batch_without_room_is_refused_and_its_files_go() -> None:
    large = batch(60)
    with pytest.raises(NoRoomError, match="could not be kept"):
        BatchStore(max_bytes=1).put(large)
    assert not Path(large.place.name).exists()


def test_a_batch_at_work_does_not_go_for_others() -> None:
    store = BatchStore(max_bytes=100)
    working = batch(60)
    key = store.put(working, owner="a")
    with working.at_work, pytest.raises(NoRoomError):
        store.put(batch(60), owner="b")
    assert store.find(key) is working


def test_a_dropped_batch_that_is_written_keeps_its_folder_until_that_ends() -> None:
    store = BatchStore()
    working = batch(1)
    key = store.put(working)
    with working.at_work:
        store.drop(key)
        assert Path(working.place.name).exists()
    assert store.find(key) is None
    assert working.run.is_stopped
    working.place.cleanup()


def test_keys_differ_and_unknown_ones_find_nothing() -> None:
    store = BatchStore()
    assert store.put(batch(1)) != store.put(batch(1))
    assert store.find("guess") is None
    store.drop("guess")
