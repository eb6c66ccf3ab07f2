from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from webui.tabs.batch.store import BatchDesk, BatchRequest, VisitorBatch


class StoppableRun(SimpleNamespace):
    is_stopped = False

    def stop(self) -> None:
        self.is_stopped = True


def batch(nbytes: int) -> VisitorBatch:
    place: TemporaryDirectory[str] = TemporaryDirectory()
    (Path(place.name) / "file").write_bytes(bytes(nbytes))
    return VisitorBatch(BatchRequest((), "", (), ""), StoppableRun(), place)  # type: ignore[arg-type]


def test_batches_make_room_for_newer_ones_and_their_files_go() -> None:
    desk = BatchDesk(max_bytes=100)
    first, second, third = batch(60), batch(30), batch(60)
    keys = [desk.put(first), desk.put(second)]
    assert desk.find(keys[0]) is first
    desk.put(third)
    assert desk.find(keys[1]) is None, "the one asked for least recently goes first"
    assert desk.find(keys[0]) is None
    assert not Path(first.place.name).exists()
    assert first.run.is_stopped
    assert Path(third.place.name).exists()


def test_the_newest_stays_even_where_it_is_too_large() -> None:
    desk = BatchDesk(max_bytes=1)
    key = desk.put(batch(60))
    assert desk.find(key) is not None


def test_a_dropped_batch_that_is_written_keeps_its_folder_until_that_ends() -> None:
    desk = BatchDesk()
    working = batch(1)
    key = desk.put(working)
    with working.at_work:
        desk.drop(key)
        assert Path(working.place.name).exists()
    assert desk.find(key) is None
    assert working.run.is_stopped
    working.place.cleanup()


def test_keys_differ_and_unknown_ones_find_nothing() -> None:
    desk = BatchDesk()
    assert desk.put(batch(1)) != desk.put(batch(1))
    assert desk.find("guess") is None
    desk.drop("guess")
