"""The types of what programs get: plain JSON values, and the JSON schemas read off them.

Boxes are XYXY in pixels of the image as it was sent, turned upright; pixel (0, 0) covers 0..1.
"""

import types
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

from evfsam.types import VerdictKind
from workbench.analysis.absence import Certainty

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


Share = Annotated[float, About("a share, from 0 to 1", least=0, most=1)]
Seconds = Annotated[float, About("seconds", least=0)]
Size = Annotated[tuple[int, int], About("[height, width] in pixels")]
Box = Annotated[
    tuple[float, float, float, float],
    About("[x1, y1, x2, y2] in pixels of the image, the least box around the mask"),
]


class Rle(TypedDict):
    """A mask as COCO's compressed RLE, column by column; pycocotools.mask.decode gives (height, width) uint8."""

    size: Size
    counts: Annotated[str, About("the compressed counts as ASCII text")]


class TraceStep(TypedDict):
    """One step that the strategy took, in short; texts over 400 characters are cut."""

    step: Annotated[str, About("name of the step, such as 'ask for the box'")]
    asked: Annotated[str, About("what was asked; empty where the step asks nothing")]
    answered: Annotated[str, About("what was answered; empty where the step has no answer")]


class PhraseAnswer(TypedDict):
    """What a strategy answered to one phrase."""

    phrase: Annotated[str, About("the phrase, without outer blanks")]
    verdict: Annotated[
        VerdictKind,
        About("'found'; 'absent': it says there is no such thing; 'failed': it gave no answer, see reason"),
    ]
    reason: Annotated[str, About("one sentence; empty where the verdict is 'found' and there is nothing to say")]
    certainty: Annotated[
        Certainty,
        About("what its figures say of it: 'sure', 'unsure', 'absent' (probably not in the image), 'unjudged'"),
    ]
    stability: Annotated[Share | None, About("IoU of the masks one logit below and above the border; null if failed")]
    area_share: Annotated[float, About("share of the image that the mask covers", least=0, most=1)]
    pred_iou: Annotated[
        float | None,
        About("SAM's own guess of the mask's IoU: no probability, may leave 0..1; null where SAM was not asked"),
    ]
    box: Annotated[Box | None, About("[x1, y1, x2, y2] in pixels, the least box around the mask; null of an empty one")]
    mask_rle: Rle
    attention_share_in_mask: Annotated[
        Share | None,
        About("share of the encoder's last-layer attention that lies on the mask; null for strategies without any"),
    ]
    trace: Annotated[list[TraceStep], About("the steps in order")]


class StrategyAnswer(PhraseAnswer):
    """What one strategy answered; of several phrases, their answers joined, and each by itself in `by_phrase`."""

    strategy: Annotated[str, About("key of the strategy")]
    title: Annotated[str, About("its name for people")]
    seconds: Annotated[float, About("the answer took this long, reading weights not counted; in seconds", least=0)]
    stage_seconds: Annotated[dict[str, Seconds], About("seconds by stage, such as 'encode image'")]
    by_phrase: Annotated[list[PhraseAnswer], About("an answer a phrase where several were asked; else empty")]


class SegmentAnswer(StrategyAnswer):
    """What one strategy found in an image."""

    image_size: Size


class CompareAnswer(TypedDict):
    """What several strategies found in the same image."""

    image_size: Size
    phrases: Annotated[list[str], About("the phrases, each as it was checked")]
    answers: Annotated[list[StrategyAnswer], About("one a strategy, in the order in which they ran")]
    agreement_iou: Annotated[
        dict[str, dict[str, Share]],
        About("IoU (0..1) of every two strategies' masks, by key and key; failed strategies are left out"),
    ]


class TokenShareAnswer(TypedDict):
    """One piece of the phrase and how much of [CLS]'s attention it got."""

    text: Annotated[str, About("the piece, as a person reads it")]
    share: Annotated[float, About("of all of [CLS]'s attention; patches and [CLS] get the rest", least=0, most=1)]
    is_special: Annotated[bool, About("whether it only marks the phrase's beginning or end")]


class AttentionAnswer(TypedDict):
    """Where the token that prompts SAM looked, for one phrase; figures of the picture beside it."""

    strategy: Annotated[str, About("key of the strategy")]
    phrase: Annotated[str, About("the phrase, without outer blanks")]
    verdict: Annotated[VerdictKind, About("what the strategy says of the phrase")]
    reason: Annotated[str, About("one sentence; may be empty where the verdict is 'found'")]
    layer: Annotated[int, About("layer of the map, from 1; 0: attention followed through all layers", least=0)]
    head: Annotated[int, About("head of the map, from 1; 0: all heads of the layer, summed", least=0)]
    layer_count: Annotated[int, About("how many layers the encoder has", least=1)]
    head_count: Annotated[int, About("how many heads each layer has", least=1)]
    patch_grid: Annotated[tuple[int, int], About("[rows, columns] of the map")]
    map: Annotated[
        list[list[float]],
        About("attention of each patch, row by row from the image's top left, in shares of [CLS]'s whole attention"),
    ]
    mass_inside_mask: Annotated[float, About("share of the map's attention that lies on the mask", least=0, most=1)]
    mass_gain: Annotated[
        float | None,
        About("that share over the mask's share of the image: 1 where attention ignores the mask; null without a mask"),
    ]
    tokens: Annotated[list[TokenShareAnswer], About("the pieces of the phrase in order")]
    caveat: Annotated[str, About("what attention does not prove")]


class SceneExpression(TypedDict):
    """A phrase that means something in the scene, and its true mask."""

    phrase: Annotated[str, About("the phrase")]
    kind: Annotated[str, About("how it names the object: category, colour, position, relation, ...; or 'absent'")]
    mask_rle: Rle


class SceneAnswer(TypedDict):
    """A generated scene; its image is the picture beside it."""

    seed: Annotated[int, About("draws the same scene again", least=0)]
    image_size: Size
    expressions: Annotated[list[SceneExpression], About("phrases with their true masks, empty for what is absent")]


class StrategyInfo(TypedDict):
    """One strategy that can be asked."""

    key: Annotated[str, About("what the other endpoints call it")]
    title: Annotated[str, About("its name for people")]
    summary: Annotated[str, About("how the phrase reaches SAM")]
    can: Annotated[str, About("what to expect of it; empty until its weights are read")]
    cannot: Annotated[str, About("what not to expect of it; empty until its weights are read")]
    paper: Annotated[str, About("citation or address; empty until its weights are read")]
    licence: Annotated[str, About("licence of the weights in use; empty until they are read")]


class StrategyList(TypedDict):
    """The strategies of the suite that runs here."""

    suite: Annotated[str, About("key of the suite: which weights answer")]
    notice: Annotated[str, About("what these weights know, and what they do not")]
    strategies: Annotated[list[StrategyInfo], About("in the order in which a comparison runs them")]
