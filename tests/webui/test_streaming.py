"""What a browser is told of a stream that it reads late."""

import copy
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from webui.streaming import StreamingBlocks

SKIPPED: dict[str, object] = {"__type__": "update"}
PICTURE: dict[str, object] = {"__type__": "update", "visible": True, "value": {"path": "mask.png"}}
CHUNKS = [[dict(SKIPPED), "asked"], [copy.deepcopy(PICTURE), "1 of 2"], [dict(SKIPPED), "2 of 2"]]


def read(blocks: gr.Blocks) -> list[list[Any]]:
    """Receive a whole stream as Gradio's browser side does, edits carried out in place, before any of it is shown."""
    function = SimpleNamespace(outputs=[None, None])
    held: list[Any] = []
    received = []
    for number, chunk in enumerate(copy.deepcopy(CHUNKS)):
        sent = copy.deepcopy(blocks.handle_streaming_diffs(function, chunk, "visitor", "run", final=False))
        held = [edited(value, edits) for value, edits in zip(held, sent, strict=True)] if number else sent
        received.append(list(held))
    return received


def edited(value: Any, edits: list[Any]) -> Any:
    for action, path, given in edits:
        if not path:
            value = given
            continue
        place = value
        for step in path[:-1]:
            place = place[step]
        if action == "delete":
            del place[path[-1]]
        else:
            place[path[-1]] = given
    return value


def test_a_picture_outlives_the_answer_after_it_until_it_is_shown() -> None:
    with StreamingBlocks() as blocks:
        pass
    assert read(blocks) == CHUNKS


def test_gradio_itself_still_takes_it_away() -> None:
    with gr.Blocks() as blocks:
        pass
    if read(blocks) == CHUNKS:
        pytest.fail("Gradio keeps what was not shown yet: `webui.streaming` can go")
