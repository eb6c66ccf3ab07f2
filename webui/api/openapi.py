"""The OpenAPI document: every public endpoint with the types of what goes in and comes out.

Gradio writes one too, but in OpenAPI 3.0 with keywords of 3.1, and with outputs in prose; this one replaces it.
"""

from collections.abc import Sequence
from typing import Any, Final

from webui.api.images import FILE_SCHEMA
from webui.api.routes import FOLDER
from webui.api.schemas import EndpointSchemas
from workbench.limits import LARGEST_FILE_MB

OPENAPI_PATH: Final = "/gradio_api/openapi.json"
_CALLS: Final = "/gradio_api/call"
_MISTAKE: Final = "Mistake"
_MISTAKES: Final = {
    "400": "the body is no JSON object and no form",
    "403": "the request comes from the page of another site",
    "404": "there is no such endpoint",
    "408": "the body came too slowly",
    "413": "the body is too large, or holds too many values",
    "415": "the body is neither JSON nor a form by its Content-Type",
    "421": "the server is not known under this name",
    "422": "an argument is missing, unknown or cannot be used",
    "500": "something went wrong on the server's side",
    "503": "there is no room just now: too many wait, or too much is being sent",
    "507": "the server's disk is full",
}
_STREAM: Final = (
    "Answers as a stream of server-sent events. `event: generating` and `event: complete` carry `data: ` and a JSON "
    "array of the outputs; `event: error` carries an object whose `error` is one sentence; `event: heartbeat` carries "
    "null."
)


def openapi_document(title: str, version: str, endpoints: Sequence[EndpointSchemas]) -> dict[str, Any]:
    """Write the document as OpenAPI 3.1.

    Args:
        title: of the page.
        version: of what serves it.
        endpoints: all public ones.
    """
    schemas: dict[str, Any] = {_MISTAKE: _mistake_schema(), "FileData": dict(FILE_SCHEMA)}
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        schemas[f"{endpoint.name}_arguments"] = endpoint.inputs
        schemas[f"{endpoint.name}_answer"] = endpoint.answer
        paths[f"{FOLDER}/{endpoint.name}"] = {"post": _direct(endpoint)}
    for endpoint in endpoints:
        schemas[f"{endpoint.name}_outputs"] = _outputs(endpoint)
        paths[f"{_CALLS}/v2/{endpoint.name}"] = {"post": _queued(endpoint)}
        paths[f"{_CALLS}/{endpoint.name}/{{event_id}}"] = {"get": _streamed(endpoint)}
    paths["/gradio_api/upload"] = {"post": _upload()}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _description()},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _description() -> str:
    return (
        f"Paths under {FOLDER}/ take JSON or a form, wait, and answer with JSON. Those under {_CALLS}/ are Gradio's: "
        "post the arguments, get an event's id, then read its stream; there a file is given by FileData. Masks are "
        "COCO RLE, boxes XYXY in pixels. One question runs at a time; others wait in a queue."
    )


def _direct(endpoint: EndpointSchemas) -> dict[str, Any]:
    arguments = _ref(f"{endpoint.name}_arguments")
    form = {**endpoint.inputs, "properties": {**endpoint.inputs["properties"]}}
    if "image" in form["properties"]:
        form["properties"]["image"] = {"type": "string", "format": "binary", "description": "an image file"}
    return {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": ["programs"],
        "requestBody": {
            "required": bool(endpoint.inputs["required"]),
            "content": {"application/json": {"schema": arguments}, "multipart/form-data": {"schema": form}},
        },
        "responses": {
            "200": _json("the answer", _ref(f"{endpoint.name}_answer")),
            **_mistakes(),
        },
    }


def _queued(endpoint: EndpointSchemas) -> dict[str, Any]:
    event = {"type": "object", "properties": {"event_id": {"type": "string"}}, "required": ["event_id"]}
    return {
        "operationId": f"{endpoint.name}_queue",
        "summary": endpoint.summary,
        "description": endpoint.description,
        "tags": ["Gradio's protocol"],
        "requestBody": {
            "required": bool(endpoint.inputs["required"]),
            "content": {"application/json": {"schema": _ref(f"{endpoint.name}_arguments")}},
        },
        "responses": {
            "200": _json("it waits in the queue; its outputs are at the event's path", event),
            **_mistakes(),
        },
    }


def _streamed(endpoint: EndpointSchemas) -> dict[str, Any]:
    stream = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": _ref(f"{endpoint.name}_outputs"),
        "description": "the data of `event: complete`",
    }
    event_id = {"name": "event_id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "operationId": f"{endpoint.name}_outputs",
        "summary": f"The outputs of {endpoint.name}.",
        "description": _STREAM,
        "tags": ["Gradio's protocol"],
        "parameters": [event_id],
        "responses": {"200": {"description": "the stream", "content": {"text/event-stream": {"schema": stream}}}},
    }


def _outputs(endpoint: EndpointSchemas) -> dict[str, Any]:
    count = len(endpoint.outputs)
    return {"type": "array", "prefixItems": list(endpoint.outputs), "minItems": count, "maxItems": count}


def _upload() -> dict[str, Any]:
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "one or more files"}
    form = {"type": "object", "properties": {"files": files}, "required": ["files"]}
    paths = {"type": "array", "items": {"type": "string"}, "description": "the path of each, for FileData"}
    return {
        "operationId": "upload",
        "summary": f"Upload files, up to {LARGEST_FILE_MB} MB each, kept for an hour.",
        "tags": ["Gradio's protocol"],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": {"200": _json("the files' paths on the server", paths)},
    }


def _mistakes() -> dict[str, Any]:
    told: dict[str, Any] = {status: _json(words, _ref(_MISTAKE)) for status, words in _MISTAKES.items()}
    seconds = {"description": "seconds after which to try again", "schema": {"type": "integer"}}
    told["503"]["headers"] = {"Retry-After": seconds}
    return told


def _mistake_schema() -> dict[str, Any]:
    detail = {"type": "string", "description": "one sentence: what was expected, what arrived, what to do next"}
    return {"type": "object", "properties": {"detail": detail}, "required": ["detail"]}


def _json(words: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
