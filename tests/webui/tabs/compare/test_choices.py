import re
from html import escape

from tests.webui.fakes import HEADS, fake_comparison, three_colours
from webui.known_scenes import read_examples
from webui.tabs.compare.choices import example_buttons, head_buttons, phrase_buttons
from workbench.analysis.attention_view import ALL_HEADS, ROLLOUT, AttentionView, attention_view


def view() -> AttentionView:
    comparison, _ = fake_comparison()
    (result,) = comparison.run(three_colours(), "red", ["evf-sam"])
    made = attention_view(result, three_colours())
    assert made is not None
    return made


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


def test_the_sum_and_every_head_can_be_chosen_and_one_is_marked() -> None:
    page = head_buttons(view(), 2, 3)
    assert page.count("<button") == HEADS + 1
    assert re.findall(r'data-index="(\d)" data-value="[^"]*" aria-pressed="true"', page) == ["3"]


def test_the_rollout_has_no_heads_to_choose() -> None:
    assert "<button" not in head_buttons(view(), ROLLOUT, ALL_HEADS)
