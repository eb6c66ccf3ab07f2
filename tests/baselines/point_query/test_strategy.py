"""What reaches SAM, and what is said about it, for every kind of answer of the language model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from baselines.point_query import dialects
from baselines.point_query.dialogue import Message, YesNo
from baselines.point_query.language_model import LanguageModel
from baselines.point_query.options import PointQueryOptions, default_options
from baselines.point_query.strategy import PointQueryStrategy, grid_points, load_strategy
from evfsam.errors import CheckpointError, ConfigurationError, PhraseError
from evfsam.geometry import Frame, stretched_frame
from evfsam.types import (
    BoxXyxy,
    ImageEmbedding,
    ImageView,
    MaskPrediction,
    PromptPoint,
    RgbImage,
    SamPrompt,
    See,
    Segmentation,
    Strategy,
)
from tests.baselines.tiny_models import ABSENT_PHRASE, BOX, PHRASE, lies_on_object, tiny_llava, tiny_sam

GREY = np.full((40, 100, 3), 127, np.uint8)


@dataclass
class ScriptedLanguage:
    """Says what the test wants said, and remembers what it was asked."""

    answer: str
    p_yes: Sequence[float] = ()
    p_absent: float = 0.0
    asked: list[list[Message]] = field(default_factory=list)

    def check_words(self, phrase: str) -> None:
        del phrase

    @contextmanager
    def conversation(self, image: NDArray[np.uint8], seen: See | None = None) -> Iterator["ScriptedLanguage"]:
        del image, seen
        yield self

    def ask(self, messages: Sequence[Message], *, max_new_tokens: int) -> str:
        del max_new_tokens
        self.asked.append(list(messages))
        return self.answer

    def ask_weighing(self, messages: Sequence[Message], *, max_new_tokens: int, rival: str) -> tuple[str, float]:
        assert rival == dialects.NO_OBJECT
        return self.ask(messages, max_new_tokens=max_new_tokens), self.p_absent

    def ask_each(self, dialogues: Sequence[Sequence[Message]]) -> YesNo:
        self.asked.extend(list(messages) for messages in dialogues)
        p_yes = list(islice(cycle(self.p_yes), len(dialogues)))
        return YesNo(torch.tensor(p_yes), torch.ones(len(p_yes)))

    def resized_size(self) -> tuple[int, int] | None:
        return None

    def ask_list(self, messages: Sequence[Message], *, count: int) -> tuple[str, YesNo]:
        del count
        self.asked.append(list(messages))
        return "NoYes", YesNo(torch.tensor(self.p_yes), torch.ones(len(self.p_yes)))


class BoxPainter:
    """A mask backbone that fills the prompt's box, or a spot around each kept positive point."""

    encoder_identity = "painter"
    looks_closer = False

    def __init__(self, pred_iou: float = 0.7) -> None:
        self.prompts: list[SamPrompt] = []
        self.multimasks: list[bool] = []
        self._pred_iou = pred_iou

    def encode_image(self, image: RgbImage) -> ImageEmbedding:
        size = image.shape[:2]
        return ImageEmbedding(torch.zeros(1, 1, 1, 1), size, size, self.encoder_identity, 0.0)

    def frame(self, embedding: ImageEmbedding) -> Frame:
        return stretched_frame(embedding.original_size, 64)

    def decode(self, embedding: ImageEmbedding, prompt: SamPrompt, *, multimask: bool) -> MaskPrediction:
        self.prompts.append(prompt)
        self.multimasks.append(multimask)
        logits = torch.full(embedding.original_size, -1.0)
        if prompt.box is not None:
            x1, y1, x2, y2 = (round(value) for value in prompt.box)
            logits[y1:y2, x1:x2] = 1.0
        for point in prompt.points:
            logits[int(point.y), int(point.x)] = float(point.label and point.is_kept) or -1.0
        pred_iou = self._pred_iou - 0.1 * len(self.prompts)
        frame = stretched_frame(embedding.original_size, 64)
        return MaskPrediction(logits[None], torch.tensor([pred_iou]), 0, frame)

    def decode_many(
        self, embedding: ImageEmbedding, prompts: Sequence[SamPrompt], *, multimask: bool
    ) -> tuple[MaskPrediction, ...]:
        return tuple(self.decode(embedding, prompt, multimask=multimask) for prompt in prompts)


