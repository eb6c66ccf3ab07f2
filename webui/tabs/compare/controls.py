"""What a visitor sets on the left of the page: picture, phrase, strategies and their options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gradio as gr

from evfsam.types import StrategyCard
from webui.i18n.translate import retold, say
from webui.known_scenes import Example
from webui.tabs.compare.choices import choice_list, example_buttons, phrase_buttons
from webui.tabs.compare.strategy_options import OptionControl, build_options


@dataclass(frozen=True, eq=False)
class Controls:
    """The components on the left."""

    image: gr.Image
    new_scene: gr.Button
    phrase: gr.Textbox
    compare: gr.Button
    stop: gr.Button
    chips: gr.HTML
    examples: gr.HTML
    strategies: gr.CheckboxGroup
    options: tuple[OptionControl, ...]


def build_controls(cards: Mapping[str, StrategyCard], examples: Sequence[Example]) -> Controls:
    """Lay the controls out, in the order in which one needs them."""
    with gr.Column(elem_id="controls"):
        image = gr.Image(
            label=say("Image"),
            show_label=False,
            type="filepath",
            format="png",
            sources=["upload", "clipboard", "webcam"],
            height=270,
            elem_id="image",
            buttons=["fullscreen"],
            placeholder=say("Drop an image here\n- or -\nClick to choose one"),
            alt_text=say("The image to segment"),
        )
        new_scene = gr.Button(say("New random scene"), elem_id="new-scene")
        shown_examples = choice_list(example_buttons(examples) if examples else "", "examples")
        phrase = gr.Textbox(
            label=say("What should be segmented?"),
            info=say("Several phrases with “;” between them get a mask each."),
            placeholder="the dog left of the cup",
            lines=1,
            max_lines=1,
            autofocus=False,
            elem_id="phrase",
            html_attributes=gr.InputHTMLAttributes(enterkeyhint="go", autocapitalize="off"),
        )
        with gr.Row(elem_id="ask-row"):
            compare = gr.Button(say("Compare"), variant="primary", elem_id="compare", scale=3, min_width=120)
            stop = gr.Button(say("Stop"), interactive=False, elem_id="stop", scale=1, min_width=80)
        chips = choice_list(phrase_buttons(()), "chips")
        strategies = gr.CheckboxGroup(
            [(retold(card.title), key) for key, card in cards.items()],
            value=list(cards),
            label=say("Strategies"),
            elem_id="strategies",
        )
        with gr.Accordion(say("Options"), open=False, elem_id="options"):
            options = build_options(tuple(cards))
    return Controls(image, new_scene, phrase, compare, stop, chips, shown_examples, strategies, options)
