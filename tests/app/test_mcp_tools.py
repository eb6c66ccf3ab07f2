"""The tools, called by the Model Context Protocol's own client over streamable HTTP."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import jsonschema
import numpy as np
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import CallToolResult
from PIL import Image
from pycocotools import mask as coco_mask

from tests.webui.fakes import TOOL_NAMES, channel_mask, three_colours
from workbench.export.results import png_bytes

IMAGE = "data:image/png;base64," + b64encode(png_bytes(three_colours())).decode()


def with_session(address: str, work: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    async def session() -> Any:
        async with (
            streamablehttp_client(f"{address}gradio_api/mcp/") as (reading, writing, _),
            ClientSession(reading, writing) as opened,
        ):
            await opened.initialize()
            return await work(opened)

    return asyncio.run(session())


def called(address: str, name: str, arguments: dict[str, object]) -> CallToolResult:
    return with_session(address, lambda session: session.call_tool(name, arguments))  # type: ignore[no-any-return]


def test_only_the_endpoints_for_programs_are_tools(address: str) -> None:
    tools = with_session(address, lambda session: session.list_tools()).tools
    assert tuple(tool.name for tool in tools) == TOOL_NAMES


def test_a_tool_says_what_it_takes_and_gives(address: str) -> None:
    tools = {tool.name: tool for tool in with_session(address, lambda session: session.list_tools()).tools}
    segment = tools["segment"]
    assert segment.inputSchema["required"] == ["image", "phrase"]
    assert segment.inputSchema["properties"]["strategy"]["enum"] == ["evf-sam", "clip-text", "point-query"]
    assert segment.outputSchema["properties"]["area_share"]["maximum"] == 1
    for tool in tools.values():
        jsonschema.Draft202012Validator.check_schema(tool.inputSchema)
        jsonschema.Draft202012Validator.check_schema(tool.outputSchema)
        assert tool.description
        assert all(schema.get("description") for schema in tool.inputSchema["properties"].values())


def test_a_mask_comes_back_typed_and_as_json(address: str) -> None:
    result = called(address, "segment", {"image": IMAGE, "phrase": "a square", "strategy": "clip-text"})
    assert not result.isError
    assert json.loads(result.content[0].text) == result.structuredContent
    decoded = coco_mask.decode(result.structuredContent["mask_rle"])
    assert np.array_equal(decoded == 1, channel_mask(three_colours(), 1))


def test_a_picture_comes_back_and_its_address_is_an_image_to_ask_about(address: str) -> None:
    drawn = called(address, "draw_scene", {"seed": 5})
    picture = Image.open(BytesIO(b64decode(drawn.content[1].data)))
    assert picture.size == (512, 512)
    asked = {"image": drawn.structuredContent["picture_url"], "phrase": "anything"}
    explained = called(address, "explain_attention", asked)
    assert explained.structuredContent["patch_grid"] == [8, 8]
    assert explained.content[1].mimeType == "image/png"


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("segment", {"image": IMAGE}, "segment misses the argument 'phrase'"),
        ("segment", {"image": "x", "phrase": "a"}, "expected an image"),
        ("segment", {"image": IMAGE, "phrase": "a", "strategy": "nothing"}, "unknown strategy 'nothing'"),
        ("compare", {"image": IMAGE, "phrase": "a"}, "unknown tool 'compare'"),
    ],
)
def test_a_mistake_is_one_sentence(address: str, name: str, arguments: dict[str, object], words: str) -> None:
    result = called(address, name, arguments)
    assert result.isError
    (content,) = result.content
    assert words in content.text
    assert "\n" not in content.text