def run(
    language: ScriptedLanguage, dialect: dialects.Dialect = dialects.DIALECTS["sam4mllm"], **options: object
) -> tuple[Segmentation, BoxPainter]:
    backbone = BoxPainter()
    strategy = PointQueryStrategy(language, backbone, default_options(dialect), dialect=dialect)
    return strategy.with_options(**options).segment(ImageView(GREY), "the cup"), backbone


def last_text(messages: Sequence[Message]) -> str:
    return messages[-1]["content"][-1]["text"]  # type: ignore[index]


def test_answers_have_room_for_fifteen_boxes() -> None:
    """A box of Qwen's takes some 33 tokens."""
    assert PointQueryOptions().max_new_tokens == 512 >= 15 * 33


def test_box_and_confident_points_reach_sam() -> None:
    language = ScriptedLanguage("[100,200,300,600]", [0.95, 0.5, 0.02, 0.85])
    result, backbone = run(language, grid_size=2)
    (prompt,) = result.prompts
    assert backbone.prompts == [prompt]
    assert backbone.multimasks == [True]
    assert prompt.box == pytest.approx((10, 8, 30, 24))
    assert [(point.x, point.y) for point in prompt.points] == [(15, 12), (25, 12), (15, 20), (25, 20)]
    assert [point.label for point in prompt.points] == [1, 0, 0, 1]
    assert [point.is_kept for point in prompt.points] == [True, False, True, False]
    assert [point.p_yes for point in prompt.points] == pytest.approx([0.95, 0.5, 0.02, 0.85])
    assert [point.confidence for point in prompt.points] == pytest.approx([0.95, 0.5, 0.98, 0.85])
    assert result.verdict.kind == "found"
    assert result.pred_iou == pytest.approx(0.6)
    assert "The box, and 1 points on the object, 1 off it, 2 dropped." in [step.answered for step in result.trace]


def test_random_points_lie_in_the_box_and_are_the_same_for_a_seed() -> None:
    def asked(**options: object) -> list[tuple[float, float]]:
        result, _ = run(ScriptedLanguage("[100,200,300,600]", [0.95] * 9), grid_size=3, sampling="random", **options)
        return [(point.x, point.y) for point in result.prompts[0].points]

    points = asked()

    assert len(points) == 9
    assert all(10 <= x <= 30 and 8 <= y <= 24 for x, y in points)
    assert len({x for x, _ in points}) > 3
    assert asked() == points
    assert asked(sampling_seed=1) != points


def test_answers_at_the_threshold_are_kept() -> None:
    result, _ = run(ScriptedLanguage("[100,200,300,600]", [0.75, 0.25, 0.7, 0.3]), grid_size=2, threshold=0.75)
    assert [point.is_kept for point in result.prompts[0].points] == [True, True, False, False]


def test_each_point_is_asked_alone_after_the_whole_first_turn() -> None:
    language = ScriptedLanguage(" [100,200,300,600].", [0.5] * 4)
    run(language, grid_size=2)
    first, *questions = language.asked
    assert last_text(first) == dialects.box_question("the cup")
    assert first[0]["content"][0] == {"type": "image"}  # type: ignore[index]
    for messages, point in zip(questions, [(150, 300), (250, 300), (150, 500), (250, 500)], strict=True):
        assert messages[:2] == [*first, dialects.assistant_turn(" [100,200,300,600].")]
        assert last_text(messages) == dialects.points_question((100, 200, 300, 600), [point])


