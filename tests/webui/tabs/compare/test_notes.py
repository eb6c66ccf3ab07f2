"""Quiet notes on questions that the mini suite cannot understand."""

import numpy as np
import pytest

from evfsam.types import ImageView
from webui.i18n.translate import in_language
from webui.tabs.compare.notes import note_on
from webui.tabs.compare.runs import Progress


def note(phrase: str, *, suite: str = "mini", is_scene: bool = True) -> str:
    view = ImageView(np.zeros((8, 8, 3), dtype=np.uint8))
    return note_on(Progress(view, (phrase,), ("evf-sam",), (), 0.0, (None,)), suite, is_scene=is_scene)


@pytest.mark.parametrize(
    "phrase", ["the blue bus", "[semantic] giraffe", "all elephants", "the second hat from the left"]
)
def test_a_question_in_known_words_about_a_scene_needs_no_note(phrase: str) -> None:
    assert note(phrase) == ""


@pytest.mark.parametrize(
    ("phrase", "words"),
    [
        ("the left quasar", "does not know “quasar”"),
        ("the teapot", "point query alone has learnt “teapot”"),
        ("the men on the left", "point query alone has learnt “men”"),
        ("the pengiun", "“pengiun” was read as “penguin”"),
        ("左边的狗", "It reads English only."),
        ("the <b>", "“b”"),
    ],
)
def test_a_note_says_which_words_are_foreign_and_what_a_slip_was_taken_for(phrase: str, words: str) -> None:
    assert words in note(phrase)
    assert "<b>" not in note(phrase)
    assert note(phrase, suite="full") == ""


def test_a_picture_that_is_no_scene_is_told_also_in_chinese() -> None:
    assert "learnt from drawn scenes" in note("the dog", is_scene=False)
    with in_language("zh"):
        assert "mini" in note("the dog", is_scene=False)
        assert "learnt" not in note("the dog", is_scene=False)
