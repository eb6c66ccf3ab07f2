"""The bound on what lies in the folder for uploads and results, which strangers fill."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Final

from gradio.utils import get_upload_folder

from webui.api.refusals import RequestError

QUOTA_BYTES: Final = 1_000_000_000
SPARED_SECONDS: Final = 60.0
"""A file that was written or used within this time is not deleted for others."""
_LOW_WATER: Final = 0.8
_SWEEP_SECONDS: Final = 10.0
_FULL: Final = "the server's folder for files is full; try again in a while"


@dataclass(frozen=True)
class _File:
    used: float
    nbytes: int
    path: str


class FileQuota:
    """Keeps a folder within a bound: the files used least recently go first.

    Used in one event loop; the folder itself is read in a thread.

    Args:
        folder: whose files are Gradio's.
        most: bytes of all files together.
        spared_seconds: see `SPARED_SECONDS`.
    """

    def __init__(self, folder: Path, most: int = QUOTA_BYTES, spared_seconds: float = SPARED_SECONDS) -> None:
        self._folder, self._most, self._spared = folder, most, spared_seconds
        self._lying: int | None = None
        self._written = self._coming = 0
        self._sweeping = asyncio.Lock()

    @asynccontextmanager
    async def room(self) -> AsyncIterator["Room"]:
        """Count bytes as they come, for as long as this lasts, and until the next sweep finds them in the folder."""
        room = Room(self)
        try:
            yield room
        finally:
            self._coming -= room.nbytes
            self._written += room.nbytes

    @asynccontextmanager
    async def room_for(self, nbytes: int) -> AsyncIterator[None]:
        """Count bytes that are written while this lasts, from before they lie in the folder.

        Raises:
            RequestError: there is no room for them, also after what nobody uses was deleted.
        """
        async with self.room() as room:
            await room.take(nbytes)
            yield

    async def _take(self, nbytes: int) -> None:
        if self._lying is None or self._held() + nbytes > self._most:
            await self.sweep(nbytes)
            if self._held() + nbytes > self._most:
                raise RequestError(503, _FULL)
        self._coming += nbytes

    def _held(self) -> int:
        return (self._lying or 0) + self._written + self._coming

    async def keep(self) -> None:
        """Look after the folder until cancelled: answers are written there too."""
        while True:
            await self.sweep()
            await asyncio.sleep(_SWEEP_SECONDS)

    async def sweep(self, wanted: int = 0) -> None:
        """Delete what was used least recently where there is too much.

        Args:
            wanted: bytes that room is needed for, beside those that are being written.
        """
        async with self._sweeping:  # of two at once, the later to end could bring back what the folder held before
            self._written = 0
            self._lying = await asyncio.to_thread(self._swept, self._most - self._coming - wanted)

    def _swept(self, most: int) -> int:
        bound = min(most, int(self._most * _LOW_WATER))
        files = sorted(_files(self._folder), key=lambda file: file.used)
        total = sum(file.nbytes for file in files)
        if total <= bound:
            return total
        latest = time() - self._spared
        for file in files:
            if total <= bound or file.used > latest:
                break
            with suppress(OSError):
                Path(file.path).unlink()
                total -= file.nbytes
        for folder in _empty_folders(self._folder, latest):
            with suppress(OSError):
                folder.rmdir()
        return total


class Room:
    """What one request takes of a `FileQuota`; made by its `room`.

    Attributes:
        nbytes: taken so far.
    """

    def __init__(self, quota: FileQuota) -> None:
        self._quota = quota
        self.nbytes = 0

    async def take(self, nbytes: int) -> None:
        """Take room for further bytes. What is only announced takes none: others' files would go for it.

        Raises:
            RequestError: there is no room for them, also after what nobody uses was deleted.
        """
        await self._quota._take(nbytes)
        self.nbytes += nbytes


def mark_used(path: str | Path) -> None:
    """Count a file as used just now, if it is one of Gradio's folder."""
    if Path(path).is_relative_to(get_upload_folder()):
        with suppress(OSError):
            os.utime(path)


def _empty_folders(folder: Path, latest: float) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if not folders and not names and Path(place) != folder:
            with suppress(OSError):
                if Path(place).stat().st_mtime < latest:
                    yield Path(place)


def _files(folder: Path) -> Iterator[_File]:
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                path = os.path.join(place, name)  # noqa: PTH118
                found = os.lstat(path)
                yield _File(found.st_mtime, found.st_size, path)