def test_joint_turn_lists_all_points_and_leaves_out_the_unanswered() -> None:
    language = ScriptedLanguage("[100,200,300,600]", [0.01, 0.99])
    result, _ = run(language, grid_size=2, turns="joint")
    assert len(language.asked) == 2
    listed = [(150, 300), (250, 300), (150, 500), (250, 500)]
    assert last_text(language.asked[1]) == dialects.points_question((100, 200, 300, 600), listed)
    assert [point.label for point in result.prompts[0].points] == [0, 1]
    step = result.trace[1]
    assert (step.answered, step.values["unanswered"]) == ("NoYes", 2)


def test_trace_keeps_raw_text_box_and_every_point() -> None:
    result, _ = run(ScriptedLanguage("It is [100,200,300,600] and [1,2]", [0.95, 0.5, 0.02, 0.6]), grid_size=2)
    box_step, point_step, prompt_step = result.trace
    assert box_step.asked == dialects.box_question("the cup")
    assert box_step.answered == "It is [100,200,300,600] and [1,2]"
    assert box_step.values["spoken_boxes"] == [[100, 200, 300, 600]]
    assert box_step.values["boxes"] == [pytest.approx([10, 8, 30, 24])]
    assert box_step.values["problems"] == ["[1,2] does not hold 4 whole numbers"]
    points = point_step.values["points"]
    assert [point["p_yes"] for point in points] == pytest.approx([0.95, 0.5, 0.02, 0.6])  # type: ignore[union-attr]
    assert [point["is_kept"] for point in points] == [True, False, True, False]  # type: ignore[union-attr]
    assert len(point_step.values["questions"]) == 4  # type: ignore[arg-type]
    assert point_step.answered == "YesNoNoYes"
    assert prompt_step.values["kept"] == prompt_step.values["dropped"] == 2


def test_without_a_kept_point_the_box_alone_prompts_sam_and_the_trace_says_so() -> None:
    for prompt_use in ("both", "points"):
        result, backbone = run(ScriptedLanguage("[100,200,300,600]", [0.6] * 4), grid_size=2, prompt=prompt_use)
        assert backbone.prompts[0].box is not None
        assert not any(point.is_kept for point in backbone.prompts[0].points)
        assert result.trace[-1].answered == "The box alone: no point was kept."


def test_a_box_without_a_kept_point_is_found_with_a_word_of_caution() -> None:
    result, _ = run(ScriptedLanguage("[100,200,300,600]", [0.6] * 4), grid_size=2)
    assert result.verdict.kind == "found"
    assert result.verdict.reason == "No point got an answer that was at least 90% sure; the box alone prompted SAM."
    certain, _ = run(ScriptedLanguage("[100,200,300,600]", [0.99] * 4), grid_size=2)
    assert certain.verdict.reason == ""


def test_positives_alone_leave_box_and_negatives_out() -> None:
    result, _ = run(ScriptedLanguage("[100,200,300,600]", [0.99, 0.01, 0.5, 0.95]), grid_size=2, prompt="positives")
    (prompt,) = result.prompts
    assert prompt.box is None
    assert [(point.label, point.is_kept) for point in prompt.points] == [(1, True), (0, False), (0, False), (1, True)]


def test_generated_negatives_are_dropped_with_positives_alone() -> None:
    language = ScriptedLanguage("[100,200,300,600] inside (150,300) outside (290,210)")
    result, _ = run(language, form="ppg", prompt="positives")
    assert [(point.label, point.is_kept) for point in result.prompts[0].points] == [(1, True), (0, False)]


QWEN = dialects.DIALECTS["qwen3-vl"]


def test_presence_is_asked_first_where_the_family_boxes_absent_objects_too() -> None:
    language = ScriptedLanguage('[{"bbox_2d": [100, 200, 300, 600]}]', [0.99] * 25)
    result, _ = run(language, QWEN)
    assert QWEN.presence_question is not None
    assert last_text(language.asked[0]) == QWEN.presence_question("the cup")
    assert [step.step for step in result.trace] == [
        "ask whether it is there",
        "ask for the box",
        "ask which points lie on the object",
        "prompt SAM",
    ]
    assert result.trace[0].values["threshold"] == 0.5
    assert result.trace[1].values["dialect"] == "qwen3-vl"


