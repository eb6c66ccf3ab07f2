"""What an answer read: any layer and head, the words' own maps, two answers side by side, and a figure for a paper."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final, cast, get_args

import gradio as gr

from evfsam.errors import EvfSamError
from webui import figures, wording
from webui.bounded_store import GoneError
from webui.i18n.translate import translate, translate_message
from webui.tabs.attention_pictures import (
    LAYER_STEP,
    NO_TOKEN,
    NOBODY,
    Look,
    Plate,
    attentive,
    head_grid,
    phrases_with_attention,
    pictured,
    plates_of,
    probe,
    seen_in,
    token_buttons,
)
from webui.tabs.chosen_answer import AnswerChoice, answer_of
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.controls import checked_choice, choice_list, layer_choices
from webui.tabs.compare.recent import RecentRuns
from webui.tabs.compare.tab import ComparePage
from webui.tabs.opened_run import chosen_or_first, in_order, run_or_words, wire_opening
from workbench.analysis.attention_figure import FigureFormat, FigureMap, attention_figure
from workbench.analysis.attention_view import ALL_HEADS, CAVEAT, ROLLOUT, AttentionView
from workbench.comparison import StrategyResult

PATCHES, SMOOTH = "patches", "smooth"
OWN_SCALE, ONE_SCALE = "own", "one"
SCRIPT: Final = Path(__file__).with_name("attention.js")
_PANEL: Final = "attention-maps"

_NONE: Final = "None of these answers has attention to show. EVF-SAM, which reads image and phrase together, has."
_FOCUS: Final = """
() => setTimeout(() => {
  const isElsewhere = document.activeElement?.matches('body *') && !document.activeElement.closest('#PANEL');
  if (!isElsewhere) document.querySelector('#PANEL [aria-pressed=true]')?.focus();
}, 60)
"""
"""The buttons are written anew: keep the keyboard's place on the one that was pressed, unless it has gone on."""
_MEDIA: Final = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True, eq=False)
class AttentionTab:
    """The components of the tab, and its handlers."""

    page: ComparePage
    choice: AnswerChoice
    recent: gr.State
    beside: gr.Dropdown
    layer: gr.Dropdown
    head: gr.State
    token: gr.State
    drawing: gr.Radio
    scale: gr.Radio
    heads: gr.HTML
    tokens: gr.HTML
    picture: gr.HTML
    probe: gr.HTML
    file_format: gr.Radio
    make: gr.Button
    file: gr.HTML

    @property
    def controls(self) -> list[gr.components.Component]:
        """What a visitor sets."""
        return [self.page.chosen, self.beside, self.layer, self.head, self.token, self.drawing, self.scale]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What changes."""
        shown = [self.heads, self.tokens, self.picture, self.probe]
        return [*self.choice.components, *self.controls[1:], *shown, self.file_format, self.make, self.file]

    def show(self, key: str | None, recent: object, *chosen: object) -> Updates:
        """Draw what is chosen; what the run lacks falls back to the last layer, all heads and [CLS]."""
        run = run_or_words(self.page, key)
        if isinstance(run, str):
            return self.emptied(run)
        answer, *settings = chosen
        result, number = answer_of(run.progress, answer)
        offered = self.choice.offered(run.progress, result, number)
        source = attentive(run, result.key)
        if source is None:
            return {**self.emptied(translate(_NONE)), **offered}
        seen = seen_in(run, source.key)
        views = [each.view for each in seen]
        elsewhere = self._elsewhere(key, recent)
        look = within(views, elsewhere, _place(views, run.progress.phrases[number]), *settings)
        view = views[look.phrase]
        phrases = [(each.phrase, index) for index, each in enumerate(views)]
        others = [(translate("No other"), NOBODY), *(pair for pair in phrases if pair[1] != look.phrase), *elsewhere]
        return {
            **offered,
            self.beside: gr.update(choices=others, value=look.beside, visible=len(others) > 1),
            self.layer: gr.update(choices=layer_choices(view), value=look.layer, visible=True),
            self.head: look.head,
            self.token: look.token,
            self.drawing: gr.update(visible=True),
            self.scale: gr.update(visible=True),
            self.heads: head_grid(view, look),
            self.tokens: token_buttons(view, look),
            self.picture: _instead(result, source) + pictured(self._plates(views, look), look),
            self.probe: probe(seen[look.phrase], look),
            self.file_format: gr.update(visible=True),
            self.make: gr.update(visible=True),
            self.file: "",
        }

    def show_head(self, event: gr.SelectData, key: str | None, recent: object, *chosen: object) -> Updates:
        """Show the layer and head that were pressed."""
        answer, beside, _, _, *rest = chosen
        number = _whole(event.index)
        layer, head = divmod(number if isinstance(number, int) else 0, LAYER_STEP)
        return self.show(key, recent, answer, beside, layer, head, *rest)

    def show_token(self, event: gr.SelectData, key: str | None, recent: object, *chosen: object) -> Updates:
        """Show where the word that was pressed looked."""
        *before, _, drawing, scale = chosen
        return self.show(key, recent, *before, event.index, drawing, scale)

    def make_figure(self, key: str | None, recent: object, *chosen: object) -> str:
        """Make a file of the maps that are seen, and link to it."""
        *asked, wanted = chosen
        run = run_or_words(self.page, key)
        if isinstance(run, str):
            return figures.nothing(run)
        answer, *settings = asked
        result, number = answer_of(run.progress, answer)
        source = attentive(run, result.key)
        if source is None:
            return figures.nothing(translate(_NONE))
        views = [each.view for each in seen_in(run, source.key)]
        place = _place(views, run.progress.phrases[number])
        look = within(views, self._elsewhere(key, recent), place, *settings)
        maps = [FigureMap(each.view, each.token, each.peak) for each in self._plates(views, look)]
        try:
            content = attention_figure(
                maps, look.layer, look.head, cast(FigureFormat, wanted), is_smooth=look.is_smooth
            )
        except EvfSamError as error:
            return wording.problem(str(error))
        return _link(content, f"attention.{wanted}", _MEDIA[str(wanted)])

    def _elsewhere(self, key: str | None, recent: object) -> list[tuple[str, str]]:
        """Return the answers of this visit's other runs that have attention, as choices."""
        found = []
        for other, _ in cast(RecentRuns, recent) if isinstance(recent, list | tuple) else ():
            try:
                phrases = phrases_with_attention(self.page.runs.get(other)) if other != key else []
            except GoneError:
                continue
            for number, phrase in enumerate(phrases):
                found.append((translate("{phrase} (an earlier run)", phrase=phrase), f"{other}/{number}"))
        return found

    def _plates(self, views: Sequence[AttentionView], look: Look) -> tuple[Plate, ...]:
        view, beside = views[look.phrase], None
        if isinstance(look.beside, str):
            beside = self._of_another_run(look.beside)
        elif look.beside != NOBODY:
            beside = views[look.beside]
        if beside is not None and (beside.layer_count, beside.head_count) != (view.layer_count, view.head_count):
            beside = None  # of another encoder, whose layers are not these
        return plates_of(view, beside, look)

    def _of_another_run(self, place: str) -> AttentionView | None:
        key, _, number = place.rpartition("/")
        try:
            return seen_in(self.page.runs.get(key))[int(number)].view
        except GoneError:
            return None

    def emptied(self, words: str = "") -> Updates:
        """Show that there is nothing yet, or why."""
        hidden = gr.update(visible=False)
        return {
            **self.choice.hidden(),
            **dict.fromkeys([self.beside, self.layer, self.drawing, self.scale, self.file_format, self.make], hidden),
            **dict.fromkeys([self.heads, self.tokens, self.probe, self.file], ""),
            self.head: ALL_HEADS,
            self.token: NO_TOKEN,
            self.picture: figures.nothing(words) if words else "",
        }


