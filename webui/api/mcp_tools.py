"""The endpoints for programs as tools of the Model Context Protocol, with typed answers and pictures.

Gradio serves the protocol, but answers with Python's own spelling of a dict. So this module registers its own list of
tools, and its own way to call them.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from webui.api.door import Door, Progress
from webui.api.schemas import EndpointSchemas

if TYPE_CHECKING:
    from gradio.mcp import GradioMCPServer
    from mcp.types import ImageContent, TextContent, Tool


def offer_tools(server: "GradioMCPServer", endpoints: Sequence[EndpointSchemas], door: Door) -> None:
    """Let a server offer the public endpoints, and no others.

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


def _progress(context: Any) -> Progress | None:
    token = None if context.meta is None else context.meta.progressToken
    if token is None:
        return None

    async def tell(seconds: float, words: str) -> None:
        await context.session.send_progress_notification(
            progress_token=token, progress=seconds, message=words, related_request_id=str(context.request_id)
        )

    return tell