def test_an_absent_object_is_asked_for_no_box() -> None:
    language = ScriptedLanguage("[100, 200, 300, 600]", [0.3])
    result, backbone = run(language, QWEN)
    assert len(language.asked) == 1
    assert backbone.prompts == []
    assert result.embedding_was_cached, "nothing was encoded for it"
    assert result.verdict.kind == "absent"
    assert "was 30% sure of Yes; 50% are asked for" in result.verdict.reason
    lower, _ = run(ScriptedLanguage("[100, 200, 300, 600]", [0.3]), QWEN, presence_threshold=0.3, prompt="box")
    assert lower.verdict.kind == "found"


def test_presence_can_be_skipped() -> None:
    language = ScriptedLanguage("[100, 200, 300, 600]", [0.99] * 25)
    result, _ = run(language, QWEN, presence="skip")
    assert QWEN.box_question is not None
    assert last_text(language.asked[0]) == QWEN.box_question("the cup", "0+")
    assert result.trace[0].step == "ask for the box"


def test_presence_that_is_no_number_fails_in_words() -> None:
    result, _ = run(ScriptedLanguage("[1, 2, 3, 4]", [float("nan")]), QWEN)
    assert (result.verdict.kind, "not finite" in result.verdict.reason) == ("failed", True)


def test_the_small_models_dialect_has_its_own_word_for_absent_objects() -> None:
    with pytest.raises(ConfigurationError, match="SAM4MLLM is not asked about presence apart; use presence='skip'"):
        run(ScriptedLanguage("x"), presence="ask")


def test_a_family_that_is_not_asked_for_points_outright_says_so() -> None:
    with pytest.raises(ConfigurationError, match="Qwen3-VL is not asked for points outright; use form='pqpp'"):
        run(ScriptedLanguage("x"), QWEN, form="ppg")


def test_joint_turn_that_answers_prose_falls_back_to_the_box() -> None:
    result, backbone = run(ScriptedLanguage("[100,200,300,600]"), grid_size=2, turns="joint")
    assert backbone.prompts[0].points == ()
    assert backbone.prompts[0].box is not None
    assert result.trace[1].values["unanswered"] == 4
    assert "the box alone prompted SAM" in result.verdict.reason


def test_points_alone_leave_the_box_out() -> None:
    result, _ = run(ScriptedLanguage("[100,200,300,600]", [0.99, 0.01, 0.5, 0.5]), grid_size=2, prompt="points")
    assert result.prompts[0].box is None
    assert result.verdict.kind == "found"


def test_points_alone_take_the_box_along_when_all_lie_off_the_object() -> None:
    result, _ = run(ScriptedLanguage("[100,200,300,600]", [0.01] * 4), grid_size=2, prompt="points")
    assert result.prompts[0].box is not None
    assert "The box as well: no kept point is on the object." in result.trace[-1].answered


def test_box_alone_asks_no_point() -> None:
    language = ScriptedLanguage("[100,200,300,600]")
    result, _ = run(language, prompt="box")
    assert len(language.asked) == 1
    assert result.prompts[0].box is not None
    assert result.prompts[0].points == ()
    assert result.trace[-1].answered == "The box alone, as the options say."


def marked(
    answer: str, points: Sequence[PromptPoint] = (), box: BoxXyxy | None = None
) -> tuple[Segmentation, BoxPainter, ScriptedLanguage]:
    language, backbone = ScriptedLanguage(answer, [0.99]), BoxPainter()
    strategy = PointQueryStrategy(language, backbone).with_prompt(points, box)
    return strategy.segment(ImageView(GREY), "the cup"), backbone, language


