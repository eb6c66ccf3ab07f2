"""What programs are served beside the page: plain HTTP, tools, OpenAPI, and checks before Gradio's own endpoints."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from webui.api.calls import CallChecks
from webui.api.door import Door
from webui.api.guard import Guard, Hosts
from webui.api.images import GivenImages
from webui.api.mcp_tools import offer_tools
from webui.api.openapi import OPENAPI_PATH, openapi_document
from webui.api.routes import program_routes
from webui.api.schemas import endpoint_schemas
from webui.fetching import Fetcher
from webui.file_quota import FileQuota
from webui.visits import Visits


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