def build_attention(page: ComparePage, choice: AnswerChoice, recent: gr.State) -> None:
    """Lay out the tab and wire its events.

    Args:
        page: whose runs.
        choice: of the answer.
        recent: keys of this visit's last runs, from `build_recent`.
    """
    with gr.Tab(translate("Attention"), id="attention-maps") as tab:
        head, token = gr.State(ALL_HEADS), gr.State(NO_TOKEN)
        with gr.Row(elem_id=_PANEL, elem_classes=["deeper"]):
            with gr.Column(elem_classes=["deeper-controls"]):
                beside = gr.Dropdown(
                    [], label=translate("Beside it"), visible=False, filterable=False, elem_id="attention-beside"
                )
                layer = gr.Dropdown(
                    [], label=translate("Layer"), visible=False, filterable=False, elem_id="attention-layer"
                )
                drawn_as = [(translate("Patches"), PATCHES), (translate("Smooth"), SMOOTH)]
                drawing = gr.Radio(
                    drawn_as, value=PATCHES, label=translate("Drawn as"), visible=False, elem_id="attention-drawing"
                )
                scales = [(translate("Each map its own"), OWN_SCALE), (translate("One for all"), ONE_SCALE)]
                scale = gr.Radio(
                    scales,
                    value=OWN_SCALE,
                    label=translate("Scale of colours"),
                    visible=False,
                    elem_id="attention-scale",
                )
                file_format = gr.Radio(
                    [*get_args(FigureFormat)], value="pdf", label=translate("Figure for a paper"), visible=False
                )
                make = gr.Button(translate("Make the figure"), visible=False, elem_id="attention-make")
                file = gr.HTML("", elem_id="attention-file")
            with gr.Column(elem_classes=["deeper-answer"]):
                with gr.Row(elem_id="attention-pair"):
                    heads = choice_list("", "attention-heads")
                    picture = gr.HTML("", elem_id="attention-maps-picture")
                tokens = choice_list("", "attention-tokens")
                probed = gr.HTML("", js_on_load=SCRIPT.read_text(encoding="utf-8"), elem_id="attention-probe")
                gr.HTML(f'<p class="caption caveat">{escape(translate_message(CAVEAT))}</p>')
        set_here = beside, layer, head, token, drawing, scale
        shown = heads, tokens, picture, probed, file_format, make, file
        made = AttentionTab(page, choice, recent, *set_here, *shown)
        inputs = [recent, *made.controls]
        wire_opening(page, tab, _PANEL, made.show, made.emptied, controls=inputs, outputs=made.outputs)
    _wire(made)