def test_a_given_box_takes_the_place_of_the_language_model_s() -> None:
    click = PromptPoint(12, 5, 0)
    answer, backbone, language = marked("[100, 250, 500, 750]", (click,), (10, 4, 30, 20))
    assert language.asked == []
    (prompt,) = backbone.prompts
    assert (prompt.box, prompt.points) == ((10, 4, 30, 20), (click,))
    assert backbone.multimasks == [False]
    assert answer.verdict.kind == "found"
    assert [entry.step for entry in answer.trace] == ["add the given box and points"]
    assert "was not asked" in answer.trace[0].answered
    assert answer.trace[0].values == {"box": [10, 4, 30, 20], "points": [[12, 5, 0]]}


def test_given_points_in_its_box_are_added_to_what_the_language_model_says() -> None:
    on_it, off_it = PromptPoint(30, 20, 1), PromptPoint(90, 2, 0)
    plain, _, _ = marked("[100, 250, 500, 750]")
    answer, backbone, language = marked("[100, 250, 500, 750]", (on_it, off_it))
    assert language.asked
    (prompt,) = backbone.prompts
    assert prompt.box == plain.prompts[0].box
    assert prompt.points == (*plain.prompts[0].points, on_it, off_it)
    assert answer.trace[-1].answered == "The given points as well."


def test_a_given_point_beside_all_boxes_takes_their_place() -> None:
    points = (PromptPoint(90, 2, 1), PromptPoint(30, 20, 0))
    answer, backbone, _ = marked("[100, 250, 500, 750]", points)
    (prompt,) = backbone.prompts
    assert (prompt.box, prompt.points) == (None, points)
    assert "alone" in answer.trace[-1].answered


def test_each_of_several_boxes_gets_the_points_in_it() -> None:
    left, right, off_it = PromptPoint(15, 12, 1), PromptPoint(80, 30, 1), PromptPoint(99, 39, 0)
    _, backbone, _ = marked("[100, 250, 500, 750], [700, 250, 900, 900]", (left, right, off_it))
    given = [[point for point in prompt.points if point.p_yes is None] for prompt in backbone.prompts]
    assert given == [[left, off_it], [right, off_it]]


@pytest.mark.parametrize("answer", [dialects.NO_OBJECT, "I cannot see it."])
def test_a_point_on_what_the_language_model_did_not_find_prompts_sam(answer: str) -> None:
    click = PromptPoint(50, 20, 1)
    found, backbone, _ = marked(answer, (click,))
    assert found.verdict.kind == "found"
    assert backbone.prompts[0].points == (click,)
    missed, backbone, _ = marked(answer, (PromptPoint(50, 20, 0),))
    assert missed.verdict.kind != "found"
    assert backbone.prompts == []


def test_several_boxes_make_several_masks_that_are_joined() -> None:
    answer = "[000,000,200,500],[500,500,700,900],[000,000,200,500]"
    result, backbone = run(ScriptedLanguage(answer), prompt="box")
    assert len(result.prompts) == len(result.predictions) == len(backbone.prompts) == 2
    assert result.mask.sum() == 20 * 20 + 20 * 16
    assert result.pred_iou == pytest.approx(0.5)  # the lowest
    assert result.trace[0].values["boxes_left_out"] == 1  # the repeated one


def test_boxes_without_end_are_cut_off() -> None:
    answer = ",".join(dialects.format_box((i, 0, i + 10, 10)) for i in range(30))
    result, _ = run(ScriptedLanguage(answer), prompt="box")
    assert len(result.prompts) == 8
    assert result.trace[0].values["boxes_left_out"] == 22


