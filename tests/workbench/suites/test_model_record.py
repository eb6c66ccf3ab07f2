"""The record of downloads, which processes share."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest

from workbench.suites.model_record import ModelRecord, RecordedFile, RecordedModel

MODEL = RecordedModel("main", "a" * 40, {"config.json": RecordedFile("b" * 64, 2, 3)})
LONG_ENOUGH = 0.3
"""Seconds in which one who may read gets to it."""


def put_new(record: ModelRecord) -> None:
    record.put("new/model", MODEL)


def put_other(record: ModelRecord) -> None:
    record.put("other/model", MODEL)


def drop_old(record: ModelRecord) -> None:
    record.drop("old/model")


@pytest.mark.parametrize(
    ("change", "left"),
    [(put_other, {"old/model", "new/model", "other/model"}), (drop_old, {"new/model"})],
)
def test_two_that_change_the_record_at_once_lose_nothing(
    change: Callable[[ModelRecord], None], left: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads stand in for processes: each opens the files itself. Whoever has read waits for the other to read too."""
    path, read, both_have_read = tmp_path / "record.json", ModelRecord._read, Barrier(2)
    ModelRecord(path).put("old/model", MODEL)

    def read_together(record: ModelRecord) -> dict[str, Any]:
        values = read(record)
        with suppress(BrokenBarrierError):
            both_have_read.wait(LONG_ENOUGH)
        return values

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as threads:
        patch.setattr(ModelRecord, "_read", read_together)
        for done in [threads.submit(each, ModelRecord(path)) for each in (put_new, change)]:
            done.result()
    assert set(ModelRecord(path)._read()) == left