def within(
    views: Sequence[AttentionView],
    elsewhere: Sequence[tuple[str, str]],
    phrase: object,
    beside: object,
    layer: object,
    head: object,
    token: object,
    drawing: object = PATCHES,
    scale: object = OWN_SCALE,
) -> Look:
    """Bring what was chosen, perhaps in another run, within what these views and the other runs have."""
    numbers = [("", number) for number in range(len(views))]
    first = chosen_or_first(phrase, numbers)
    view = views[first]
    others: list[tuple[str, int | str]] = [("", NOBODY), *(each for each in numbers if each[1] != first), *elsewhere]
    layers = [("", view.layer_count), *(("", number) for number in range(view.layer_count))]
    chosen_layer = chosen_or_first(layer, layers)
    heads = [("", number) for number in range(view.head_count + 1)] if chosen_layer != ROLLOUT else [("", ALL_HEADS)]
    tokens = [("", number) for number in range(NO_TOKEN, len(view.tokens))]
    return Look(
        phrase=first,
        beside=chosen_or_first(beside, others),
        layer=chosen_layer,
        head=chosen_or_first(_whole(head), heads),
        token=chosen_or_first(_whole(token), tokens),
        is_smooth=drawing == SMOOTH,
        is_one_scale=scale == ONE_SCALE,
    )


def _place(views: Sequence[AttentionView], phrase: str) -> int:
    return next((place for place, view in enumerate(views) if view.phrase == phrase), 0)


def _instead(asked: StrategyResult, shown: StrategyResult) -> str:
    """Say whose maps these are where the answer that is looked into has none."""
    if asked.key == shown.key:
        return ""
    titles = {"title": translate_message(asked.card.title), "other": translate_message(shown.card.title)}
    words = translate("{title} has no attention to show. These maps are those of {other}.", **titles)
    return f'<p class="caption">{escape(words)}</p>'


def _whole(value: object) -> object:
    """A button's number comes as a float from some browsers."""
    try:
        return checked_choice(value, "number")
    except EvfSamError:
        return None


def _link(content: bytes, name: str, media: str) -> str:
    data = b64encode(content).decode("ascii")
    size = max(1, round(len(content) / 1024))
    told = translate("Save {name} ({size} KB)", name=name, size=size)
    return f'<a class="file" download="{name}" href="data:{media};base64,{data}">{told}</a>'


def _wire(made: AttentionTab) -> None:
    inputs = [made.page.last_run, made.recent, *made.controls]
    quiet = {"preprocess": False, "show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}
    shown = {**quiet, **in_order(_PANEL)}
    for control in (made.beside, made.layer, made.drawing, made.scale):
        control.input(made.show, inputs, made.outputs, **shown)
    pressed = ((made.heads, made.show_head, "attention-heads"), (made.tokens, made.show_token, "attention-tokens"))
    for buttons, handler, panel in pressed:
        done = buttons.select(handler, inputs, made.outputs, **shown)
        done.then(None, None, None, js=_FOCUS.replace("PANEL", panel))
    made.make.click(made.make_figure, [*inputs, made.file_format], made.file, **quiet)