@pytest.mark.parametrize("form", ["pqpp", "ppg"])
@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        ("No object found.", "absent", 'The language model answered "No object found."'),
        ("The cup is red.", "failed", 'answered without a box: "The cup is red."'),
        ("", "failed", 'answered without a box: ""'),
        ("x" * 500, "failed", "x" * 120 + "…"),
        ("[300,200,100,600]", "failed", "no usable box: [300,200,100,600] has its corners reversed"),
        ("[300,200,300,600]", "failed", "no usable box: [300,200,300,600] has no area"),
        ("[300,200,1300,600]", "failed", "[300,200,1300,600] leaves the range 0..1000"),
    ],
)
def test_answers_without_a_box_are_put_into_words(form: str, answer: str, kind: str, reason: str) -> None:
    result, backbone = run(ScriptedLanguage(answer), form=form)
    assert result.verdict.kind == kind
    assert reason in result.verdict.reason
    assert result.trace[0].answered == answer
    assert backbone.prompts == []
    assert result.mask.shape == (40, 100)
    assert not result.mask.any()
    assert result.pred_iou is None


def test_numbers_that_are_not_finite_fail_in_words() -> None:
    result, _ = run(ScriptedLanguage("[100,200,300,600]", [float("nan")] * 4), grid_size=2)
    assert result.verdict.kind == "failed"
    assert "not finite" in result.verdict.reason


def test_sam_that_draws_nothing_is_a_failure_in_words() -> None:
    result, _ = run(ScriptedLanguage("[000,000,001,001]"), prompt="box")
    assert result.verdict.kind == "failed"
    assert "drew no pixel" in result.verdict.reason


def test_generated_points_all_reach_sam() -> None:
    language = ScriptedLanguage("[100,200,300,600] inside (150,300) (200,400) outside (290,210)")
    result, _ = run(language, form="ppg")
    assert last_text(language.asked[0]) == dialects.prompt_points_question("the cup")
    (prompt,) = result.prompts
    assert prompt.box == pytest.approx((10, 8, 30, 24))
    assert [(point.x, point.y, point.label) for point in prompt.points] == [(15, 12, 1), (20, 16, 1), (29, 8.4, 0)]
    assert all(point.is_kept and point.p_yes is None for point in prompt.points)


def test_count_goes_into_the_question() -> None:
    language = ScriptedLanguage("no")
    run(language, count="1+")
    assert "(1+)" in last_text(language.asked[0])


def test_options_make_a_copy_that_shares_the_weights() -> None:
    strategy = PointQueryStrategy(ScriptedLanguage("x"), BoxPainter())  # type: ignore[arg-type]
    copy = strategy.with_options(threshold=0.6, grid_size=3)
    assert (copy.options.threshold, copy.options.grid_size, copy.options.form) == (0.6, 3, "pqpp")
    assert strategy.options == PointQueryOptions()
    assert copy.language is strategy.language
    assert copy.backbone is strategy.backbone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tempo": 1}, "no option tempo; it has form, prompt"),
        ({"form": "xyz"}, r"form of \('pqpp', 'ppg'\), got 'xyz'"),
        ({"prompt": None}, "prompt of .*, got None"),
        ({"turns": "both"}, "turns of .*, got 'both'"),
        ({"count": "2"}, "count of .*, got '2'"),
        ({"grid_size": 0}, "grid_size between 1 and 20, got 0"),
        ({"grid_size": 2.5}, r"grid_size between 1 and 20, got 2\.5"),
        ({"grid_size": True}, "grid_size between 1 and 20, got True"),
        ({"sampling": "spiral"}, r"sampling of \('grid', 'random'\), got 'spiral'"),
        ({"sampling_seed": -1}, r"sampling_seed between 0"),
        ({"threshold": 0.4}, r"threshold between 0\.5 and 1, got 0\.4"),
        ({"threshold": float("nan")}, r"threshold between 0\.5 and 1, got nan"),
        ({"threshold": "high"}, r"threshold between 0\.5 and 1, got 'high'"),
        ({"presence": True}, "presence of .*, got True"),
        ({"presence_threshold": 1.5}, r"presence_threshold between 0 and 1, got 1\.5"),
        ({"max_new_tokens": 1}, "max_new_tokens between 8 and 1024, got 1"),
    ],
)
def test_options_out_of_range_are_refused_in_words(options: dict[str, object], message: str) -> None:
    strategy = PointQueryStrategy(ScriptedLanguage("x"), BoxPainter())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=message):
        strategy.with_options(**options)


