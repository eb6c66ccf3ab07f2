"""What programs are served beside the page: plain HTTP, tools, OpenAPI, and checks before Gradio's own endpoints."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webui.api.images import file_paths, in_uploads
from webui.api.loopback import Loopback
from webui.api.mcp_tools import offer_tools
from webui.api.openapi import OPENAPI_PATH, openapi_document
from webui.api.routes import program_routes, told
from webui.api.schemas import EndpointSchemas, RequestError, endpoint_schemas

_CALLS: Final = "/gradio_api/call/"


def serving_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the arguments of `gr.Blocks.launch` what serves programs.

    Args:
        arguments: others; `app_kwargs` may name middleware.
    """
    app_kwargs = dict(arguments.get("app_kwargs", {}))
    app_kwargs["middleware"] = [*app_kwargs.get("middleware", []), Middleware(CallChecks)]
    return {**arguments, "mcp_server": True, "app_kwargs": {**app_kwargs, "lifespan": serve_programs}}


@asynccontextmanager
async def serve_programs(app: Any) -> AsyncIterator[None]:
    """Add the routes and the tools when a Gradio application starts, before its first request."""
    page: gr.Blocks = app.get_blocks()
    endpoints = endpoint_schemas(page.get_api_info()["named_endpoints"])
    loopback = Loopback(lambda: str(page.local_url))
    document = openapi_document(str(page.title), gr.__version__, endpoints)

    async def openapi(_: Request) -> JSONResponse:
        return JSONResponse(document)

    # Gradio's own routes hold one of the same path, so these come first.
    app.router.routes[:0] = [Route(OPENAPI_PATH, openapi), *program_routes(endpoints, loopback)]
    app.state.endpoints = {endpoint.name: endpoint for endpoint in endpoints}
    if page.mcp_server_obj is not None:
        offer_tools(page.mcp_server_obj, endpoints, loopback)
    yield


class CallChecks:
    """Refuses calls of Gradio's endpoints whose arguments do not fit, for which Gradio itself has no words."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or scope["method"] != "POST" or not path.startswith(_CALLS):
            await self._app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        try:
            _check_call(path.removeprefix(_CALLS).strip("/"), body, scope["app"].state.endpoints)
        except RequestError as problem:
            await told(problem.status, str(problem))(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


def _check_call(name: str, body: bytes, endpoints: Mapping[str, EndpointSchemas]) -> None:
    is_by_name = name.startswith("v2/")
    name = name.removeprefix("v2/")
    endpoint = endpoints.get(name)
    if endpoint is None:
        raise RequestError(404, f"unknown endpoint {name!r}: expected one of {', '.join(endpoints)}")
    try:
        sent = json.loads(body or b"{}")
        _check_files(sent)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"expected a JSON object: {error}") from error
    if not isinstance(sent, dict):
        raise RequestError(400, f"expected a JSON object, got {type(sent).__name__}")
    if is_by_name:
        endpoint.check_names(sent)
        return
    names = list(endpoint.inputs["properties"])
    data = sent.get("data")
    if not isinstance(data, list) or len(data) != len(names):
        raise RequestError(422, f"expected data as a list of {len(names)} arguments ({', '.join(names)})")


def _check_files(value: object) -> None:
    """Refuse files that nobody uploaded here; Gradio refuses them too, but says nothing."""
    for path in file_paths(value):
        if not path.startswith(("http://", "https://")) and in_uploads(path) is None:
            raise RequestError(422, f"expected a file uploaded to this server, got {path[:200]!r}; upload it first")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once more to the application behind, then what comes after it."""
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
