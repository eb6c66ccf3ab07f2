"""A request that is not answered, and why."""

import errno
from typing import Final

DISK_FULL: Final = "The server's disk is full; try again later."


class RequestError(Exception):
    """A request that cannot be put to an endpoint.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def is_disk_full(error: BaseException) -> bool:
    """Whether something could not be written because there is no room on the disk."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def shown(value: object) -> str:
    """Return what was sent as an error tells it, at most 60 characters of it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
