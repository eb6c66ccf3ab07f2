"""What an answer read: any layer and head, the words' own maps, two phrases side by side, and a figure for a paper."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, cast, get_args

import gradio as gr

from evfsam.errors import EvfSamError
from webui import figures, wording
from webui.i18n.translate import retold, say
from webui.run_cache import FinishedRun
from webui.tabs.compare.choices import checked_choice, choice_list, layer_choices
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.tab import ComparePage
from webui.tabs.opened_run import chosen_or_first, run_or_words, wire_opening
from webui.wording import percent
from workbench.analysis.attention_figure import FigureFormat, attention_figure, map_title
from workbench.analysis.attention_view import ALL_HEADS, CAVEAT, ROLLOUT, AttentionView, attention_views
from workbench.export.results import png_bytes
from workbench.pictures.colours import HEAT_STOPS

NO_TOKEN: Final = -1
"""Stands for [CLS] in place of a word's number."""
NOBODY: Final = -1
"""Stands for no second phrase."""

PATCHES, SMOOTH = "patches", "smooth"
OWN_SCALE, ONE_SCALE = "own", "one"

_NONE: Final = "None of these answers has attention to show. EVF-SAM, which reads image and phrase together, has."
_FOCUS: Final = "() => setTimeout(() => document.querySelector('#PANEL [aria-pressed=true]')?.focus(), 60)"
"""The buttons are written anew: keep the keyboard's place on the one that was pressed."""
_MEDIA: Final = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png"}


@dataclass(frozen=True)
class Look:
    """What is looked at: numbers within what the run has.

    Attributes:
        phrase: the view's number, from 0.
        beside: a second view's number, or NOBODY.
        layer, head: as in `AttentionView.map_of`.
        token: a word's number, or NO_TOKEN for [CLS].
        is_smooth: whether patches run into each other.
        is_one_scale: whether colours mean the same in all maps of the layer.
    """

    phrase: int
    beside: int
    layer: int
    head: int
    token: int
    is_smooth: bool = False
    is_one_scale: bool = False


