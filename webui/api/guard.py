"""What every request must keep to before anything reads it: who may ask, and how much may be sent how slowly.

It stands before all routes, Gradio's own among them.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from email.message import Message as EmailMessage
from ipaddress import ip_address
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webui.api.json_bodies import parse_json
from webui.api.refusals import DISK_FULL, RequestError, is_disk_full
from webui.api.routes import FOLDER, JSON_SCOPE, error_response
from webui.file_quota import FileQuota, Room
from webui.visits import Visits
from workbench.limits import LARGEST_AS_BASE64

logger = logging.getLogger(__name__)

LARGEST_IMAGE_BODY: Final = LARGEST_AS_BASE64 + 1_000_000
LARGEST_UPLOAD: Final = 110_000_000
"""The images of one batch, and the rest."""
LARGEST_BODY: Final = 1_000_000
MOST_AT_ONCE: Final = 250_000_000
"""Bytes of all bodies that are being read into memory."""
RETRY_SECONDS: Final = 10
_API: Final = "/gradio_api"
_IMAGE_PATHS: Final = (
    f"{FOLDER}/",
    *(f"{_API}/{name}" for name in ("call/", "queue/join", "run/", "api/", "mcp")),
)
_UPLOAD_PATHS: Final = {f"{_API}/upload": LARGEST_UPLOAD, f"{_API}/component_server": LARGEST_IMAGE_BODY}
_UNUSED: Final = tuple(
    f"{_API}/{name}" for name in ("process_recording", "vibe-", "undo-vibe-", "proxy=", "deep_link", "file/")
)
"""Routes of Gradio that this page has no use for; "file/" is the old name of "file=", which fetches addresses too."""
_ADDRESSES: Final = (f"{_API}/file=http:", f"{_API}/file=https:")
_HEARTBEAT: Final = f"{_API}/heartbeat/"
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_GRACE_SECONDS: Final = 30.0
_LONGEST_END: Final = 1_000
"""Bytes behind the last boundary of a form, in which that is still looked for."""
_LEAST_RATE: Final = 20_000
"""Bytes a second that a body must come with, but for the grace at most that it may be behind."""

Prepare = Callable[[str, object, Scope], Awaitable[object]]


class Hosts:
    """The names under which this server may be asked.

    A page of another site can make a browser take that site's name for this machine (DNS rebinding); the name that it
    then sends is still the site's. An address in numbers cannot be taken for another.

    Args:
        names: beside this machine's own; None for any.
    """

    def __init__(self, names: Iterable[str] | None = ()) -> None:
        own = ("localhost", socket.gethostname())
        self._names = None if names is None else frozenset(name.lower() for name in (*own, *names))

    def check(self, host: str) -> None:
        """Refuse a request for another host.

        Raises:
            RequestError: see above.
        """
        name = _name_of(host)
        if self._names is None or not name or name in self._names or _is_numbers(name):
            return
        raise RequestError(
            421, f"this server is not known as {name[:100]!r}; ask it under its own name, or start it with --name NAME"
        )


class Guard:
    """Refuses requests of other sites' pages, for other hosts, of unknown kinds, and bodies beyond their bounds.

    Args:
        app: what is behind.
        hosts: the names of this server.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts
        self._bytes_held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answering = _Answering(send)
        try:
            await self._pass_on(scope, receive, answering)
        except ClientDisconnect:
            return
        except OSError as error:
            if answering.has_begun or not is_disk_full(error):
                raise
            await error_response(507, DISK_FULL)(scope, receive, answering)
        except RequestError as problem:
            if answering.has_begun:
                raise
            await error_response(problem.status, str(problem))(scope, receive, answering)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        self._hosts.check(headers.get("host", ""))
        if path.startswith(_UNUSED) or path.startswith(_ADDRESSES):
            raise RequestError(404, f"this server does not serve {path[:100]}")
        if scope["method"] not in _WITH_BODY:
            with _page_open(scope):
                await self._app(scope, receive, send)
            return
        _check_site(headers)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
            body = _Body(receive, headers, _largest_form(path), closing=_closing_boundary(headers))
            quota: FileQuota | None = getattr(scope["app"].state, "file_quota", None)
            if quota is None:
                await self._read_by_gradio(scope, body.receive, send)
                return
            async with quota.room() as room:
                await self._read_by_gradio(scope, _counted(body.receive, room), send)
            return
        await self._pass_json(scope, receive, send, kind)

    async def _pass_json(self, scope: Scope, receive: Receive, send: Send, kind: str) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        body = _Body(receive, headers, _largest_json(path))
        content = await self._whole(body)
        if content and kind != "application/json" and not kind.endswith("+json"):
            raise RequestError(415, f"expected Content-Type application/json or a form, got {kind[:60] or 'none'}")
        value = parse_json(content)
        prepare: Prepare | None = getattr(scope["app"].state, "prepare_call", None)
        if content and prepare is not None and (prepared := await prepare(path, value, scope)) is not value:
            value, content = prepared, json.dumps(prepared).encode()
        scope[JSON_SCOPE] = value
        await self._read_by_gradio(_with_length(scope, len(content)), _replay(content, receive), send)

    async def _read_by_gradio(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a body on; what Gradio's own readers of files stumble over is what was sent, not a fault of ours.

        Raises:
            RequestError: see above.
        """
        try:
            await self._app(scope, receive, send)
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            if not scope["path"].startswith(tuple(_UPLOAD_PATHS)):
                raise
            logger.info("a body for %s cannot be read", scope["path"], exc_info=True)
            raise RequestError(
                400, "expected files with names, or a call of a component, as this page sends them; got something else"
            ) from error

    async def _whole(self, body: "_Body") -> bytes:
        """Read a body into memory, of which all bodies together get a part."""
        content = bytearray()
        try:
            while True:
                message = await body.receive()
                piece = message.get("body", b"")
                self._bytes_held += len(piece)
                content += piece
                if self._bytes_held > MOST_AT_ONCE:
                    raise RequestError(503, "too much is being sent to this server just now; try again in a while")
                if message["type"] != "http.request" or not message.get("more_body"):
                    return bytes(content)
        finally:
            self._bytes_held -= len(content)


class _Body:
    """The body of a request, received within a bound of bytes and at no less than a slow rate.

    What came fast buys no more than the grace for what follows: a large body that stalls would hold its room for long.

    Args:
        receive: brings its parts.
        headers: of the request.
        largest: bytes.
        closing: what stands near the end of a whole one; nothing for those that need nothing.
    """

    def __init__(self, receive: Receive, headers: Mapping[str, str], largest: int, closing: bytes = b"") -> None:
        self._receive = receive
        self._closing = closing
        self._tail = b""
        self._largest = largest
        self._due = monotonic() + _GRACE_SECONDS
        self._bytes = 0
        self._is_whole = False
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > largest:
            self._refuse(length)

    async def receive(self) -> Message:
        """Give the next part.

        Raises:
            RequestError: it is too large, comes too slowly, or ends too soon.
        """
        if self._is_whole:
            return await self._receive()
        message = await self._in_time()
        self._bytes += len(message.get("body", b""))
        self._is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        if self._bytes > self._largest:
            self._refuse("more")
        if self._closing:
            self._tail = (self._tail + message.get("body", b""))[-_LONGEST_END - len(self._closing) :]
            if self._is_whole and message["type"] == "http.request" and self._closing not in self._tail:
                raise RequestError(400, "expected a whole form, got one that breaks off before its last boundary")
        return message

    async def _in_time(self) -> Message:
        try:
            message = await asyncio.wait_for(self._receive(), max(self._due - monotonic(), 0.001))
        except TimeoutError as error:
            raise RequestError(408, f"the body came too slowly: {self._bytes} bytes so far; send it again") from error
        self._due = min(self._due + len(message.get("body", b"")) / _LEAST_RATE, monotonic() + _GRACE_SECONDS)
        return message

    def _refuse(self, got: str) -> None:
        most = f"{self._largest / 1e6:g} MB"
        raise RequestError(413, f"expected a body of at most {most}, got {got[:30]} bytes; send a smaller image")


class _Answering:
    """Passes an answer on, says when to try again where there is no room, and knows whether it has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            if message["status"] == 503:
                MutableHeaders(scope=message)["Retry-After"] = str(RETRY_SECONDS)
        await self._send(message)


def _page_open(scope: Scope) -> AbstractContextManager[None]:
    """Count the page of a visitor as open for as long as its connection lasts that Gradio holds for this."""
    visits = getattr(scope["app"], "state_holder", None)
    if not scope["path"].startswith(_HEARTBEAT) or not isinstance(visits, Visits):
        return nullcontext()
    return visits.page_open(scope["path"].removeprefix(_HEARTBEAT))


def _check_site(headers: Mapping[str, str]) -> None:
    """Refuse what the page of another site makes a browser send: it would come with this visitor's rights."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site in ("same-origin", "none") or (site is None and origin is None):
        return
    asked = (headers.get("host"), headers.get("x-forwarded-host"))
    if site is None and origin is not None and (urlsplit(origin).netloc or "none") in asked:
        return
    raise RequestError(
        403, "this server takes nothing from other sites' pages; send it from its own, or from a program"
    )


def _closing_boundary(headers: Mapping[str, str]) -> bytes:
    """Return what ends a form in parts (RFC 2046, section 5.1.1); nothing for another form, or without a boundary."""
    told = EmailMessage()
    told["content-type"] = headers.get("content-type", "")
    boundary = told.get_boundary("") if told.get_content_maintype() == "multipart" else ""
    return f"--{boundary}--".encode("latin-1", "replace") if boundary else b""


def _largest_json(path: str) -> int:
    return LARGEST_IMAGE_BODY if path.startswith(_IMAGE_PATHS) else LARGEST_BODY


def _largest_form(path: str) -> int:
    return _UPLOAD_PATHS.get(path.rstrip("/"), _largest_json(path))


def _name_of(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_numbers(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _with_length(scope: Scope, length: int) -> Scope:
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"content-length", b"transfer-encoding")]
    return {**scope, "headers": [*kept, (b"content-length", str(length).encode())]}


def _counted(receive: Receive, room: Room) -> Receive:
    """Let the parts of a body take room as they come."""

    async def taken() -> Message:
        message = await receive()
        if content := message.get("body", b""):
            await room.take(len(content))
        return message

    return taken


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once more to the application behind, then what comes after it."""
    left = [body]

    async def again() -> Message:
        if not left:
            return await receive()
        return {"type": "http.request", "body": left.pop(), "more_body": False}

    return again


def server_names(listens_on: str, environment: Mapping[str, str], given: Iterable[str]) -> Hosts:
    """Return the names under which a server may be asked.

    Args:
        listens_on: the address that it listens on.
        environment: of the process; on a Space the proxy before it sees to names.
        given: by whoever starts it.
    """
    return Hosts(None if "SPACE_ID" in environment else (listens_on, *given))
