"""The dialects: one entry a model family, each with its wording, its one coordinate convention and its parser.

Sources of the conventions: Qwen2.5-VL counts pixels of the image as its processor resized it (arXiv:2502.13923,
section 2.1); Qwen3-VL and Qwen3.5 write 0..1000 (arXiv:2511.21631); InternVL 0..1000 (arXiv:2404.16821, section 3);
Florence-2 1,000 bins (arXiv:2311.06242, section 3.1); Molmo2's points are thousandths of the image.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from baselines.point_query.dialects import questions as wordings
from baselines.point_query.dialects import sam4mllm
from baselines.point_query.dialects.answer_parsing import (
    ParsedBoxes,
    ParsedPromptPoints,
    parse_brackets,
    parse_coords,
    parse_locations,
)
from baselines.point_query.dialects.conventions import CoordinateConvention, CoordinateGrid, SpokenBox, SpokenPoint
from baselines.point_query.dialects.sam4mllm import ObjectCount
from evfsam.errors import ConfigurationError

BoxParser = Callable[[str, CoordinateGrid], ParsedBoxes]
PointsQuestion = Callable[[str, SpokenBox, Sequence[SpokenPoint], CoordinateGrid], str]


@dataclass(frozen=True, eq=False)
class Dialect:
    """How one model family is asked and understood. What a family cannot do is None.

    Attributes:
        key: stable name, such as "qwen3-vl".
        title: for people.
        weights: the family's default on the Hub.
        licence: of those weights.
        model_types: `model_type` of the configurations that speak it.
        convention: its only way of writing places.
        box_question, parse_boxes: ask for boxes, and read them.
        points_question: ask of points in a box whether they lie on the object.
        prompt_points_question, parse_prompt_points: ask for points outright, and read them.
        presence_question: ask whether the object is there at all, before anything else.
        absent_answer: the answer to the box question where there is nothing, if its probability is to be weighed.
        template_options: what the chat template is told beside the messages.
        system_prompt: what the model is told before the first question; "" for nothing.
        image_side: pixels of the square to which the image is squashed before the processor sees it; None for as it is.
        reads: the class that runs the family's models: "chat" or "florence2".
    """

    key: str
    title: str
    weights: str
    licence: str
    model_types: tuple[str, ...]
    convention: CoordinateConvention
    box_question: Callable[[str, ObjectCount], str] | None = None
    parse_boxes: BoxParser = parse_brackets
    points_question: PointsQuestion | None = None
    prompt_points_question: Callable[[str, ObjectCount], str] | None = None
    parse_prompt_points: Callable[[str, CoordinateGrid], ParsedPromptPoints] = parse_coords
    presence_question: Callable[[str], str] | None = None
    absent_answer: str | None = None
    template_options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    system_prompt: str = ""
    image_side: int | None = None
    reads: str = "chat"


def _sam4mllm_points(phrase: str, box: SpokenBox, points: Sequence[SpokenPoint], grid: CoordinateGrid) -> str:
    del phrase, grid  # the first turn has named the phrase; relative numbers need no image
    return sam4mllm.points_question(box, points)


def _released_points(phrase: str, box: SpokenBox, points: Sequence[SpokenPoint], grid: CoordinateGrid) -> str:
    del phrase, grid
    return sam4mllm.released_points_question(box, points)


def _sam4mllm_groups(text: str, grid: CoordinateGrid) -> ParsedPromptPoints:
    del grid
    return sam4mllm.parse_prompt_points(text)


_RELATIVE: Final = CoordinateConvention("relative", "xy", 1000)

SAM4MLLM: Final = Dialect(
    key="sam4mllm",
    title="SAM4MLLM",
    weights="",
    licence="Apache-2.0",
    model_types=("llava",),
    convention=sam4mllm.SAM4MLLM_CONVENTION,
    box_question=sam4mllm.box_question,
    points_question=_sam4mllm_points,
    prompt_points_question=sam4mllm.prompt_points_question,
    parse_prompt_points=_sam4mllm_groups,
    absent_answer=sam4mllm.NO_OBJECT,
)

_ENTRIES: Final = (
    SAM4MLLM,
    Dialect(
        key="llava-next",
        title="LLaVA-NeXT with SAM4MLLM adapters",
        weights="llava-hf/llama3-llava-next-8b-hf",
        licence="Llama 3 Community Licence",
        model_types=("llava_next",),
        convention=sam4mllm.SAM4MLLM_CONVENTION,
        box_question=sam4mllm.released_box_question,
        points_question=_released_points,
        prompt_points_question=sam4mllm.prompt_points_question,
        parse_prompt_points=_sam4mllm_groups,
        system_prompt=sam4mllm.RELEASED_SYSTEM_PROMPT,
        image_side=sam4mllm.RELEASED_SIDE,
    ),
    Dialect(
        key="qwen3-vl",
        title="Qwen3-VL",
        weights="Qwen/Qwen3-VL-2B-Instruct",
        licence="Apache-2.0",
        model_types=("qwen3_vl", "qwen3_vl_moe"),
        convention=_RELATIVE,
        box_question=wordings.qwen_box_question,
        points_question=wordings.point_question,
        presence_question=wordings.presence_question,
    ),
    Dialect(
        key="qwen3.5",
        title="Qwen3.5",
        weights="Qwen/Qwen3.5-2B",
        licence="Apache-2.0",
        model_types=("qwen3_5", "qwen3_5_moe"),
        convention=_RELATIVE,
        box_question=wordings.qwen_box_question,
        points_question=wordings.point_question,
        presence_question=wordings.presence_question,
        template_options=MappingProxyType({"enable_thinking": False}),
    ),
    Dialect(
        key="qwen2.5-vl",
        title="Qwen2.5-VL",
        weights="Qwen/Qwen2.5-VL-7B-Instruct",
        licence="Apache-2.0",
        model_types=("qwen2_5_vl",),
        convention=CoordinateConvention("pixels", "xy"),
        box_question=wordings.qwen_box_question,
        points_question=wordings.point_question,
        presence_question=wordings.presence_question,
    ),
    Dialect(
        key="internvl3.5",
        title="InternVL3.5",
        weights="OpenGVLab/InternVL3_5-2B-HF",
        licence="Apache-2.0",
        model_types=("internvl",),
        convention=_RELATIVE,
        box_question=wordings.internvl_box_question,
        points_question=wordings.point_question,
        presence_question=wordings.presence_question,
    ),
    Dialect(
        key="florence-2",
        title="Florence-2 (box only)",
        weights="florence-community/Florence-2-large",
        licence="MIT",
        model_types=("florence2",),
        convention=CoordinateConvention("bins", "xy", 1000),
        box_question=wordings.florence_box_question,
        parse_boxes=parse_locations,
        reads="florence2",
    ),
    Dialect(
        key="molmo2",
        title="Molmo2 (points only)",
        weights="allenai/Molmo2-4B",
        licence="Apache-2.0",
        model_types=("molmo2",),
        convention=_RELATIVE,
        prompt_points_question=wordings.molmo_points_question,
        presence_question=wordings.presence_question,
    ),
)

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType({dialect.key: dialect for dialect in _ENTRIES})


def find_dialect(key: str) -> Dialect:
    """Return the dialect called `key`.

    Raises:
        ConfigurationError: there is none; the message lists the choices.
    """
    if key not in DIALECTS:
        raise ConfigurationError(
            "unknown dialect {key!r}: expected one of {choices}", key=key, choices=", ".join(DIALECTS)
        )
    return DIALECTS[key]


def dialect_of_model(model_type: str) -> Dialect:
    """Return the dialect that models of a `model_type` speak.

    Raises:
        ConfigurationError: no dialect is known for it; its coordinates are not guessed.
    """
    for dialect in _ENTRIES:
        if model_type in dialect.model_types:
            return dialect
    known = ", ".join(name for dialect in _ENTRIES for name in dialect.model_types)
    raise ConfigurationError(
        "no dialect is known for models of type {kind!r} (known: {known}); its coordinates are not guessed: name "
        "the dialect, or add one to baselines/point_query/dialects/known_dialects.py",
        kind=model_type,
        known=known,
    )
