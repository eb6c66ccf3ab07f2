"""Ask an endpoint of this server from within, so that every door to it shares the page's one queue for models.

A question is put into Gradio's own queue, in the server's own event loop: it takes no connection to this server, and
no thread that waits. Endpoints that run no model are asked at once.
"""

import asyncio
import logging
import secrets
from asyncio import Queue as Messages
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gradio as gr
from gradio import route_utils
from gradio.block_function import BlockFunction
from gradio.data_classes import PredictBodyInternal
from gradio.server_messages import EstimationMessage, ProcessCompletedMessage
from starlette.requests import Request

from webui.api.endpoints import OUR_FAULT
from webui.api.images import GivenImages
from webui.api.refusals import DISK_FULL, RequestError
from webui.api.schemas import EndpointSchemas

logger = logging.getLogger(__name__)

OnProgress = Callable[[float, str], Awaitable[None]]
"""Takes the seconds since the question and a few words on where it stands."""
MOST_WAITING: Final = 32
"""Questions in one queue; more are told to come again."""
_MOST_AT_ONCE: Final = 4
"""Questions that run no model and are answered side by side."""
_LOOK_EVERY: Final = 0.5
"""Seconds; shorter than the moment that a server which is told to end leaves to answers under way."""
_LOOKS_A_WORD: Final = 4
_STOPPED: Final = "this server is being stopped; try again in a while"
_GONE: Final = 499
_JOIN: Final = "/gradio_api/queue/join"


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


