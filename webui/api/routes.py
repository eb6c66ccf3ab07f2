"""Plain HTTP for programs: `POST /programs/NAME` takes JSON or a form, waits, and answers with JSON.

Mistakes come back with a status of their own and one sentence, {"detail": "..."}.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from webui.api.endpoints import OUR_FAULT
from webui.api.images import IMAGE, kept_file
from webui.api.json_bodies import parse_json
from webui.api.refusals import RequestError
from webui.api.schemas import EndpointSchemas
from workbench.limits import LARGEST_AS_BASE64

if TYPE_CHECKING:
    from webui.api.door import Door

logger = logging.getLogger(__name__)

FOLDER: Final = "/programs"
JSON_SCOPE: Final = "workbench.json"
"""Key of a request's scope under which its body stands once `webui.api.guard` has read it as JSON."""
_MOST_FIELDS: Final = 20


def program_routes(endpoints: tuple[EndpointSchemas, ...], door: "Door") -> list[Route]:
    """Make the route of all endpoints.

    Args:
        endpoints: all public ones.
        door: answers.
    """
    served = {one.name: one for one in endpoints}

    async def answer(request: Request) -> JSONResponse:
        try:
            name = request.path_params["name"]
            if name not in served:
                raise RequestError(404, f"unknown endpoint {name!r}: expected one of {', '.join(served)}")
            arguments = await _arguments(request, served[name].inputs["properties"])
            answered = await door.ask(name, arguments, request, is_gone=request.is_disconnected)
            return JSONResponse(answered.content)
        except (RequestError, ClientDisconnect):
            raise
        except Exception:
            logger.exception("a program's request failed")
            return error_response(500, OUR_FAULT)

    return [Route(FOLDER + "/{name}", answer, methods=["POST"])]


def error_response(status: int, words: str) -> JSONResponse:
    """Answer with a mistake in one sentence."""
    return JSONResponse({"detail": words}, status_code=status)


async def _arguments(request: Request, properties: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    if JSON_SCOPE not in request.scope:
        return await _form(request, properties)
    arguments = request.scope[JSON_SCOPE]
    if not isinstance(arguments, dict):
        raise RequestError(400, f"expected a JSON object of arguments, got {type(arguments).__name__}")
    return arguments


async def _form(request: Request, properties: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    """Read a form: its files are kept; fields that are no text are JSON."""
    arguments: dict[str, object] = {}
    kind = request.headers.get("content-type", "").strip().lower()
    try:
        form = await _byte_for_byte(request).form(
            max_files=_MOST_FIELDS, max_fields=_MOST_FIELDS, max_part_size=LARGEST_AS_BASE64
        )
    except HTTPException as error:
        raise RequestError(400, f"expected a form that can be read, got: {error.detail}") from error
    try:
        as_sent = _as_utf8 if kind.startswith("multipart/") else _unreplaced
        for given_name, value in sorted(form.multi_items(), key=lambda each: isinstance(each[1], UploadFile)):
            name = as_sent(given_name)
            if name in arguments:
                raise RequestError(422, f"expected the field {name[:60]!r} once, got it again; send one of them")
            if not isinstance(value, UploadFile):
                arguments[name] = _field(name, as_sent(value), properties)
            elif name == IMAGE:
                arguments[name] = await asyncio.to_thread(kept_file, value.file.read)
            else:
                raise RequestError(422, f"expected no file as {name[:60]!r}, got one; send a field without a file name")
    finally:
        await form.close()
    return arguments


def _byte_for_byte(request: Request) -> Request:
    """Return a request whose form in parts is decoded as Latin-1, a character a byte: nothing is decided by that."""
    kind = request.headers.get("content-type", "")
    main, *parameters = kind.split(";")
    kept = [each for each in parameters if not each.strip().lower().startswith("charset")]
    told = ";".join([main, *kept, " charset=latin-1"]).encode("latin-1")
    headers = [(name, told if name == b"content-type" else value) for name, value in request.scope["headers"]]
    return Request({**request.scope, "headers": headers}, request.receive)


def _as_utf8(text: str) -> str:
    """Return what UTF-8 makes of a character a byte.

    Raises:
        RequestError: they are none.
    """
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError as error:
        raise RequestError(400, f"expected a form in UTF-8, got other bytes in {text[:40]!r}; encode it") from error


def _unreplaced(text: str) -> str:
    """Return a field of a form in one line; its reader writes the replacement character for what is no UTF-8.

    Raises:
        RequestError: it did.
    """
    if "\ufffd" in text:
        raise RequestError(400, f"expected a form in UTF-8, got other bytes in {text[:40]!r}; encode it")
    return text


def _field(name: str, value: str, properties: Mapping[str, Mapping[str, Any]]) -> object:
    if properties.get(name, {}).get("type") == "string":
        return value
    try:
        return parse_json(value.encode())
    except (RequestError, UnicodeEncodeError) as error:
        raise RequestError(422, f"expected {name[:60]} as JSON, got {value[:60]!r}: {error}") from error
