"""Folders that are there whole or not at all, however a run ends while it writes them; files: `file_writing`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Lend an empty folder beside `folder`, which takes its place once all is written.

    What stood there goes as a whole; a reader finds the one or the other, but for an instant. After an error the
    earlier one stays.
    """
    new, old = (folder.with_name(f"{folder.name}.{os.getpid()}.{age}") for age in ("new", "old"))
    for each in (new, old):
        shutil.rmtree(each, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        if folder.is_dir():
            folder.replace(old)
        new.replace(folder)
    finally:
        if old.is_dir() and not folder.exists():
            old.replace(folder)
        for each in (new, old):
            shutil.rmtree(each, ignore_errors=True)
