from html import escape

import pytest

from evfsam.errors import ConfigurationError
from webui.known_scenes import read_examples
from webui.tabs.compare.controls import checked_choice, example_buttons, phrase_buttons


def test_phrases_are_buttons_that_carry_their_text_escaped() -> None:
    page = phrase_buttons(['the "big" <b>', "the cup"])
    assert page.count('<button type="button"') == 2
    assert 'data-value="the &quot;big&quot; &lt;b&gt;"' in page
    assert "<b>" not in page


def test_without_phrases_the_place_says_where_they_come_from() -> None:
    assert "random scene" in phrase_buttons(())


def test_every_example_is_a_button_with_title_and_picture() -> None:
    examples = read_examples()
    page = example_buttons(examples)
    assert page.count("<button") == page.count("<img") == len(examples) >= 10
    assert all(escape(example.title) in page for example in examples)


@pytest.mark.parametrize("given", [1.5, True, None, "0", float("nan"), 1e12])
def test_what_is_no_whole_number_is_refused(given: object) -> None:
    with pytest.raises(ConfigurationError, match="expected a whole number as layer"):
        checked_choice(given, "layer")
    assert checked_choice(2.0, "layer") == 2
