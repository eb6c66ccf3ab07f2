"""Plain HTTP for programs: `POST /programs/NAME` takes JSON or a form, waits, and answers with JSON.

Mistakes come back with a status of their own and one sentence, {"detail": "..."}.
"""

import json
import logging
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from gradio_client.exceptions import AppError
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from webui.api.endpoints import OUR_FAULT
from webui.api.loopback import Loopback
from webui.api.schemas import EndpointSchemas, RequestError

logger = logging.getLogger(__name__)

FOLDER: Final = "/programs"
_LARGEST_BODY: Final = 36_000_000
"""An image of 25 MB as base64, and the rest."""


def program_routes(endpoints: tuple[EndpointSchemas, ...], loopback: Loopback) -> list[Route]:
    """Make a route for every endpoint that has an answer of its own, and one that names them.

    Args:
        endpoints: all public ones.
        loopback: answers.
    """
    served = {one.name: one for one in endpoints if one.answer is not None}

    async def answer(request: Request) -> JSONResponse:
        try:
            name = request.path_params["name"]
            if name not in served:
                raise RequestError(404, f"unknown endpoint {name!r}: expected one of {', '.join(served)}")
            arguments = await _arguments(request, served[name].inputs["properties"])
            served[name].check_names(arguments)
            answered = await loopback.ask(name, arguments, dict(request.headers))
            return JSONResponse(answered.content)
        except RequestError as problem:
            return told(problem.status, str(problem))
        except AppError as error:
            return told(500 if str(error) == OUR_FAULT else 422, str(error))
        except Exception:
            logger.exception("a program's request failed")
            return told(500, OUR_FAULT)

    return [Route(FOLDER + "/{name}", answer, methods=["POST"])]


def told(status: int, words: str) -> JSONResponse:
    """Answer with a mistake in one sentence."""
    return JSONResponse({"detail": words}, status_code=status)


async def _arguments(request: Request, properties: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise RequestError(411, "expected the header Content-Length, got none; send the body whole")
    if int(length) > _LARGEST_BODY:
        raise RequestError(413, f"expected an image of at most 25 MB, got a body of {int(length) // 10**6} MB")
    if request.headers.get("content-type", "").startswith(("multipart/form-data", "application/x-www-form-urlencoded")):
        return await _form(request, properties)
    body = await request.body()
    try:
        arguments = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"expected a JSON object of arguments, or a form: {error}") from error
    if not isinstance(arguments, dict):
        raise RequestError(400, f"expected a JSON object of arguments, got {type(arguments).__name__}")
    return arguments


async def _form(request: Request, properties: Mapping[str, Mapping[str, Any]]) -> dict[str, object]:
    """Read a form: files become data URLs; fields that are no text are JSON."""
    arguments: dict[str, object] = {}
    async with request.form(max_part_size=_LARGEST_BODY) as form:
        for name, value in form.items():
            if isinstance(value, UploadFile):
                arguments[name] = "data:;base64," + b64encode(await value.read()).decode("ascii")
            else:
                arguments[name] = _field(name, value, properties)
    return arguments


def _field(name: str, value: str, properties: Mapping[str, Mapping[str, Any]]) -> object:
    if properties.get(name, {}).get("type") == "string":
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise RequestError(422, f"expected {name} as JSON, got {value[:60]!r}: {error}") from error
