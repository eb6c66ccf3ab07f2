"""Branches of one cache must be read as each dialogue would be by itself."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers.cache_utils import DynamicCache

from baselines.point_query import dialects
from baselines.point_query.branches import Branch, BranchingCache, can_branch, can_choose_greedily
from baselines.point_query.dialogue import Message, YesNo
from baselines.point_query.language_model import LanguageModel
from tests.baselines.tiny_models import ABSENT_PHRASE, BOX, PHRASE, tiny_llava, tiny_qwen

FLOAT32_NOISE = 1e-4
IMAGE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
PHRASES = (PHRASE, ABSENT_PHRASE, "both cats and the red cup", "0")


@pytest.fixture(params=["llava", "qwen"])
def language(request: pytest.FixtureRequest) -> LanguageModel:
    return LanguageModel(*(tiny_llava() if request.param == "llava" else tiny_qwen()))


def asked(phrase: str) -> list[Message]:
    return [dialects.user_turn(dialects.box_question(phrase), with_image=True)]


def about_point(phrase: str, answer: str, x: int) -> list[Message]:
    question = dialects.points_question(BOX, [(x, 400)])
    return [*asked(phrase), dialects.assistant_turn(answer), dialects.user_turn(question)]


def alone(language: LanguageModel, dialogues: list[list[Message]]) -> YesNo:
    image = Image.fromarray(IMAGE)
    with torch.inference_mode():
        logits = [language.model(**language.encode(image, messages)).logits[:, -1] for messages in dialogues]
    return language.yes_no(torch.cat(logits))


def test_answers_spoken_side_by_side_are_those_spoken_alone(language: LanguageModel) -> None:
    rival = dialects.NO_OBJECT
    with language.conversation(IMAGE) as chat:
        apart = [chat.ask_weighing(asked(phrase), max_new_tokens=7, rival=rival) for phrase in PHRASES]
    with language.conversation(IMAGE) as chat:
        assert chat.can_ask_together()
        together = chat.ask_together([asked(phrase) for phrase in PHRASES], max_new_tokens=7, rival=rival)
    assert [answer for answer, _ in together] == [answer for answer, _ in apart]
    assert [weight for _, weight in together] == pytest.approx([weight for _, weight in apart], abs=FLOAT32_NOISE)


def test_questions_after_several_answers_are_read_in_their_order_as_alone(language: LanguageModel) -> None:
    with language.conversation(IMAGE) as chat:
        answers = chat.ask_together([asked(phrase) for phrase in PHRASES], max_new_tokens=7, rival=None)
        dialogues = [
            about_point(phrase, answer, x)
            for x in (100, 250, 900)
            for phrase, (answer, _) in zip(PHRASES, answers, strict=True)
        ]
        read = chat.ask_each(dialogues)
        again = chat.ask_each(dialogues[::-1])
    expected = alone(language, dialogues)
    assert expected.p_yes.std() > 1e-3
    torch.testing.assert_close(read.p_yes, expected.p_yes, rtol=0, atol=FLOAT32_NOISE)
    torch.testing.assert_close(again.p_yes.flip(0), expected.p_yes, rtol=0, atol=FLOAT32_NOISE)


def test_a_pass_is_shown_only_what_its_own_branches_have_seen(
    language: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[tuple[tuple[int, int], bool]] = []
    forward = BranchingCache._forward

    def noted(tree: BranchingCache, allowed: NDArray[np.bool_], *given: NDArray[np.int_]) -> torch.Tensor:
        passes.append((allowed.shape, bool(allowed.any(axis=0).all())))
        return forward(tree, allowed, *given)

    monkeypatch.setattr("baselines.point_query.branches.ENDS_AT_ONCE", 3)
    with language.conversation(IMAGE) as chat:
        answers = chat.ask_together([asked(phrase) for phrase in PHRASES], max_new_tokens=7, rival=None)
        monkeypatch.setattr(BranchingCache, "_forward", noted)
        dialogues = [
            about_point(phrase, answer, x)
            for phrase, (answer, _) in zip(PHRASES, answers, strict=True)
            for x in (100, 250, 900)
        ]
        read = chat.ask_each(dialogues)
    ((_, cached), _), *ends = passes
    assert len(ends) == len(PHRASES)
    assert all(tokens - fed < cached and is_all_seen for (fed, tokens), is_all_seen in ends)
    torch.testing.assert_close(read.p_yes, alone(language, dialogues).p_yes, rtol=0, atol=FLOAT32_NOISE)


def test_what_branches_begin_with_alike_is_fed_once(language: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [BOX, (10, 20, 300, 400)]
    fed: list[NDArray[np.int_]] = []
    forward = BranchingCache._forward

    def noted(tree: BranchingCache, allowed: NDArray[np.bool_], *given: NDArray[np.int_]) -> torch.Tensor:
        fed.append(given[0])
        return forward(tree, allowed, *given)

    monkeypatch.setattr(BranchingCache, "_forward", noted)
    dialogues = [
        [
            *asked(PHRASE),
            dialects.assistant_turn("as was said"),
            dialects.user_turn(dialects.points_question(box, [(x, y)])),
        ]
        for box in boxes
        for y in (100, 400)
        for x in (120, 125)
    ]
    with language.conversation(IMAGE) as chat:
        read = chat.ask_each(dialogues)
    (ids,) = fed
    texts = [tuple(each) for each in language.encode_texts(dialogues)]
    beginnings = {text[: end + 1] for text in texts for end in range(len(text))}
    shared = max(end for end in range(len(texts[0])) if len({text[:end] for text in texts}) == 1)
    assert len(ids) == len(beginnings) - shared
    torch.testing.assert_close(read.p_yes, alone(language, dialogues).p_yes, rtol=0, atol=FLOAT32_NOISE)


def test_a_branch_is_cut_back_from_its_end() -> None:
    branch = Branch((5, 6, 7), np.array([True, True, False, True, True, True, False]), 9)
    cut = branch.cut(1)
    assert cut.ids == (5,)
    assert cut.position == 7
    assert cut.seen.tolist() == [True, True, False, True, False, False, False]
    assert branch.cut(3) is branch


def test_models_that_attend_otherwise_than_a_mask_says_do_not_branch() -> None:
    language = LanguageModel(*tiny_llava())
    with language.conversation(IMAGE) as chat:
        assert chat.can_ask_together()
        language.model.config.get_text_config().sliding_window = 8
        assert not chat.can_ask_together()


def test_models_that_choose_words_otherwise_than_greedily_are_not_asked_together() -> None:
    model, _ = tiny_llava()
    assert can_choose_greedily(model)
    model.generation_config.repetition_penalty = 1.3
    assert not can_choose_greedily(model)
    model.generation_config.repetition_penalty = 1.0
    assert can_choose_greedily(model)


def test_an_attention_that_takes_no_mask_does_not_branch() -> None:
    model, _ = tiny_llava()
    cache = DynamicCache(config=model.config)
    assert can_branch(model, cache)
    model.config._attn_implementation = "flash_attention_2"
    assert not can_branch(model, cache)