@dataclass(frozen=True, eq=False)
class AttentionTab:
    """The components of the tab, and its handlers."""

    page: ComparePage
    phrase: gr.Dropdown
    beside: gr.Dropdown
    layer: gr.Dropdown
    head: gr.State
    token: gr.State
    drawing: gr.Radio
    scale: gr.Radio
    heads: gr.HTML
    tokens: gr.HTML
    picture: gr.HTML
    file_format: gr.Radio
    make: gr.Button
    file: gr.HTML

    @property
    def controls(self) -> list[gr.components.Component]:
        """What a visitor sets."""
        return [self.phrase, self.beside, self.layer, self.head, self.token, self.drawing, self.scale]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What changes."""
        return [*self.controls, self.heads, self.tokens, self.picture, self.file_format, self.make, self.file]

    def show(self, key: str | None, *chosen: object) -> Updates:
        """Draw what is chosen; what the run lacks falls back to the last layer, all heads and [CLS]."""
        run = run_or_words(self.page, key)
        if isinstance(run, str):
            return self.emptied(run)
        views = views_of(run)
        if not views:
            return self.emptied(say(_NONE))
        look = within(views, *chosen)
        view = views[look.phrase]
        phrases = [(each.phrase, index) for index, each in enumerate(views)]
        others = [(say("No other"), NOBODY), *(pair for pair in phrases if pair[1] != look.phrase)]
        several = len(views) > 1
        return {
            self.phrase: gr.update(choices=phrases, value=look.phrase, visible=several),
            self.beside: gr.update(choices=others, value=look.beside, visible=several),
            self.layer: gr.update(choices=layer_choices(view), value=look.layer, visible=True),
            self.head: look.head,
            self.token: look.token,
            self.drawing: gr.update(visible=True),
            self.scale: gr.update(visible=True),
            self.heads: head_buttons(view, look),
            self.tokens: token_buttons(view, look),
            self.picture: pictured(views, look),
            self.file_format: gr.update(visible=True),
            self.make: gr.update(visible=True),
            self.file: "",
        }

    def show_head(
        self,
        key: str | None,
        phrase: object,
        beside: object,
        layer: object,
        _head: object,
        token: object,
        drawing: object,
        scale: object,
        event: gr.SelectData,
    ) -> Updates:
        """Show the head that was pressed."""
        return self.show(key, phrase, beside, layer, event.index, token, drawing, scale)

    def show_token(
        self,
        key: str | None,
        phrase: object,
        beside: object,
        layer: object,
        head: object,
        _token: object,
        drawing: object,
        scale: object,
        event: gr.SelectData,
    ) -> Updates:
        """Show where the word that was pressed looked."""
        return self.show(key, phrase, beside, layer, head, event.index, drawing, scale)

    def make_figure(self, key: str | None, *chosen: object) -> str:
        """Make a file of the [CLS] maps that are seen, and link to it."""
        *seen, wanted = chosen
        run = run_or_words(self.page, key)
        views = () if isinstance(run, str) else views_of(run)
        if not views:
            return figures.nothing(run if isinstance(run, str) else say(_NONE))
        look = within(views, *seen)
        both = [views[look.phrase]] + ([views[look.beside]] if look.beside != NOBODY else [])
        try:
            peak = peak_of(both, look)
            content = attention_figure(
                both, look.layer, look.head, cast(FigureFormat, wanted), peak=peak, is_smooth=look.is_smooth
            )
        except EvfSamError as error:
            return wording.problem(str(error))
        return _link(content, f"attention.{wanted}", _MEDIA[str(wanted)])

    def emptied(self, words: str = "") -> Updates:
        """Show that there is nothing yet, or why."""
        hidden = gr.update(visible=False)
        return {
            **dict.fromkeys(
                [self.phrase, self.beside, self.layer, self.drawing, self.scale, self.file_format, self.make], hidden
            ),
            **dict.fromkeys([self.heads, self.tokens, self.file], ""),
            self.head: ALL_HEADS,
            self.token: NO_TOKEN,
            self.picture: figures.nothing(words) if words else "",
        }


def build_attention(page: ComparePage) -> None:
    """Lay out the tab and wire its events."""
    with gr.Tab(say("Attention"), id="attention-maps") as tab:
        head, token = gr.State(ALL_HEADS), gr.State(NO_TOKEN)
        with gr.Row(elem_id="attention-maps", elem_classes=["deeper"]):
            with gr.Column(elem_classes=["deeper-controls"]):
                phrase = gr.Dropdown([], label=say("Phrase"), visible=False, filterable=False)
                beside = gr.Dropdown(
                    [], label=say("Beside it"), visible=False, filterable=False, elem_id="attention-beside"
                )
                layer = gr.Dropdown([], label=say("Layer"), visible=False, filterable=False, elem_id="attention-layer")
                drawn_as = [(say("Patches"), PATCHES), (say("Smooth"), SMOOTH)]
                drawing = gr.Radio(
                    drawn_as, value=PATCHES, label=say("Drawn as"), visible=False, elem_id="attention-drawing"
                )
                scales = [(say("Each map its own"), OWN_SCALE), (say("One for the layer"), ONE_SCALE)]
                scale = gr.Radio(
                    scales, value=OWN_SCALE, label=say("Scale of colours"), visible=False, elem_id="attention-scale"
                )
                heads = choice_list("", "attention-heads")
                file_format = gr.Radio(
                    [*get_args(FigureFormat)], value="pdf", label=say("Figure for a paper"), visible=False
                )
                make = gr.Button(say("Make the figure"), visible=False, elem_id="attention-make")
                file = gr.HTML("", elem_id="attention-file")
            with gr.Column(elem_classes=["deeper-answer"]):
                picture = gr.HTML("", elem_id="attention-maps-picture")
                tokens = choice_list("", "attention-tokens")
                gr.HTML(f'<p class="caption caveat">{escape(retold(CAVEAT))}</p>')
        made = AttentionTab(
            page, phrase, beside, layer, head, token, drawing, scale, heads, tokens, picture, file_format, make, file
        )
        wire_opening(page, tab, "attention-maps", made.show, made.emptied, controls=made.controls, outputs=made.outputs)
    _wire(made)


def views_of(run: FinishedRun) -> tuple[AttentionView, ...]:
    """Return the attention of every answer that has any, phrase by phrase."""
    progress = run.progress
    return tuple(
        view for result in progress.results for view in attention_views(result, progress.view.image, progress.phrase)
    )


def within(
    views: Sequence[AttentionView],
    phrase: object,
    beside: object,
    layer: object,
    head: object,
    token: object,
    drawing: object = PATCHES,
    scale: object = OWN_SCALE,
) -> Look:
    """Bring what was chosen, perhaps in another run, within what these views have."""
    numbers = [("", number) for number in range(len(views))]
    first = chosen_or_first(phrase, numbers)
    view = views[first]
    others = [("", NOBODY), *(each for each in numbers if each[1] != first)]
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


def peak_of(views: Sequence[AttentionView], look: Look, token: int | None = None) -> float:
    """Return the value of the brightest colour: the strongest in the layer, or in the maps that are compared."""
    if look.is_one_scale:
        return max(view.layer_peak(look.layer, look.head) for view in views)
    return max(view.peak(look.layer, look.head, token) for view in views)


def pictured(views: Sequence[AttentionView], look: Look) -> str:
    """Draw the map that is looked at; beside it the second phrase's in the same colours, or [CLS]'s beside a word's."""
    view = views[look.phrase]
    layer, head = look.layer, look.head
    if look.token != NO_TOKEN:
        word = view.shares_of_tokens(layer, head)[look.token].text
        caption = say("Where “{word}” looked; beside it, where [CLS] looked.", word=word)
        alt_text = say("Attention of “{word}”", word=word)
        peak = peak_of([view], look, look.token)
        drawn = view.heat_map(layer, head, look.token, peak=peak, is_smooth=look.is_smooth)
        of_word = figures.figure(drawn, alt_text, caption) + colour_bar(view, look, peak)
        return figures.plates([f"<div>{of_word}</div>", f"<div>{_cls_figure(view, look, peak_of([view], look))}</div>"])
    if look.beside == NOBODY:
        return _cls_figure(view, look, peak_of([view], look)) + spent(view, look)
    pair = (view, views[look.beside])
    peak = peak_of(pair, look)
    both = [f"<div>{_cls_figure(each, look, peak)}{spent(each, look)}</div>" for each in pair]
    return figures.plates(both) + f'<p class="caption">{say("Equal colours are equal attention in both.")}</p>'


