"""One training at a time of what has one state."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evfsam.errors import ConfigurationError


@contextmanager
def alone(work: Path, name: str) -> Iterator[None]:
    """Be the only process that trains something in a work folder; the lock ends with the process, however that ends.

    Args:
        work: the folder.
        name: what is trained.

    Raises:
        ConfigurationError: another process trains it.
    """
    path = work / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            file.seek(0)
            raise ConfigurationError(
                "expected to train {name} alone in {work}, but process {process} does; "
                "wait for it to end, end it, or choose another --work folder",
                name=name,
                work=work,
                process=file.read() or "?",
            ) from err
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
