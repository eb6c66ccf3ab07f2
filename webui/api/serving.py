"""What programs are served beside the page: plain HTTP, tools, OpenAPI, and checks before Gradio's own endpoints."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from webui.api.calls import CallChecks
from webui.api.door import Door, OnProgress
from webui.api.guard import Guard, Hosts
from webui.api.images import GivenImages
from webui.api.openapi import OPENAPI_PATH, openapi_document
from webui.api.routes import program_routes
from webui.api.schemas import EndpointSchemas, endpoint_schemas
from webui.fetching import Fetcher
from webui.file_quota import FileQuota
from webui.visits import Visits

if TYPE_CHECKING:
    from gradio.mcp import GradioMCPServer
    from mcp.types import ImageContent, TextContent, Tool


def serving_arguments(arguments: Mapping[str, Any], hosts: Hosts) -> dict[str, Any]:
    """Add to the arguments of `gr.Blocks.launch` what serves programs, and what every request must keep to.

    Args:
        arguments: others; `app_kwargs` may name middleware.
        hosts: the names under which the server may be asked.
    """
    app_kwargs = dict(arguments.get("app_kwargs", {}))
    app_kwargs["middleware"] = [Middleware(Guard, hosts=hosts), *app_kwargs.get("middleware", [])]
    return {**arguments, "mcp_server": True, "app_kwargs": {**app_kwargs, "lifespan": serve_programs}}


@asynccontextmanager
async def serve_programs(app: Any) -> AsyncIterator[None]:
    """Add the routes and the tools when a Gradio application starts, before its first request."""
    page: gr.Blocks = app.get_blocks()
    endpoints = endpoint_schemas(page.get_api_info()["named_endpoints"])
    named = {endpoint.name: endpoint for endpoint in endpoints}
    quota = FileQuota(Path(get_upload_folder()))
    images = GivenImages(Fetcher(), quota)
    door = Door(app, named, images)
    document = openapi_document(str(page.title), gr.__version__, endpoints)

    async def openapi(_: Request) -> JSONResponse:
        return JSONResponse(document)

    # Gradio's own routes hold one of the same path, so these come first.
    app.router.routes[:0] = [Route(OPENAPI_PATH, openapi), *program_routes(endpoints, door)]
    app.state_holder = Visits()
    app.state_holder.set_blocks(page)
    app.state.prepare_call = CallChecks(app, named, images).prepare
    app.state.file_quota = quota
    if page.mcp_server_obj is not None:
        offer_tools(page.mcp_server_obj, endpoints, door)
    sweeping = asyncio.create_task(quota.keep())
    try:
        yield
    finally:
        sweeping.cancel()


def offer_tools(server: "GradioMCPServer", endpoints: Sequence[EndpointSchemas], door: Door) -> None:
    """Let a server offer the public endpoints as tools of the Model Context Protocol, and no others.

    Gradio serves the protocol, but answers with Python's own spelling of a dict. So this registers a list of tools of
    its own, with typed answers and pictures, and a way of its own to call them.

    Args:
        server: Gradio's, before the first request.
        endpoints: all public ones.
        door: answers calls.
    """
    offered = {server.valid_and_unique_tool_name(server.tool_prefix + one.name, set()): one for one in endpoints}
    server.tool_to_endpoint = {name: f"/{one.name}" for name, one in offered.items()}
    protocol = server.mcp_server

    @protocol.list_tools()  # type: ignore[untyped-decorator,no-untyped-call,unused-ignore]
    async def list_tools() -> "list[Tool]":
        return [_tool(name, one) for name, one in offered.items()]

    # The endpoints say what does not fit in plainer words than the protocol's own check.
    @protocol.call_tool(validate_input=False)  # type: ignore[untyped-decorator,unused-ignore]
    async def call_tool(
        name: str, arguments: dict[str, Any]
    ) -> "tuple[list[TextContent | ImageContent], dict[str, Any]]":
        if name not in offered:
            raise ValueError(f"unknown tool {name!r}: expected one of {', '.join(offered)}")
        context = protocol.request_context
        answered = await door.ask(offered[name].name, arguments, context.request, tell=_progress(context))
        return _contents(answered.content, answered.picture_base64), answered.content


def _tool(name: str, endpoint: EndpointSchemas) -> "Tool":
    from mcp.types import Tool, ToolAnnotations

    return Tool(
        name=name,
        title=endpoint.name.replace("_", " ").capitalize(),
        description=endpoint.description,
        inputSchema=endpoint.inputs,
        outputSchema=endpoint.answer,
        annotations=ToolAnnotations(readOnlyHint=True, destructiveHint=False, openWorldHint=False),
    )


def _contents(content: dict[str, Any], picture: str | None) -> "list[TextContent | ImageContent]":
    from mcp.types import ImageContent, TextContent

    text = TextContent(type="text", text=json.dumps(content, ensure_ascii=False))
    return [text] if picture is None else [text, ImageContent(type="image", data=picture, mimeType="image/png")]


def _progress(context: Any) -> OnProgress | None:
    token = None if context.meta is None else context.meta.progressToken
    if token is None:
        return None

    async def tell(seconds: float, words: str) -> None:
        await context.session.send_progress_notification(
            progress_token=token, progress=seconds, message=words, related_request_id=str(context.request_id)
        )

    return tell