def colour_bar(view: AttentionView, look: Look, peak: float) -> str:
    """Draw the scale of a map's colours, in shares of a token's attention, and say what else it holds for."""
    stops = ", ".join("rgb({}, {}, {})".format(*stop) for stop in HEAT_STOPS)
    most = f"{100 * peak / view.heads_in(look.layer, look.head):.1f} %"
    scope = say("for every map of this layer") if look.is_one_scale else say("for this map alone")
    told = say("Colours: 0 to {most} of the attention on one patch, {scope}.", most=most, scope=scope)
    bar = f'<span class="ramp" style="background:linear-gradient(to right, {stops})" aria-hidden="true"></span>'
    return f'<p class="colour-bar"><span>0 %</span>{bar}<span>{most}</span></p><p class="caption">{escape(told)}</p>'


def spent(view: AttentionView, look: Look) -> str:
    """Say what [CLS] spent its attention on; the three shares add up."""
    image, phrase, own = (f"{100 * share:.1f} %" for share in view.shares(look.layer, look.head))
    told = say(
        "Of [CLS]'s attention, {image} went to the image, {phrase} to the phrase and {own} to itself.",
        image=image,
        phrase=phrase,
        own=own,
    )
    return f'<p class="caption spent">{escape(told)}</p>'


def head_buttons(view: AttentionView, look: Look) -> str:
    """Write the heads of a layer as buttons with a thumbnail, their sum first; the chosen one is pressed."""
    if look.layer == ROLLOUT:
        return figures.nothing(say("The rollout averages the heads of each layer, so there is none to pick."))
    items = []
    for head in range(view.head_count + 1):
        name = say("All heads") if head == ALL_HEADS else say("Head {head}", head=head)
        share = say("{share} in mask", share=percent(view.mass_inside(look.layer, head)))
        picture = b64encode(png_bytes(view.thumbnail(look.layer, head))).decode("ascii")
        items.append(
            f"<li>{_button(head, head == look.head)}"
            f'<img src="data:image/png;base64,{picture}" alt=""><span>{name}</span>'
            f"<small>{share}</small></button></li>"
        )
    return f'<ul class="heads" aria-label="{say("Head")}">{"".join(items)}</ul>'


