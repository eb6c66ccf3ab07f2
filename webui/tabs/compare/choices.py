"""What there is to choose from: phrases and example pictures as real buttons, which a keyboard reaches, and layers."""

from collections.abc import Sequence
from html import escape
from typing import Final

import gradio as gr

from evfsam.errors import ConfigurationError
from webui.i18n.translate import translate, translate_message
from webui.known_scenes import Example
from workbench.analysis.attention_view import ROLLOUT, AttentionView

_BEYOND: Final = 1e9
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
        return f'<p class="empty">{translate("Phrases to try appear here with a random scene or an example.")}</p>'
    items = "".join(
        f'<li><button type="button" lang="en" data-index="{index}" data-value="{escape(phrase)}">'
        f"{escape(phrase)}</button></li>"
        for index, phrase in enumerate(phrases)
    )
    return _labelled_list(translate("Try a phrase"), "chips", items)


def example_buttons(examples: Sequence[Example]) -> str:
    """Write examples as buttons with a thumbnail."""
    items = "".join(
        f'<li><button type="button" data-index="{index}" data-value="{escape(example.title)}">'
        f'<img src="{example.thumbnail}" alt="" loading="lazy"><span>{escape(translate_message(example.title))}</span>'
        "</button></li>"
        for index, example in enumerate(examples)
    )
    return _labelled_list(translate("Examples"), "examples", items)


def layer_choices(view: AttentionView) -> list[tuple[str, int]]:
    """Return the layers of an attention for a list to choose from, the last first."""
    layers = [(translate("Layer {layer}", layer=layer), layer) for layer in range(view.layer_count, 0, -1)]
    layers[0] = (translate("Layer {layer}, the last", layer=view.layer_count), view.layer_count)
    return [*layers, (translate("Rollout through all layers"), ROLLOUT)]


def checked_choice(value: object, what: str) -> int:
    """Return a layer's or head's number as it came from the page or a client.

    Raises:
        ConfigurationError: it is not a whole number.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _BEYOND and value == int(value):
        return int(value)
    raise ConfigurationError("expected a whole number as {what}, got {value}", what=what, value=str(value)[:60])


def _labelled_list(label: str, name: str, items: str) -> str:
    title = f'<p class="section" id="{name}-label">{label}</p>'
    return f'{title}<ul class="{name}" aria-labelledby="{name}-label">{items}</ul>'
