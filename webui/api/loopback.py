"""Ask an endpoint of this server from within, so that every door to it shares the page's one queue for models."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gradio_client import Client
from gradio_client.client import Job
from gradio_client.exceptions import AppError
from gradio_client.utils import Status

from webui.api.functions import TOOL_NAMES
from webui.api.images import IMAGE_WORDS, file_paths

Progress = Callable[[float, str], Awaitable[None]]
"""Takes the seconds since the question and a few words on where it stands."""
_NOT_PASSED_ON: Final = {"content-length", "content-type", "host", "accept", "accept-encoding", "connection"}
_TELL_EVERY: Final = 2.0


@dataclass(frozen=True)
class Answered:
    """What an endpoint of `webui.api.functions` answered.

    Attributes:
        content: its JSON object; where there is a picture, `picture_url` is among it.
        picture: PNG bytes, if it answers with a picture.
    """

    content: dict[str, Any]
    picture: bytes | None = None

    @property
    def picture_base64(self) -> str | None:
        """The picture as text."""
        return None if self.picture is None else b64encode(self.picture).decode("ascii")


class Loopback:
    """A client of the server it runs in; connects when it is first asked.

    Args:
        address: gives the server's own address.
    """

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address
        self._client: Client | None = None

    async def ask(
        self,
        name: str,
        arguments: Mapping[str, object],
        headers: Mapping[str, str],
        tell: Progress | None = None,
    ) -> Answered:
        """Ask one of `TOOL_NAMES` and wait for its answer.

        Args:
            name: of the endpoint.
            arguments: by name; those left out take their defaults.
            headers: of the request that asks; on a lent GPU they say whose quota pays.
            tell: is told where a longer question stands.

        Raises:
            AppError: the endpoint refused, in one sentence.
            TypeError: an argument is unknown or missing.
        """
        if name not in TOOL_NAMES:
            raise TypeError(f"unknown endpoint {name!r}: expected one of {', '.join(TOOL_NAMES)}")
        if any(file_paths(list(arguments.values()))):
            # The client would take them for files of its own machine, which is the server, and upload them.
            raise AppError(f"expected the image as text, got a file's description; send {IMAGE_WORDS}")
        client = await asyncio.to_thread(self._connected)
        passed = {key: value for key, value in headers.items() if key.lower() not in _NOT_PASSED_ON}
        job = client.submit(**arguments, api_name=f"/{name}", headers=passed)
        try:
            result = await _ended(job, tell)
        except asyncio.CancelledError:
            job.cancel()
            raise
        if not isinstance(result, tuple):
            return Answered(result)
        file, content = result
        picture = await asyncio.to_thread(Path(file["path"]).read_bytes)
        return Answered({**content, "picture_url": file["url"]}, picture)

    def _connected(self) -> Client:
        if self._client is None:
            self._client = Client(self._address(), download_files=False, verbose=False, analytics_enabled=False)
        return self._client


async def _ended(job: Job, tell: Progress | None) -> Any:
    waiting = asyncio.ensure_future(asyncio.to_thread(job.result))
    seconds = 0.0
    while True:
        done, _ = await asyncio.wait({waiting}, timeout=_TELL_EVERY)
        if done:
            return waiting.result()
        seconds += _TELL_EVERY
        if tell is not None:
            status = job.status()
            is_queued = status.code is Status.IN_QUEUE and status.rank is not None
            await tell(seconds, f"place {status.rank + 1} in the queue" if is_queued else "working")  # type: ignore[operator]
