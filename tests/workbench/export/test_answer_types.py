"""What programs get keeps the schemas that are read off its types."""

from typing import Annotated, Literal, TypedDict

import jsonschema
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.webui.fakes import channel_mask, fake_comparison, three_colours
from workbench.analysis.attention_view import attention_view
from workbench.datasets.scenes import scene
from workbench.export.answer_json import attention_answer, compare_answer, scene_answer, segment_answer, strategy_list
from workbench.export.answer_types import (
    About,
    AttentionAnswer,
    CompareAnswer,
    SceneAnswer,
    SegmentAnswer,
    StrategyList,
    json_schema,
)


class Sample(TypedDict):
    """A sample. More words."""

    share: Annotated[float, About("a share", least=0, most=1)]
    kind: Literal["a", "b"]
    box: tuple[float, float] | None
    names: Annotated[list[str], About("names", longest=3)]
    anything: dict[str, object]


def test_a_schema_holds_types_bounds_choices_and_meanings() -> None:
    schema = json_schema(Sample)
    assert schema["description"] == "A sample. More words."
    assert schema["required"] == ["share", "kind", "box", "names", "anything"]
    pair = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    assert schema["properties"] == {
        "share": {"type": "number", "description": "a share", "minimum": 0, "maximum": 1},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "box": {"anyOf": [pair, {"type": "null"}]},
        "names": {"type": "array", "items": {"type": "string"}, "description": "names", "maxItems": 3},
        "anything": {"type": "object", "additionalProperties": True},
    }


def test_a_type_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="that JSON can hold"):
        json_schema(set[int])


@pytest.mark.parametrize("phrase", ["a square", "absent", "a square; absent", "explode"])
def test_answers_keep_their_schemas(phrase: str) -> None:
    comparison, _ = fake_comparison()
    run = comparison.run(three_colours(), phrase)
    view, phrases, results = run.view, run.question.phrases, list(run)
    jsonschema.validate(compare_answer(results, view, phrases, "fake"), json_schema(CompareAnswer), cls=as_json())
    for result in results:
        jsonschema.validate(segment_answer(result, view, phrases, "fake"), json_schema(SegmentAnswer), cls=as_json())
    jsonschema.validate(strategy_list(comparison), json_schema(StrategyList), cls=as_json())


def test_attention_and_scenes_keep_their_schemas() -> None:
    comparison, _ = fake_comparison()
    view = comparison.view(three_colours())
    (result,) = comparison.run(view, ["a square"], ["evf-sam"])
    attention = attention_view(result, view.image, "a square")
    assert attention is not None
    answer = attention_answer(result, attention, 0, 0)
    jsonschema.validate(answer, json_schema(AttentionAnswer), cls=as_json())
    assert np.shape(answer["map"]) == answer["patch_grid"]
    jsonschema.validate(scene_answer(scene(5, 64)), json_schema(SceneAnswer), cls=as_json())


def test_the_mask_the_box_and_the_share_are_those_of_the_answer() -> None:
    comparison, _ = fake_comparison()
    image = three_colours()
    view = comparison.view(image)
    (result,) = comparison.run(view, ["a square"], ["clip-text"])
    answer = segment_answer(result, view, ["a square"], "fake")
    wanted = channel_mask(image, 1)
    assert np.array_equal(coco_mask.decode(answer["mask_rle"]).astype(bool), wanted)
    rows, columns = np.nonzero(wanted)
    assert answer["box"] == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert answer["area_share"] == pytest.approx(wanted.mean(), abs=1e-6)
    assert answer["image_size"] == (240, 320)


def test_a_long_trace_is_cut() -> None:
    comparison, _ = fake_comparison()
    view = comparison.view(three_colours())
    (result,) = comparison.run(view, ["x" * 900], ["evf-sam"])
    (step,) = segment_answer(result, view, ["x" * 900], "fake")["trace"]
    assert len(step["asked"]) == 400
    assert step["asked"].endswith("…")


def as_json() -> type[jsonschema.Draft202012Validator]:
    """A validator that takes tuples for arrays, which JSON makes of them."""
    checker = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "array", lambda _, value: isinstance(value, list | tuple)
    )
    return jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=checker)