@given(
    corners=st.lists(st.integers(0, 1000), min_size=4, max_size=4),
    grid_size=st.integers(1, 20),
)
def test_grid_lies_in_the_box_row_by_row(corners: list[int], grid_size: int) -> None:
    x1, x2 = sorted(corners[:2])
    y1, y2 = sorted(corners[2:])
    points = grid_points((x1, y1, x2, y2), grid_size)
    assert len(points) == grid_size**2
    assert all(x1 <= x <= x2 and y1 <= y <= y2 for x, y in points)
    assert list(points) == sorted(points, key=lambda point: point[1])
    assert [point[0] for point in points[:grid_size]] == sorted(point[0] for point in points[:grid_size])


def test_grid_takes_the_centres_of_the_cells() -> None:
    assert grid_points((100, 0, 200, 50), 2) == ((125, 12), (175, 12), (125, 38), (175, 38))


def test_taught_model_finds_its_object_and_judges_all_25_points(taught_language: LanguageModel) -> None:
    strategy = PointQueryStrategy(taught_language, tiny_sam())
    assert isinstance(strategy, Strategy)
    result = strategy.segment(ImageView(GREY), PHRASE)
    points = result.prompts[0].points
    assert result.trace[0].answered == dialects.format_box(BOX)
    assert [point.label for point in points] == [int(lies_on_object(point)) for point in grid_points(BOX, 5)]
    assert all(point.is_kept for point in points)
    assert result.mask_logits.shape == (40, 100)
    assert set(result.seconds) == {"ask for the box", "ask for the points", "encode image", "decode"}


def test_taught_model_says_so_when_the_object_is_absent(taught_language: LanguageModel) -> None:
    result = PointQueryStrategy(taught_language, tiny_sam()).segment(ImageView(GREY), ABSENT_PHRASE)
    assert result.verdict.kind == "absent"
    assert result.trace[0].answered == dialects.NO_OBJECT


def test_taught_model_generates_its_points(taught_language: LanguageModel) -> None:
    strategy = PointQueryStrategy(taught_language, tiny_sam()).with_options(form="ppg")
    (prompt,) = strategy.segment(ImageView(GREY), PHRASE).prompts
    assert [point.label for point in prompt.points] == [1, 1, 0]


def test_box_alone_and_box_with_points_give_different_masks(taught_language: LanguageModel) -> None:
    strategy = PointQueryStrategy(taught_language, tiny_sam())
    view = ImageView(GREY)
    with_points = strategy.segment(view, PHRASE)
    box_alone = strategy.with_options(prompt="box").segment(view, PHRASE)
    assert box_alone.embedding_was_cached
    assert not torch.equal(with_points.mask_logits, box_alone.mask_logits)


def test_control_tokens_in_a_phrase_are_refused(taught_language: LanguageModel) -> None:
    with pytest.raises(PhraseError, match="control token"):
        PointQueryStrategy(taught_language, tiny_sam()).segment(ImageView(GREY), "a cup <image>")


def test_saved_checkpoint_segments_as_before(taught_language: LanguageModel, tmp_path: Path) -> None:
    backbone = tiny_sam()
    taught_language.save_pretrained(tmp_path / "mllm")
    backbone.save_pretrained(tmp_path / "sam")
    loaded = load_strategy(tmp_path, device="cpu", dtype=torch.float32)
    before = PointQueryStrategy(taught_language, backbone).segment(ImageView(GREY), PHRASE)
    after = loaded.segment(ImageView(GREY), PHRASE)
    assert [point.label for point in after.prompts[0].points] == [point.label for point in before.prompts[0].points]
    torch.testing.assert_close(after.mask_logits, before.mask_logits, rtol=0, atol=1e-5)


def test_checkpoint_without_a_language_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"checkpoint directory at .*mllm, found none"):
        load_strategy(tmp_path, device="cpu", dtype=torch.float32)