def token_buttons(view: AttentionView, look: Look) -> str:
    """Write the pieces of the phrase as buttons, each with its share of [CLS]'s attention."""
    items = [f"<li>{_button(NO_TOKEN, look.token == NO_TOKEN)}<b>[CLS]</b></button></li>"]
    for token in view.shares_of_tokens(look.layer, look.head):
        items.append(
            f'<li style="--share:{token.share:.3f}">{_button(token.index, token.index == look.token)}'
            f'<b lang="en">{escape(token.text)}</b>'
            f" <small>{100 * token.share:.1f} %</small></button></li>"
        )
    title = say("Pieces of the phrase, with their share of [CLS]'s attention. Press one to see where it looked.")
    listed = f'<ul class="chips tokens" aria-label="{say("Pieces of the phrase")}">{"".join(items)}</ul>'
    return f'<p class="section">{escape(title)}</p>{listed}'


def _cls_figure(view: AttentionView, look: Look, peak: float) -> str:
    title = retold(map_title(view, look.layer, look.head))
    caption = say("“{phrase}”, {title}.", phrase=view.phrase, title=title)
    told = say("Attention of [CLS] over the image, {title}: {caption}", title=retold(view.title), caption=caption)
    picture = view.heat_map(look.layer, look.head, peak=peak, is_smooth=look.is_smooth)
    return figures.figure(picture, told, caption) + colour_bar(view, look, peak)


def _button(index: int, is_pressed: bool) -> str:
    return f'<button type="button" data-index="{index}" data-value="" aria-pressed="{str(is_pressed).lower()}">'


def _whole(value: object) -> object:
    """A button's number comes as a float from some browsers."""
    try:
        return checked_choice(value, "number")
    except EvfSamError:
        return None


def _link(content: bytes, name: str, media: str) -> str:
    data = b64encode(content).decode("ascii")
    size = max(1, round(len(content) / 1024))
    told = say("Save {name} ({size} KB)", name=name, size=size)
    return f'<a class="file" download="{name}" href="data:{media};base64,{data}">{told}</a>'


def _wire(made: AttentionTab) -> None:
    inputs = [made.page.last_run, *made.controls]
    quiet = {"preprocess": False, "show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}
    for control in (made.phrase, made.beside, made.layer, made.drawing, made.scale):
        control.input(made.show, inputs, made.outputs, **quiet)
    pressed = ((made.heads, made.show_head, "attention-heads"), (made.tokens, made.show_token, "attention-tokens"))
    for buttons, handler, panel in pressed:
        done = buttons.select(handler, inputs, made.outputs, **quiet)
        done.then(None, None, None, js=_FOCUS.replace("PANEL", panel))
    made.make.click(made.make_figure, [*inputs, made.file_format], made.file, **quiet)
