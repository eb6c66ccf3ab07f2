"""The cached, batched way of asking must say what the slow and obvious way says."""

from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from baselines.point_query import dialects
from baselines.point_query.dialogue import Message
from baselines.point_query.language_model import LanguageModel
from baselines.point_query.strategy import grid_points
from evfsam.errors import CheckpointError, ConfigurationError, PhraseError
from evfsam.types import ImageView, See
from tests.baselines.tiny_models import (
    ABSENT_PHRASE,
    BOX,
    PHRASE,
    lies_on_object,
    tiny_llava,
    tiny_qwen,
    tiny_tokenizer,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
FIRST: list[Message] = [dialects.user_turn(dialects.box_question(PHRASE), with_image=True)]
TALK: list[Message] = [*FIRST, dialects.assistant_turn(dialects.boxes_answer([BOX]))]
FLOAT32_NOISE = 2e-6


def question(text: str) -> list[Message]:
    return [*TALK, dialects.user_turn(text)]


def point_questions(side: int = 5) -> list[list[Message]]:
    return [question(dialects.points_question(BOX, [point])) for point in grid_points(BOX, side)]


def without_cache(
    language: LanguageModel, dialogues: list[list[Message]], image: NDArray[np.uint8] = IMAGE
) -> torch.Tensor:
    """P(yes) from one full forward pass a dialogue."""
    picture = Image.fromarray(image)
    with torch.inference_mode():
        logits = [language.model(**language.encode(picture, messages)).logits[:, -1] for messages in dialogues]
    return language.yes_no(torch.cat(logits)).p_yes


def test_shared_cache_answers_as_full_dialogues_do(random_language: LanguageModel) -> None:
    with random_language.conversation(IMAGE) as conversation:
        cached = conversation.ask_each(point_questions())
    full = without_cache(random_language, point_questions())
    assert full.std() > 1e-4  # the points do change the answer
    torch.testing.assert_close(cached.p_yes, full, rtol=0, atol=FLOAT32_NOISE)


def test_going_on_from_the_answers_cache_changes_nothing(taught_language: LanguageModel) -> None:
    with taught_language.conversation(IMAGE) as conversation:
        alone = conversation.ask_each(point_questions())
        conversation.ask(FIRST, max_new_tokens=32)
        after_answer = conversation.ask_each(point_questions())
        again = conversation.ask_each(point_questions())
    torch.testing.assert_close(after_answer.p_yes, alone.p_yes, rtol=0, atol=FLOAT32_NOISE)
    assert torch.equal(after_answer.p_yes, again.p_yes)


def test_answers_cache_is_really_reused(taught_language: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    images_seen: list[bool] = []
    forward = taught_language.model.forward

    def watched(*args: object, **options: object) -> object:
        images_seen.append(options.get("pixel_values") is not None)
        return forward(*args, **options)

    with taught_language.conversation(IMAGE) as conversation:
        conversation.ask(FIRST, max_new_tokens=32)
        monkeypatch.setattr(taught_language.model, "forward", watched)
        conversation.ask_each(point_questions())
    assert images_seen == [False, False]  # the rest of the prefix, then all 25 questions at once


def test_another_first_turn_is_not_answered_from_the_old_cache(random_language: LanguageModel) -> None:
    other: list[Message] = [dialects.user_turn(dialects.box_question(ABSENT_PHRASE), with_image=True)]
    with random_language.conversation(IMAGE) as conversation:
        conversation.ask(other, max_new_tokens=5)
        cached = conversation.ask_each(point_questions())
    torch.testing.assert_close(
        cached.p_yes, without_cache(random_language, point_questions()), rtol=0, atol=FLOAT32_NOISE
    )


def test_questions_after_another_first_turn_leave_the_kept_cache_alone(random_language: LanguageModel) -> None:
    other = dialects.user_turn(dialects.box_question(ABSENT_PHRASE), with_image=True)
    with random_language.conversation(IMAGE) as conversation:
        conversation.ask(FIRST, max_new_tokens=5)
        conversation.ask_each([[other, dialects.user_turn(text)] for text in ("the red cup", "both cats")])
        dialogues = [[*FIRST, dialects.user_turn(text)] for text in ("0", "1")]
        cached = conversation.ask_each(dialogues)
    torch.testing.assert_close(cached.p_yes, without_cache(random_language, dialogues), rtol=0, atol=FLOAT32_NOISE)


def test_text_before_the_image_is_not_taken_from_the_old_cache(random_language: LanguageModel) -> None:
    def turn(text: str) -> list[Message]:
        return [{"role": "user", "content": [{"type": "text", "text": text}, {"type": "image"}]}]

    with random_language.conversation(IMAGE) as conversation:
        conversation.ask(turn("both"), max_new_tokens=5)
        dialogues = [[*turn("red"), dialects.user_turn(point)] for point in ("0", "1")]
        cached = conversation.ask_each(dialogues)
    torch.testing.assert_close(cached.p_yes, without_cache(random_language, dialogues), rtol=0, atol=FLOAT32_NOISE)


@pytest.mark.parametrize("asks_first", [False, True])
def test_models_with_positions_in_three_axes_answer_alike(asks_first: bool) -> None:
    language = LanguageModel(*tiny_qwen())
    with language.conversation(IMAGE) as conversation:
        if asks_first:
            conversation.ask(FIRST, max_new_tokens=8)
        cached = conversation.ask_each(point_questions())
    full = without_cache(language, point_questions())
    assert full.std() > 1e-3
    torch.testing.assert_close(cached.p_yes, full, rtol=0, atol=FLOAT32_NOISE)


@pytest.mark.parametrize("side", [1, 6])
def test_any_number_of_questions_is_answered(random_language: LanguageModel, side: int) -> None:
    with random_language.conversation(IMAGE) as conversation:
        cached = conversation.ask_each(point_questions(side))
    full = without_cache(random_language, point_questions(side))
    torch.testing.assert_close(cached.p_yes, full, rtol=0, atol=FLOAT32_NOISE)


def test_questions_of_unequal_length_do_not_disturb_each_other(random_language: LanguageModel) -> None:
    dialogues = [question(text) for text in ("cup", "the red cup and both cats", "Check if the points", "0")]
    with random_language.conversation(IMAGE) as conversation:
        cached = conversation.ask_each(dialogues)
    torch.testing.assert_close(cached.p_yes, without_cache(random_language, dialogues), rtol=0, atol=FLOAT32_NOISE)


def test_answers_depend_on_the_image(random_language: LanguageModel) -> None:
    with random_language.conversation(IMAGE) as first:
        seen = first.ask_each(point_questions())
    with random_language.conversation(255 - IMAGE) as second:
        other = second.ask_each(point_questions())
    assert (seen.p_yes - other.p_yes).abs().max() > 1e-4


def test_a_llava_looks_once_at_an_image_that_keeps_what_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = tiny_llava()
    looked: list[torch.Tensor] = []
    look = model.model.get_image_features

    @wraps(look)
    def counted(**options: Any) -> Any:
        looked.append(options["pixel_values"])
        return look(**options)

    monkeypatch.setattr(model.model, "get_image_features", counted)
    language = LanguageModel(model, processor)

    def answers(image: NDArray[np.uint8], seen: See | None) -> list[torch.Tensor]:
        with language.conversation(image, seen) as conversation:
            conversation.ask(FIRST, max_new_tokens=4)
            told = [conversation.ask_each(point_questions()).p_yes]
        with language.conversation(image, seen) as conversation:
            conversation.ask_together([FIRST, TALK[:1]], max_new_tokens=4, rival=None)
            return [*told, conversation.ask_each(point_questions()).p_yes]

    plain, view, other = answers(IMAGE, None), ImageView(IMAGE), ImageView(IMAGE[::-1])
    count, again = len(looked), [answers(view.image, view.seen) for _ in range(2)]
    assert count > 1
    assert len(looked) == count + 1
    assert all(torch.equal(one, told) for told_all in again for one, told in zip(plain, told_all, strict=True))
    turned = answers(other.image, other.seen)
    assert len(looked) == count + 2
    assert not torch.equal(turned[0], plain[0])
    answers(IMAGE, None)
    assert len(looked) == 2 * count + 2


@pytest.mark.parametrize("kind", ["llava", "qwen"])
def test_a_large_image_is_seen_as_its_picture_would_be_without_making_one(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    language = LanguageModel(*(tiny_llava() if kind == "llava" else tiny_qwen()))
    image = np.random.default_rng(1).integers(0, 256, (1100, 2000, 3), dtype=np.uint8)
    plain = language.encode(Image.fromarray(image), FIRST)
    seen: list[dict[str, torch.Tensor]] = []
    encode = language.encode
    monkeypatch.setattr(language, "encode", lambda *given: seen.append(encode(*given)) or seen[-1])
    monkeypatch.setattr(Image, "fromarray", lambda *_: 1 / 0)
    with language.conversation(image) as conversation:
        conversation.ask(FIRST, max_new_tokens=1)
        if kind == "qwen":
            rows, columns = conversation.resized_size()
            assert rows < columns
    assert seen[0].keys() == plain.keys()
    assert all(torch.equal(seen[0][name], plain[name]) for name in plain)


def test_spoken_answer_is_the_greedy_one(random_language: LanguageModel) -> None:
    with random_language.conversation(IMAGE) as conversation:
        answer = conversation.ask(FIRST, max_new_tokens=6)
    inputs = random_language.encode(Image.fromarray(IMAGE), FIRST)
    spoken: list[int] = []
    with torch.inference_mode():
        for _ in range(6):
            spoken.append(int(random_language.model(**inputs).logits[0, -1].argmax()))
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([spoken[-1:]])], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    assert answer == random_language.processor.tokenizer.decode(spoken, skip_special_tokens=True).strip()


def test_a_rival_answer_is_weighed_where_the_answer_begins(random_language: LanguageModel) -> None:
    with random_language.conversation(IMAGE) as conversation:
        answer, weight = conversation.ask_weighing(FIRST, max_new_tokens=5, rival=dialects.NO_OBJECT)
        assert answer == conversation.ask(FIRST, max_new_tokens=5)
    with torch.inference_mode():
        logits = random_language.model(**random_language.encode(Image.fromarray(IMAGE), FIRST)).logits[0, -1]
    first, token = random_language.encode_texts([FIRST, [*FIRST, dialects.assistant_turn(dialects.NO_OBJECT)]])
    begins = token[len(first)]
    assert weight == pytest.approx(float(logits.softmax(-1)[begins]), rel=1e-4)


def test_list_answer_is_read_where_it_is_spoken(taught_language: LanguageModel) -> None:
    points = grid_points(BOX, 5)[:9]
    messages = question(dialects.points_question(BOX, points))
    with taught_language.conversation(np.full_like(IMAGE, 127)) as conversation:
        spoken, answers = conversation.ask_list(messages, count=9)
    assert spoken == dialects.points_answer(lies_on_object(point) for point in points)
    assert [bool(p > 0.5) for p in answers.p_yes] == [lies_on_object(point) for point in points]
    assert answers.mass.min() > 0.8


def test_list_that_never_says_yes_or_no_gives_no_probability(random_language: LanguageModel) -> None:
    with random_language.conversation(IMAGE) as conversation:
        spoken, answers = conversation.ask_list(question("cup"), count=3)
    assert "Yes" not in spoken
    assert "No" not in spoken
    assert answers.p_yes.shape == answers.mass.shape == (0,)


def test_every_spelling_of_yes_counts() -> None:
    model, processor = tiny_llava()
    processor.tokenizer.add_tokens(["▁yes", "Ġno", "nobody"])
    language = LanguageModel(model, processor)
    vocabulary = processor.tokenizer.get_vocab()
    logits = torch.full((1, len(vocabulary)), -20.0)
    for token, probability in {"Yes": 0.2, "▁yes": 0.1, "No": 0.05, "Ġno": 0.05, "nobody": 0.6}.items():
        logits[0, vocabulary[token]] = np.log(probability)
    answer = language.yes_no(logits)
    assert answer.p_yes.item() == pytest.approx(0.75, abs=1e-4)
    assert answer.mass.item() == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("token", ["<image>", "</s>"])
def test_phrases_cannot_speak_for_the_dialogue(random_language: LanguageModel, token: str) -> None:
    with pytest.raises(PhraseError, match=f"'{token}', a control token"):
        random_language.check_words(f"the {token} cup")
    random_language.check_words("the <b> cup, 1 < 2 [x]")


def test_words_that_are_added_tokens_but_no_control_tokens_are_welcome() -> None:
    model, processor = tiny_llava()
    processor.tokenizer.add_tokens(["No dog"])
    LanguageModel(model, processor).check_words("No dog, please")


def test_saved_model_gives_the_same_answers(random_language: LanguageModel, tmp_path: Path) -> None:
    random_language.save_pretrained(tmp_path)
    loaded = LanguageModel.from_pretrained(tmp_path, device="cpu", dtype=torch.float32)
    assert torch.equal(without_cache(loaded, point_questions(2)), without_cache(random_language, point_questions(2)))
    with loaded.conversation(IMAGE) as ours, random_language.conversation(IMAGE) as theirs:
        assert ours.ask(FIRST, max_new_tokens=8) == theirs.ask(FIRST, max_new_tokens=8)


def test_loading_prints_nothing(
    random_language: LanguageModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    random_language.save_pretrained(tmp_path)
    LanguageModel.from_pretrained(tmp_path, device="cpu", dtype=torch.float32)
    assert capfd.readouterr() == ("", "")


def test_missing_directory_never_reaches_a_model_hub(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found none; train or copy"):
        LanguageModel.from_pretrained(tmp_path / "no-such-model", device="cpu", dtype=torch.float32)


def test_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a saved image-text-to-text model in"):
        LanguageModel.from_pretrained(tmp_path, device="cpu", dtype=torch.float32)


def test_weights_with_a_missing_key_are_refused(tmp_path: Path) -> None:
    model, processor = tiny_llava()
    state = model.state_dict()
    del state["model.language_model.layers.1.mlp.up_proj.weight"]
    model.save_pretrained(tmp_path, state_dict=state)
    processor.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"missing keys: .*layers\.1\.mlp\.up_proj\.weight"):
        LanguageModel.from_pretrained(tmp_path, device="cpu", dtype=torch.float32)


def test_processor_without_chat_template_is_refused() -> None:
    model, processor = tiny_llava()
    processor.chat_template = None
    with pytest.raises(ConfigurationError, match="no chat template"):
        LanguageModel(model, processor)


def test_tokenizer_that_spaces_out_digits_is_refused() -> None:
    model, processor = tiny_llava()
    spacing = tiny_tokenizer()
    spacing.backend_tokenizer.decoder = None
    processor.tokenizer = spacing
    with pytest.raises(ConfigurationError, match=r"gives back '\[000,123,456,789\]\(012,345\)', got '\[ 0 0 0"):
        LanguageModel(model, processor)
