"""Below the answers: attention, agreement, trace, and the downloads."""

from dataclasses import dataclass
from html import escape
from typing import Final

import gradio as gr

from evfsam.errors import ConfigurationError
from webui import wording
from webui.i18n.translate import say
from webui.tabs.compare.choices import choice_list, head_buttons
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.runs import Progress
from webui.tabs.compare.trace import trace_of
from workbench.analysis.agreement import pairwise_iou
from workbench.analysis.attention_view import ALL_HEADS, ROLLOUT, AttentionView
from workbench.export.results import result_dict

_BEYOND: Final = 1e9
_NO_ATTENTION: Final = (
    "Attention appears here once a strategy that reads image and phrase together, such as EVF-SAM, has answered."
)
_NO_RESULT: Final = "All figures of a run stand here, as the downloaded result.json has them."
_READING: Final = (
    "Bright places got most of the [CLS] token's attention, the token whose projection prompts SAM. "
    "Attention shows what was read, not why the answer came out as it did."
)


@dataclass(frozen=True, eq=False)
class Findings:
    """The components below the answers."""

    attention_empty: gr.HTML
    attention_row: gr.Row
    layer: gr.Dropdown
    head: gr.State
    attention: gr.Image
    attention_caption: gr.HTML
    heads: gr.HTML
    agreement: gr.HTML
    trace: gr.HTML
    result_empty: gr.HTML
    result: gr.JSON

    @property
    def components(self) -> list[gr.components.Component | gr.Row]:
        """Everything that a run changes."""
        return [
            self.attention_empty,
            self.attention_row,
            self.layer,
            *self.attention_parts,
            self.agreement,
            self.trace,
            self.result_empty,
            self.result,
        ]

    @property
    def attention_parts(self) -> list[gr.components.Component]:
        """What picking a layer or a head changes."""
        return [self.attention, self.attention_caption, self.heads, self.head]

    def emptied(self) -> Updates:
        """Return everything to how it is before a run."""
        return {
            **self._without_attention(),
            self.agreement: wording.agreement_table({}, {}),
            self.trace: trace_of(()),
            self.result_empty: gr.update(visible=True),
            self.result: gr.update(value=None, visible=False),
        }

    def advanced(self, progress: Progress) -> Updates:
        """Show what the answers so far say together."""
        cards = {result.key: result.card.title for result in progress.results}
        return {
            self.agreement: wording.agreement_table(pairwise_iou(progress.results), cards),
            self.trace: trace_of(progress.results),
        }

    def finished(self, progress: Progress, suite_key: str, attention: AttentionView | None) -> Updates:
        """Show what only the whole run has: attention and result.json."""
        view = progress.view
        content = result_dict(view.image, progress.phrase, suite_key, progress.results, progress.known_mask)
        return {
            **(self._with_attention(attention) if attention else self._without_attention()),
            self.result_empty: gr.update(visible=False),
            self.result: gr.update(value=content, visible=True),
        }

    def attention_of(self, view: AttentionView, layer: int, head: int) -> Updates:
        """Show one map, and the heads of its layer."""
        words = wording.attention_caption(view, layer, head)
        return {
            self.attention: gr.update(value=view.heat_map(layer, head), alt_text=words),
            self.attention_caption: f'<p class="caption">{escape(words)}</p>',
            self.heads: head_buttons(view, layer, head),
            self.head: head,
        }

    def _with_attention(self, view: AttentionView) -> Updates:
        layers = layer_choices(view)
        return {
            self.attention_empty: gr.update(visible=False),
            self.attention_row: gr.update(visible=True),
            self.layer: gr.update(choices=layers, value=view.layer_count),
            **self.attention_of(view, view.layer_count, ALL_HEADS),
        }

    def _without_attention(self) -> Updates:
        return {
            self.attention_empty: gr.update(visible=True),
            self.attention_row: gr.update(visible=False),
            self.attention: None,
            self.heads: "",
            self.head: ALL_HEADS,
        }


def layer_choices(view: AttentionView) -> list[tuple[str, int]]:
    """Return the layers of an attention for a list to choose from, the last first."""
    layers = [(say("Layer {layer}", layer=layer), layer) for layer in range(view.layer_count, 0, -1)]
    layers[0] = (say("Layer {layer}, the last", layer=view.layer_count), view.layer_count)
    return [*layers, (say("Rollout through all layers"), ROLLOUT)]


def build_findings() -> Findings:
    """Lay out the tabs, each saying what will appear in it."""
    with gr.Tabs(elem_id="findings", overflow_behavior="wrap"):
        with gr.Tab(say("Attention"), elem_id="attention-tab"):
            attention_empty = gr.HTML(f'<p class="empty">{say(_NO_ATTENTION)}</p>')
            with gr.Row(visible=False, elem_id="attention-row") as attention_row:
                with gr.Column(scale=5, min_width=280):
                    attention = gr.Image(
                        label=say("Attention map"),
                        show_label=False,
                        format="png",
                        interactive=False,
                        buttons=["fullscreen", "download"],
                        elem_id="attention",
                        container=False,
                    )
                    attention_caption = gr.HTML("", elem_id="attention-caption")
                with gr.Column(scale=4, min_width=280):
                    layer = gr.Dropdown([], label=say("Layer"), elem_id="layer", filterable=False)
                    heads = choice_list("", "heads")
                    gr.HTML(f'<p class="caption">{say(_READING)}</p>')
                    head = gr.State(ALL_HEADS)
        with gr.Tab(say("Agreement"), elem_id="agreement-tab"):
            agreement = gr.HTML(wording.agreement_table({}, {}))
        with gr.Tab(say("Trace"), elem_id="trace-tab"):
            trace = gr.HTML(trace_of(()), elem_id="trace")
        with gr.Tab("result.json", elem_id="result-tab"):
            result_empty = gr.HTML(f'<p class="empty">{say(_NO_RESULT)}</p>')
            result = gr.JSON(show_label=False, max_height=480, visible=False, elem_id="result")
    return Findings(
        attention_empty,
        attention_row,
        layer,
        head,
        attention,
        attention_caption,
        heads,
        agreement,
        trace,
        result_empty,
        result,
    )


def checked_choice(value: object, what: str) -> int:
    """Return a layer's or head's number as it came from the page or a client.

    Raises:
        ConfigurationError: it is not a whole number.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _BEYOND and value == int(value):
        return int(value)
    raise ConfigurationError("expected a whole number as {what}, got {value}", what=what, value=str(value)[:60])
