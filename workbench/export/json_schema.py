"""JSON schemas of the values that programs send and get, read off their types: one place says both."""

import types
from dataclasses import dataclass
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True)
class About:
    """What a value means, for `typing.Annotated`.

    Attributes:
        words: meaning, with unit and order.
        least, most: bounds of a number, both included.
        shortest, longest: bounds of a text's or list's length.
    """

    words: str
    least: float | None = None
    most: float | None = None
    shortest: int | None = None
    longest: int | None = None

    def added_to(self, schema: dict[str, object]) -> dict[str, object]:
        """Return a schema with this; of one that also allows null, the bounds are those of the other kind."""
        if isinstance(options := schema.get("anyOf"), list):
            return schema | {"anyOf": [options[0] | self._bounds(options[0]), *options[1:]], "description": self.words}
        return schema | self._bounds(schema) | {"description": self.words}

    def _bounds(self, schema: dict[str, object]) -> dict[str, object]:
        what = "Items" if schema.get("type") == "array" else "Length"
        bounds = {
            "minimum": self.least,
            "maximum": self.most,
            f"min{what}": self.shortest,
            f"max{what}": self.longest,
        }
        return {name: bound for name, bound in bounds.items() if bound is not None}


def json_schema(kind: object) -> dict[str, object]:
    """Return the JSON Schema (2020-12, without references) of a type.

    Args:
        kind: a TypedDict, a plain type, a list, a dict with text keys, a tuple of one kind of item and fixed length, a
            Literal of texts, a union with None, or one of these in `Annotated` with an `About`.

    Raises:
        TypeError: the type has no schema here.
    """
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        schema = json_schema(inner)
        for note in notes:
            if isinstance(note, About):
                schema = note.added_to(schema)
        return schema
    if isinstance(kind, type) and kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    return _typed_dict(kind) if is_typeddict(kind) else _composed(kind)


def _composed(kind: object) -> dict[str, object]:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"type": "string", "enum": list(parts)}
    if origin in (Union, types.UnionType) and parts[1:] == (type(None),):
        return {"anyOf": [json_schema(parts[0]), {"type": "null"}]}
    if origin is list:
        return {"type": "array", "items": json_schema(parts[0])}
    if origin is dict and parts[0] is str:
        anything = parts[1] is object
        return {"type": "object", "additionalProperties": True if anything else json_schema(parts[1])}
    if origin is tuple and len(set(parts)) == 1:
        return {"type": "array", "items": json_schema(parts[0]), "minItems": len(parts), "maxItems": len(parts)}
    raise TypeError(f"expected a type that JSON can hold, got {kind!r}; see the list in json_schema")


def _typed_dict(kind: object) -> dict[str, object]:
    words = (getattr(kind, "__doc__", None) or "").strip().splitlines()[0]
    hints = get_type_hints(kind, include_extras=True)
    return {
        "type": "object",
        "title": getattr(kind, "__name__", ""),
        "description": words,
        "properties": {name: json_schema(hint) for name, hint in hints.items()},
        "required": list(hints),
    }
