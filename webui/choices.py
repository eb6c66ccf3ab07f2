"""Suggested phrases and example pictures, as lists of real buttons, so that a keyboard reaches them."""

from collections.abc import Sequence
from html import escape
from typing import Final

import gradio as gr

from webui.known_scenes import Example

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
        return '<p class="empty">Phrases to try appear here with a random scene or an example.</p>'
    items = "".join(
        f'<li><button type="button" data-index="{index}" data-value="{escape(phrase)}">{escape(phrase)}</button></li>'
        for index, phrase in enumerate(phrases)
    )
    return _labelled_list("Try a phrase", "chips", items)


def example_buttons(examples: Sequence[Example]) -> str:
    """Write examples as buttons with a thumbnail."""
    items = "".join(
        f'<li><button type="button" data-index="{index}" data-value="{escape(example.title)}">'
        f'<img src="{example.thumbnail}" alt="" loading="lazy"><span>{escape(example.title)}</span></button></li>'
        for index, example in enumerate(examples)
    )
    return _labelled_list("Examples", "examples", items)


def _labelled_list(label: str, name: str, items: str) -> str:
    title = f'<p class="section" id="{name}-label">{label}</p>'
    return f'{title}<ul class="{name}" aria-labelledby="{name}-label">{items}</ul>'
