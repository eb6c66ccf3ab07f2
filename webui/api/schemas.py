"""What each endpoint takes and answers, read off a Gradio page, as JSON schemas for tools and for OpenAPI."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webui.api.images import IMAGE_WORDS
from webui.api.refusals import RequestError

PICTURE_URL: Mapping[str, object] = {
    "type": "string",
    "format": "uri",
    "description": "address of the picture (PNG) on this server, kept for an hour",
}


@dataclass(frozen=True)
class EndpointSchemas:
    """One public endpoint.

    Attributes:
        name: without a slash.
        summary: first sentence of what it does; description: all of it.
        inputs: schema of the arguments by name; images are text or files.
        outputs: schemas of the outputs in order, as Gradio's protocol sends them.
        answer: schema of the JSON object that `webui.api.door` makes of the outputs.
    """

    name: str
    description: str
    inputs: dict[str, Any]
    outputs: tuple[dict[str, Any], ...]
    answer: dict[str, Any]

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        return self.description.split(". ")[0].rstrip(".") + "."

    def check_names(self, arguments: Mapping[str, object]) -> None:
        """Refuse arguments that the endpoint does not know, or misses.

        Raises:
            RequestError: see above.
        """
        known = list(self.inputs["properties"])
        unknown = [name for name in arguments if name not in known]
        missing = [name for name in self.inputs["required"] if name not in arguments]
        expected = ", ".join(known) or "none"
        if unknown:
            raise RequestError(422, f"{self.name} has no argument {unknown[0]!r}: expected {expected}")
        if missing:
            raise RequestError(422, f"{self.name} misses the argument {missing[0]!r}: expected {expected}")

    def named(self, data: object) -> dict[str, object]:
        """Return arguments by name that came as a list, one for each.

        Raises:
            RequestError: they did not.
        """
        names = list(self.inputs["properties"])
        if not isinstance(data, list) or len(data) != len(names):
            raise RequestError(422, f"expected data as a list of {len(names)} arguments ({', '.join(names)})")
        return dict(zip(names, data, strict=True))

    def values_of(self, arguments: Mapping[str, object]) -> list[object]:
        """Return arguments as a list, with the defaults of those left out."""
        properties = self.inputs["properties"]
        return [arguments.get(name, schema.get("default")) for name, schema in properties.items()]


def endpoint_schemas(named_endpoints: Mapping[str, Mapping[str, Any]]) -> tuple[EndpointSchemas, ...]:
    """Read them off what `gr.Blocks.get_api_info` says under "named_endpoints"."""
    return tuple(_of(path.lstrip("/"), endpoint) for path, endpoint in named_endpoints.items())


def _of(name: str, endpoint: Mapping[str, Any]) -> EndpointSchemas:
    outputs = tuple({"title": output["label"], **_clean(output["type"])} for output in endpoint["returns"])
    answer = dict(outputs[-1])
    if len(outputs) > 1:
        answer["properties"] = {**answer["properties"], "picture_url": dict(PICTURE_URL)}
        answer["required"] = [*answer["required"], "picture_url"]
    parameters = endpoint["parameters"]
    inputs = {
        "type": "object",
        "properties": {parameter["parameter_name"]: _input(parameter) for parameter in parameters},
        "required": [one["parameter_name"] for one in parameters if not one["parameter_has_default"]],
        "additionalProperties": False,
    }
    return EndpointSchemas(name, str(endpoint.get("description") or ""), inputs, outputs, answer)


def _input(parameter: Mapping[str, Any]) -> dict[str, Any]:
    schema = _clean(parameter["type"])
    if _is_file(schema):
        return {"type": "string", "minLength": 1, "description": IMAGE_WORDS}
    default = {"default": parameter["parameter_default"]} if parameter["parameter_has_default"] else {}
    return {"title": parameter["label"], **schema, **default}


def _clean(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Mend what Gradio writes that is no JSON Schema, and put definitions where they are referred to."""
    definitions = schema.get("$defs", {})
    mended = _mended(schema, definitions)
    assert isinstance(mended, dict)
    return mended


def _mended(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_mended(item, definitions) for item in node]
    if not isinstance(node, Mapping):
        return node
    if "$ref" in node:
        return _mended(definitions[str(node["$ref"]).rsplit("/", 1)[-1]], definitions)
    dropped = {"$defs", "additional_description"} | ({"type"} if node.get("type") == {} else set())
    return {key: _mended(value, definitions) for key, value in node.items() if key not in dropped}


def _is_file(schema: Mapping[str, Any]) -> bool:
    meta = schema.get("properties", {}).get("meta", {})
    return bool(meta.get("properties", {}).get("_type", {}).get("const") == "gradio.FileData")
