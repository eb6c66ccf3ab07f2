"""The bound on what strangers leave in the folder for files."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from webui.api.refusals import RequestError
from webui.file_quota import FileQuota, mark_used


def file(folder: Path, name: str, nbytes: int, age: float) -> Path:
    path = folder / name / "file"
    path.parent.mkdir()
    path.write_bytes(bytes(nbytes))
    used = time.time() - age
    os.utime(path, (used, used))
    os.utime(path.parent, (used, used))
    return path


async def write(quota: FileQuota, folder: Path, nbytes: int) -> None:
    async with quota.room_for(nbytes):
        file(folder, f"of {nbytes}", nbytes, 1)


def test_the_files_used_least_recently_make_room(tmp_path: Path) -> None:
    old, older, new = file(tmp_path, "a", 40, 100), file(tmp_path, "b", 40, 200), file(tmp_path, "c", 40, 1)
    asyncio.run(FileQuota(tmp_path, most=100).sweep())
    assert [path.exists() for path in (older, old, new)] == [False, True, True]


def test_a_file_in_use_stays_and_what_has_no_room_is_refused(tmp_path: Path) -> None:
    new = file(tmp_path, "a", 90, 1)
    quota = FileQuota(tmp_path, most=100)
    with pytest.raises(RequestError, match="full") as refusal:
        asyncio.run(write(quota, tmp_path, 20))
    assert refusal.value.status == 503
    assert new.exists()


def test_what_is_being_written_counts_before_it_lies_there(tmp_path: Path) -> None:
    quota = FileQuota(tmp_path, most=100)

    async def two_at_once() -> None:
        async with quota.room_for(60):
            await quota.sweep()
            await write(quota, tmp_path, 60)

    with pytest.raises(RequestError, match="full"):
        asyncio.run(two_at_once())
    asyncio.run(write(quota, tmp_path, 60))


def test_what_was_written_counts_before_the_next_sweep(tmp_path: Path) -> None:
    quota = FileQuota(tmp_path, most=100)

    async def two_in_turn() -> None:
        await write(quota, tmp_path, 60)
        await write(quota, tmp_path, 60)

    with pytest.raises(RequestError, match="full"):
        asyncio.run(two_in_turn())


def test_within_the_bound_nothing_goes(tmp_path: Path) -> None:
    path = file(tmp_path, "a", 70, 1000)
    asyncio.run(FileQuota(tmp_path, most=100).sweep())
    assert path.exists()


def test_a_folder_goes_when_it_has_been_empty_for_a_while(tmp_path: Path) -> None:
    path = file(tmp_path, "a", 70, 1000)
    file(tmp_path, "b", 70, 1)
    asyncio.run(FileQuota(tmp_path, most=50).sweep())
    assert list(path.parent.iterdir()) == []
    os.utime(path.parent, (0, 0))
    asyncio.run(FileQuota(tmp_path, most=50).sweep())
    assert not path.parent.exists()


def test_only_gradios_files_are_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    inside, outside = file(tmp_path / "uploads", "a", 1, 500), file(tmp_path, "b", 1, 500)
    for path in (inside, outside):
        mark_used(path)
    assert time.time() - inside.stat().st_mtime < 100
    assert time.time() - outside.stat().st_mtime > 400


def test_a_slow_sweep_does_not_bring_back_what_lay_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota, waits = FileQuota(tmp_path, most=100), [0.3, 0.0, 0.0]
    scan = quota._swept

    def slow(most: int) -> int:
        seconds, held = waits.pop(0), scan(most)
        time.sleep(seconds)
        return held

    async def two_sweeps_and_an_upload() -> None:
        first = asyncio.create_task(quota.sweep())
        await asyncio.sleep(0.1)
        file(tmp_path, "a", 60, 1)
        await quota.sweep()
        await first
        await write(quota, tmp_path, 50)

    monkeypatch.setattr(quota, "_swept", slow)
    with pytest.raises(RequestError, match="full"):
        asyncio.run(two_sweeps_and_an_upload())


def test_as_much_goes_as_there_must_be_room_for(tmp_path: Path) -> None:
    old, new = file(tmp_path, "a", 35, 100), file(tmp_path, "b", 35, 90)
    asyncio.run(write(FileQuota(tmp_path, most=100), tmp_path, 60))
    assert [path.exists() for path in (old, new)] == [False, True]


def test_what_is_announced_moves_nothing_before_it_comes(tmp_path: Path) -> None:
    old = file(tmp_path, "a", 70, 100)
    quota = FileQuota(tmp_path, most=100)

    async def many_that_send_nothing() -> None:
        async with quota.room() as one, quota.room() as other:
            await one.take(10)
            await other.take(10)
            await quota.sweep()

    asyncio.run(many_that_send_nothing())
    assert old.exists()
