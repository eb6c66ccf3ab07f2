"""Phrases, example pictures and attention heads to choose from: lists of real buttons, which a keyboard reaches."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Final

import gradio as gr

from webui.i18n.translate import retold, say
from webui.known_scenes import Example
from webui.wording import percent
from workbench.analysis.attention_view import ALL_HEADS, ROLLOUT, AttentionView
from workbench.export.results import png_bytes

_ON_LOAD: Final = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('select', {index: Number(button.dataset.index), value: button.dataset.value});
});
"""


def choice_list(value: str, elem_id: str) -> gr.HTML:
    """Build a component whose `select` event tells which of its buttons was pressed."""
    return gr.HTML(value, js_on_load=_ON_LOAD, elem_id=elem_id)


def phrase_buttons(phrases: Sequence[str]) -> str:
    """Write suggested phrases as buttons."""
    if not phrases:
        return f'<p class="empty">{say("Phrases to try appear here with a random scene or an example.")}</p>'
    items = "".join(
        f'<li><button type="button" lang="en" data-index="{index}" data-value="{escape(phrase)}">'
        f"{escape(phrase)}</button></li>"
        for index, phrase in enumerate(phrases)
    )
    return _labelled_list(say("Try a phrase"), "chips", items)


def example_buttons(examples: Sequence[Example]) -> str:
    """Write examples as buttons with a thumbnail."""
    items = "".join(
        f'<li><button type="button" data-index="{index}" data-value="{escape(example.title)}">'
        f'<img src="{example.thumbnail}" alt="" loading="lazy"><span>{escape(retold(example.title))}</span>'
        "</button></li>"
        for index, example in enumerate(examples)
    )
    return _labelled_list(say("Examples"), "examples", items)


def head_buttons(view: AttentionView, layer: int, chosen: int) -> str:
    """Write the heads of a layer as buttons with a thumbnail, their sum first; the chosen one is marked as pressed."""
    if layer == ROLLOUT:
        return f'<p class="empty">{say("The rollout averages the heads of each layer, so there is none to pick.")}</p>'
    items = "".join(_head_button(view, layer, head, head == chosen) for head in range(view.head_count + 1))
    return _labelled_list(say("Head"), "heads", items)


def _head_button(view: AttentionView, layer: int, head: int, is_chosen: bool) -> str:
    name = say("All heads, summed") if head == ALL_HEADS else say("Head {head}", head=head)
    share = say("{share} inside the mask", share=percent(view.mass_inside(layer, head)))
    picture = b64encode(png_bytes(view.thumbnail(layer, head))).decode("ascii")
    return (
        f'<li><button type="button" data-index="{head}" data-value="{name}" aria-pressed="{str(is_chosen).lower()}">'
        f'<img src="data:image/png;base64,{picture}" alt=""><span>{name}</span>'
        f"<small>{share}</small></button></li>"
    )


def _labelled_list(label: str, name: str, items: str) -> str:
    title = f'<p class="section" id="{name}-label">{label}</p>'
    return f'{title}<ul class="{name}" aria-labelledby="{name}-label">{items}</ul>'
