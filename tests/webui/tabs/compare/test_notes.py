"""Quiet notes on questions that the mini suite cannot understand."""

import numpy as np
import pytest

from evfsam.types import ImageView
from webui.i18n.translate import in_language
from webui.tabs.compare.notes import note_on
from webui.tabs.compare.runs import Progress


def note(
    phrase: str, *, suite: str = "mini", is_scene: bool = True, chosen: tuple[str, ...] = ("evf-sam", "clip-text")
) -> str:
    view = ImageView(np.zeros((8, 8, 3), dtype=np.uint8))
    return note_on(Progress(view, (phrase,), chosen, (), 0.0, (None,)), suite, is_scene=is_scene)


@pytest.mark.parametrize(
    "phrase", ["the blue bus", "[semantic] giraffe", "all elephants", "the second hat from the left"]
)
def test_a_question_in_known_words_about_a_scene_needs_no_note(phrase: str) -> None:
    assert note(phrase) == ""


@pytest.mark.parametrize(
    ("phrase", "words"),
    [
        ("the left quasar", "does not know “quasar”"),
        ("the teapot", "CLIP text has not learnt “teapot”"),
        ("the men on the left", "CLIP text has not learnt “men”"),
        ("the pengiun", "does not know “pengiun”; it may have read “penguin”."),
        ("the nose", "does not know “nose”. It knows the things"),
        ("the road under the sky", "does not know “road”, “sky”. It knows"),
        ("左边的狗", "It reads English only."),
        ("the <b>", "“b”"),
    ],
)
def test_a_note_says_which_words_are_foreign_and_what_a_slip_was_taken_for(phrase: str, words: str) -> None:
    assert words in note(phrase)
    assert "<b>" not in note(phrase)
    assert note(phrase, suite="full") == ""


def test_what_clip_text_has_not_learnt_is_told_where_it_answers() -> None:
    assert note("the teapot", chosen=("evf-sam", "point-query")) == ""


def test_a_picture_that_is_no_scene_is_told_also_in_chinese() -> None:
    assert "learnt from generated scenes" in note("the dog", is_scene=False)
    with in_language("zh"):
        assert "mini" in note("the dog", is_scene=False)
        assert "learnt" not in note("the dog", is_scene=False)
