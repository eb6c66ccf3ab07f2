"""What a visitor sets: the question above all, and beside the answers picture, strategies and their options.

Phrases and examples to choose from are real buttons, which a keyboard reaches. Strategies and options are remembered in
the visitor's own browser; nothing is kept on the server.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import gradio as gr

from evfsam.errors import ConfigurationError
from evfsam.types import StrategyCard
from webui.i18n.translate import translate, translate_message
from webui.known_scenes import Example
from webui.tabs.compare.option_controls import OptionControl, build_options
from workbench.analysis.attention_view import ROLLOUT, AttentionView

_BEYOND: Final = 1e9
_ON_LOAD: Final = """
element.addEventListener('click', (event) => {
  if (event.target.closest('.to-picture')) {
    event.preventDefault();
    document.getElementById('controls').scrollIntoView({block: 'start'});
  }
  const button = event.target.closest('button[data-index]');
  if (button) trigger('select', {index: Number(button.dataset.index), value: button.dataset.value});
});
"""
STORAGE_KEY: Final = "phrase-workbench-settings"
_NO_SECRET: Final = "settings"
"""Gradio enciphers what it stores; a fixed word, because a drawn one would forget the settings at each restart."""
_UNLESS_LINKED: Final = "(stored) => [/[?&](v|run)=/.test(location.search) ? {} : stored]"
"""A link to a run brings its own settings, which win."""


@dataclass(frozen=True, eq=False)
class QuestionControls:
    """What to segment."""

    phrase: gr.Textbox
    compare: gr.Button
    stop: gr.Button
    chips: gr.HTML


@dataclass(frozen=True, eq=False)
class Controls(QuestionControls):
    """All that a visitor sets: the question, and about what and of whom it is asked."""

    image: gr.Image
    address: gr.Textbox
    new_scene: gr.Button
    examples: gr.HTML
    strategies: gr.CheckboxGroup
    options: tuple[OptionControl, ...]

    @property
    def settings(self) -> list[gr.components.Component]:
        """Strategies and options, which a visitor's browser remembers."""
        return [self.strategies, *(option.component for option in self.options)]


def build_question() -> QuestionControls:
    """Lay out what is needed for every question; the focus is in the phrase when the page opens."""
    with gr.Column(elem_id="question"):
        with gr.Row(elem_id="ask-row"):
            phrase = gr.Textbox(
                label=translate("What should be marked?"),
                info=translate("Several phrases with “;” between them get a mask each."),
                placeholder="the dog left of the cup",
                lines=1,
                max_lines=1,
                autofocus=True,
                scale=1,
                elem_id="phrase",
                html_attributes=gr.InputHTMLAttributes(enterkeyhint="go", autocapitalize="off"),
            )
            compare = gr.Button(translate("Compare"), variant="primary", elem_id="compare", scale=0, min_width=120)
            stop = gr.Button(translate("Stop"), interactive=False, elem_id="stop", scale=0, min_width=80)
        chips = choice_list(phrase_buttons(()), "chips")
    return QuestionControls(phrase, compare, stop, chips)


def build_controls(
    question: QuestionControls, cards: Mapping[str, StrategyCard], examples: Sequence[Example]
) -> Controls:
    """Lay out the rest beside the answers, what is changed most often first."""
    with gr.Column(elem_id="controls"):
        image = gr.Image(
            label=translate("Image"),
            show_label=False,
            type="filepath",
            format="png",
            sources=["upload", "clipboard", "webcam"],
            height=210,
            elem_id="image",
            buttons=["fullscreen"],
            placeholder=translate("Drop an image here\n- or -\nClick to choose one"),
            alt_text=translate("The image to segment"),
        )
        address = gr.Textbox(
            label=translate("Or the address of an image"),
            show_label=False,
            container=False,
            placeholder=translate("Or the address of an image"),
            lines=1,
            max_lines=1,
            elem_id="image-address",
            html_attributes=gr.InputHTMLAttributes(enterkeyhint="go", autocapitalize="off"),
        )
        new_scene = gr.Button(translate("New random scene"), elem_id="new-scene")
        shown_examples = choice_list(example_buttons(examples) if examples else "", "examples")
        strategies = gr.CheckboxGroup(
            [(translate_message(card.title), key) for key, card in cards.items()],
            value=list(cards),
            label=translate("Strategies"),
            elem_id="strategies",
        )
        with gr.Accordion(translate("Options"), open=False, elem_id="options"):
            options = build_options(tuple(cards))
    asked = question.phrase, question.compare, question.stop, question.chips
    return Controls(*asked, image, address, new_scene, shown_examples, strategies, options)


def choice_list(value: str, elem_id: str) -> gr.HTML:
    """Build a component whose `select` event tells which of its buttons was pressed."""
    return gr.HTML(value, js_on_load=_ON_LOAD, elem_id=elem_id)


def phrase_buttons(phrases: Sequence[str]) -> str:
    """Write suggested phrases as buttons, and a link to the picture, which on a phone lies below the answers."""
    other = f'<a class="to-picture" href="#controls">{translate("Another picture")}</a>'
    if not phrases:
        words = translate("Phrases to try appear here with a random scene or an example.")
        return f'{other}<p class="empty">{words}</p>'
    items = "".join(
        f'<li><button type="button" lang="en" data-index="{index}" data-value="{escape(phrase)}">'
        f"{escape(phrase)}</button></li>"
        for index, phrase in enumerate(phrases)
    )
    return other + _labelled_list(translate("Try a phrase"), "chips", items)


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


@dataclass(frozen=True, eq=False)
class Remembered:
    """The fields that are remembered, by name.

    Attributes:
        names: one a field.
        fields: the components.
    """

    names: tuple[str, ...]
    fields: tuple[gr.components.Component, ...]

    def restore(self, stored: object) -> list[object]:
        """Return what to set each field to; what is missing, or no longer fits its field, leaves the field alone."""
        values = stored if isinstance(stored, dict) else {}
        return [_fitting(field, values.get(name)) for name, field in zip(self.names, self.fields, strict=True)]


def remember(demo: gr.Blocks, controls: Controls) -> Remembered:
    """Store strategies and options whenever a visitor changes them, and set them again at the next visit."""
    remembered = Remembered(
        ("strategies", *(f"{option.strategy}.{option.name}" for option in controls.options)),
        (controls.strategies, *(option.component for option in controls.options)),
    )
    stored = gr.BrowserState({}, storage_key=STORAGE_KEY, secret=_NO_SECRET)
    named = f"(...values) => Object.fromEntries({json.dumps(remembered.names)}.map((name, i) => [name, values[i]]))"
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    fields = list(remembered.fields)
    gr.on([field.input for field in fields], None, fields, stored, js=named, **quiet)
    demo.load(remembered.restore, stored, fields, js=_UNLESS_LINKED, **quiet)
    return remembered


def _fitting(field: gr.components.Component, value: object) -> object:
    fits = False
    if isinstance(field, gr.CheckboxGroup):
        fits = isinstance(value, list) and bool(value) and _all_choices(field.choices, value)
    elif isinstance(field, gr.Radio):
        fits = _all_choices(field.choices, [value])
    elif isinstance(field, gr.Slider):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = is_number and field.minimum <= value <= field.maximum
    return value if fits else gr.skip()


def _all_choices(choices: Sequence[tuple[str, object]], values: Sequence[object]) -> bool:
    known = [choice for _, choice in choices]
    return all(value in known for value in values)