class Door:
    """Asks the endpoints for programs of the page that it belongs to; to be used in the server's event loop alone.

    Args:
        app: Gradio's application.
        endpoints: those for programs, by name.
        images: makes files of what is sent.
    """

    def __init__(self, app: Any, endpoints: Mapping[str, EndpointSchemas], images: GivenImages) -> None:
        self._app = app
        self._endpoints = endpoints
        self._images = images
        self._functions = {str(fn.api_name): fn for fn in app.get_blocks().fns.values() if fn.api_name in endpoints}
        self._at_once = asyncio.Semaphore(_MOST_AT_ONCE)
        self._waiting_at_once = 0

    async def ask(
        self,
        name: str,
        arguments: dict[str, object],
        request: Request,
        *,
        tell: OnProgress | None = None,
        is_gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> Answered:
        """Ask an endpoint and wait for its answer.

        Args:
            name: of the endpoint.
            arguments: by name; those left out take their defaults. The image among them is replaced by a file's path.
            request: that asks; on a lent GPU its headers say whose quota pays.
            tell: is told where a longer question stands.
            is_gone: says whether nobody waits for the answer any more; then the question leaves the queue.

        Raises:
            RequestError: the endpoint refused, in one sentence, or there is no room.
        """
        if name not in self._endpoints:
            raise RequestError(404, f"unknown endpoint {name!r}: expected one of {', '.join(self._endpoints)}")
        endpoint, function = self._endpoints[name], self._functions[name]
        endpoint.check_names(arguments)
        if function.queue:
            check_room(self._app.get_blocks(), function)
        try:
            await self._images.put_down(arguments)
            output = await self._asked(function, endpoint.values_of(arguments), request, tell, is_gone)
        finally:
            self._images.take_away(arguments)
        return await asyncio.to_thread(_answered, output)

    async def _asked(
        self,
        function: BlockFunction,
        data: list[object],
        request: Request,
        tell: OnProgress | None,
        is_gone: Callable[[], Awaitable[bool]] | None,
    ) -> list[Any]:
        body = PredictBodyInternal(
            data=data,
            fn_index=function._id,
            session_hash=f"program-{secrets.token_urlsafe(16)}",
            request=_without_body(request),
        )
        try:
            if function.queue:
                return await self._queued(function, body, tell, is_gone)
            return await self._unqueued(function, body)
        finally:
            self._forget(str(body.session_hash))

    async def _queued(
        self,
        function: BlockFunction,
        body: PredictBodyInternal,
        tell: OnProgress | None,
        is_gone: Callable[[], Awaitable[bool]] | None,
    ) -> list[Any]:
        queue = self._app.get_blocks()._queue
        check_room(self._app.get_blocks(), function)
        if queue.server_app is None:
            queue.set_server_app(self._app)
        try:
            is_in, event_id, state = await queue.push(body=body, request=body.request, username=None)
            if not is_in:
                raise RequestError(503 if state == "queue_full" else 422, str(event_id))
            return await _outputs(queue, str(body.session_hash), tell, is_gone)
        finally:
            await queue.clean_events(session_hash=body.session_hash)

    async def _unqueued(self, function: BlockFunction, body: PredictBodyInternal) -> list[Any]:
        if self._waiting_at_once >= MOST_WAITING:
            raise RequestError(503, f"{self._waiting_at_once} questions wait here; try again in a while")
        request = body.request
        assert request is not None
        self._waiting_at_once += 1
        try:
            async with self._at_once:
                output = await route_utils.call_process_api(
                    app=self._app,
                    body=body,
                    gr_request=route_utils.compile_gr_request(body, fn=function, username=None, request=None),
                    fn=function,
                    root_path=route_utils.get_root_url(request, _JOIN, self._app.root_path),
                )
        except gr.Error as error:
            raise _refused(str(error.message)) from error
        finally:
            self._waiting_at_once -= 1
        return list(output["data"])

    def _forget(self, session: str) -> None:
        """Keep nothing of a question: Gradio holds what went in and out of a session for an hour."""
        queue, sessions = self._app.get_blocks()._queue, self._app.state_holder
        queue.pending_messages_per_session.pop(session, None)
        queue.pending_event_ids_session.pop(session, None)
        sessions.session_data.pop(session, None)
        sessions.time_last_used.pop(session, None)


def check_room(blocks: gr.Blocks, function: BlockFunction) -> None:
    """Refuse a question where too many wait for the same models.

    Raises:
        RequestError: see above.
    """
    if blocks._queue.stopped:
        raise RequestError(503, _STOPPED)
    queue = blocks._queue.event_queue_per_concurrency_id.get(function.concurrency_id)
    if queue is not None and len(queue.queue) >= MOST_WAITING:
        raise RequestError(503, f"{len(queue.queue)} questions wait here, and no more can; try again in a while")


async def _outputs(
    queue: Any, session: str, tell: OnProgress | None, is_gone: Callable[[], Awaitable[bool]] | None
) -> list[Any]:
    """Wait for the outputs of an event in Gradio's queue."""
    messages: Messages[Any] = queue.pending_messages_per_session[session]
    looks, where = 0, "working"
    while True:
        try:
            message = await asyncio.wait_for(messages.get(), _LOOK_EVERY)
        except TimeoutError:
            looks += 1
            if queue.stopped:
                raise RequestError(503, _STOPPED) from None
            if is_gone is not None and await is_gone():
                raise RequestError(_GONE, "nobody waits for the answer any more") from None
            if tell is not None and looks % _LOOKS_A_WORD == 0:
                await tell(looks * _LOOK_EVERY, where)
            continue
        if isinstance(message, ProcessCompletedMessage):
            if not message.success:
                raise _refused(message.output.get("error"))
            return list(message.output["data"])
        where = f"place {message.rank + 1} in the queue" if isinstance(message, EstimationMessage) else "working"


def _refused(words: object) -> RequestError:
    if not words or words == OUR_FAULT:
        return RequestError(500, OUR_FAULT)
    return RequestError(507 if words == DISK_FULL else 422, str(words))


def _answered(outputs: list[Any]) -> Answered:
    *pictures, content = outputs
    if not pictures:
        return Answered(content)
    return Answered({**content, "picture_url": pictures[0]["url"]}, Path(pictures[0]["path"]).read_bytes())


def _without_body(request: Request) -> Request:
    """Return a request of the same caller as one to Gradio's queue: it is kept as long as the question waits."""
    scope = {key: value for key, value in request.scope.items() if not key.startswith("workbench.")}
    return Request({**scope, "path": _JOIN, "raw_path": _JOIN.encode(), "query_string": b"", "root_path": ""})
