"""How far the weights are, where they have to be fetched: a line a strategy, renewed while something moves."""

from collections.abc import Mapping
from html import escape
from typing import Final

import gradio as gr

from webui.i18n.translate import translate, translate_message
from workbench.comparison import Comparison
from workbench.suites.load_status import LoadingState

_RENEWED_EVERY_S: Final = 1.5
_GB: Final = 10**9


def build_weights_notice(comparison: Comparison) -> None:
    """Add the notice; nothing where the suite's weights are at hand."""
    load_status = comparison.suite.load_status
    if load_status is None:
        return
    titles = {key: entry.card.title for key, entry in comparison.suite.strategies.items()}
    notice = gr.HTML(weights_in_words(titles, load_status.states), elem_id="weights")

    def renew(shown: object) -> object:
        now = weights_in_words(titles, load_status.states)
        return gr.skip() if now == shown else now

    timer = gr.Timer(_RENEWED_EVERY_S)
    timer.tick(renew, notice, notice, queue=False, show_progress="hidden", api_visibility="private")


def weights_in_words(titles: Mapping[str, str], states: Mapping[str, LoadingState]) -> str:
    """Write the states of the strategies as HTML; empty where all are ready, or none has been needed yet."""
    lines = [(title, states[key]) for key, title in titles.items() if key in states and states[key].kind != "ready"]
    if not lines:
        return ""
    label = translate("Weights")
    items = "".join(f'<li data-state="{state.kind}">{_line(title, state)}</li>' for title, state in lines)
    return f'<section class="weights" aria-label="{label}"><ul>{items}</ul></section>'


def _line(title: str, state: LoadingState) -> str:
    name = f"<strong>{escape(translate_message(title))}</strong>"
    if state.kind == "fetching":
        share = min(state.done / state.total, 1.0) if state.total else 0.0
        done, total = state.done / _GB, state.total / _GB
        words = translate(
            "{name} fetches {model}: {done} of {total} GB",
            name=name,
            model=escape(state.model_id),
            done=f"{done:.1f}",
            total=f"{total:.1f}",
        )
        return f'{words} <progress max="1" value="{share:.2f}">{share:.0%}</progress>'
    if state.kind == "loading":
        return translate("{name} reads its weights", name=name)
    if state.kind == "failed":
        reason = escape(translate_message(state.reason).rstrip(".。"))
        return translate("{name} is not there: {reason}. The next comparison tries again.", name=name, reason=reason)
    return translate("{name} waits", name=name)