def test_untaught_model_fails_in_words_instead_of_raising() -> None:
    strategy = PointQueryStrategy(LanguageModel(*tiny_llava()), tiny_sam())
    strategy = replace(strategy, options=PointQueryOptions(max_new_tokens=8))
    result = strategy.segment(ImageView(GREY), "a cup")
    assert result.verdict.kind == "failed"
    assert result.verdict.reason


@pytest.mark.parametrize(
    ("p_absent", "threshold", "verdict"), [(0.3, 0.25, "absent"), (0.2, 0.25, "found"), (1, 1, "found")]
)
def test_a_box_is_not_believed_where_the_answer_for_nothing_was_likely(
    p_absent: float, threshold: float, verdict: str
) -> None:
    language = ScriptedLanguage("[100,200,300,600]", p_absent=p_absent)
    result, backbone = run(language, prompt="box", absence_threshold=threshold)
    assert result.verdict.kind == verdict
    assert len(backbone.prompts) == (verdict == "found")
    assert result.trace[0].values["p_absent"] == p_absent
    if verdict == "absent":
        assert (
            '"No object found." had a probability of 30%; from 25% on its box is not believed' in result.verdict.reason
        )


def test_phrases_asked_together_are_answered_as_alone(taught_language: LanguageModel) -> None:
    phrases = (PHRASE, ABSENT_PHRASE, PHRASE)
    strategy, view = PointQueryStrategy(taught_language, tiny_sam()), ImageView(GREY)
    alone = [strategy.segment(view, phrase) for phrase in phrases]
    together = strategy.segment_many(view, phrases)
    assert [each.verdict.kind for each in together] == ["found", "absent", "found"]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.verdict == theirs.verdict
        assert [(step.step, step.asked, step.answered) for step in ours.trace] == [
            (step.step, step.asked, step.answered) for step in theirs.trace
        ]
        for mine, other in zip(ours.prompts, theirs.prompts, strict=True):
            assert mine.box == other.box
            assert [(point.x, point.y, point.label, point.is_kept) for point in mine.points] == [
                (point.x, point.y, point.label, point.is_kept) for point in other.points
            ]
            assert [point.p_yes for point in mine.points] == pytest.approx(
                [point.p_yes for point in other.points], abs=1e-4
            )
        torch.testing.assert_close(ours.mask_logits, theirs.mask_logits, atol=1e-4, rtol=0)


def test_phrases_asked_together_see_the_image_once_and_all_their_points_at_once(
    taught_language: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    images_seen: list[bool] = []
    forward = taught_language.model.forward

    @wraps(forward)
    def watched(*args: object, **options: object) -> object:
        images_seen.append(options.get("pixel_values") is not None)
        return forward(*args, **options)

    strategy, view = PointQueryStrategy(taught_language, tiny_sam()), ImageView(GREY)
    monkeypatch.setattr(taught_language.model, "forward", watched)
    strategy.segment(view, PHRASE)
    alone = len(images_seen)
    images_seen.clear()
    strategy.segment_many(view, (PHRASE, ABSENT_PHRASE, PHRASE, PHRASE))
    assert sum(images_seen) == 1
    assert len(images_seen) <= alone + 3  # the questions' own beginnings, and a second batch of points


def test_a_family_whose_cache_cannot_branch_is_asked_one_phrase_after_the_other() -> None:
    language = ScriptedLanguage("[100,200,300,600]", [0.95, 0.95, 0.02, 0.5])
    strategy = PointQueryStrategy(language, BoxPainter(), PointQueryOptions(grid_size=2))
    first, second = strategy.segment_many(ImageView(GREY), ("the cup", "the red cup"))
    assert [len(messages) for messages in language.asked] == [1, 1, *[3] * 8]
    assert first.verdict.kind == second.verdict.kind == "found"
    assert [point.is_kept for point in second.prompts[0].points] == [True, True, True, False]
    assert "the red cup" in second.trace[0].asked
