"""What a visitor sets: the question above all, and beside the answers picture, strategies and their options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gradio as gr

from evfsam.types import StrategyCard
from webui.i18n.translate import translate, translate_message
from webui.known_scenes import Example
from webui.tabs.compare.choices import choice_list, example_buttons, phrase_buttons
from webui.tabs.compare.option_controls import OptionControl, build_options


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
