"""What a multimodal language model is asked and how its answer is read: one dialect a model family.

The names of SAM4MLLM's own dialect, which the small language model was trained on, are here at the top; the others are
entries of `DIALECTS`.
"""

from baselines.point_query.dialects.answer_parsing import ParsedBoxes, ParsedPromptPoints, PromptGroup
from baselines.point_query.dialects.conventions import CoordinateConvention, CoordinateGrid, SpokenBox, SpokenPoint
from baselines.point_query.dialects.known_dialects import DIALECTS, Dialect, dialect_of_model, find_dialect
from baselines.point_query.dialects.questions import assistant_turn, system_turn, user_turn
from baselines.point_query.dialects.sam4mllm import (
    NO,
    NO_OBJECT,
    OBJECT_COUNTS,
    YES,
    ObjectCount,
    RelativeBox,
    RelativePoint,
    box_question,
    boxes_answer,
    format_box,
    format_point,
    parse_boxes,
    parse_points_answer,
    parse_prompt_points,
    pixel_box,
    pixel_point,
    points_answer,
    points_question,
    prompt_points_answer,
    prompt_points_question,
    relative_box,
    relative_point,
)

__all__ = [
    "DIALECTS",
    "NO",
    "NO_OBJECT",
    "OBJECT_COUNTS",
    "YES",
    "CoordinateConvention",
    "CoordinateGrid",
    "Dialect",
    "ObjectCount",
    "ParsedBoxes",
    "ParsedPromptPoints",
    "PromptGroup",
    "RelativeBox",
    "RelativePoint",
    "SpokenBox",
    "SpokenPoint",
    "assistant_turn",
    "box_question",
    "boxes_answer",
    "dialect_of_model",
    "find_dialect",
    "format_box",
    "format_point",
    "parse_boxes",
    "parse_points_answer",
    "parse_prompt_points",
    "pixel_box",
    "pixel_point",
    "points_answer",
    "points_question",
    "prompt_points_answer",
    "prompt_points_question",
    "relative_box",
    "relative_point",
    "system_turn",
    "user_turn",
]
