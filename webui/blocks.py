"""The page: head, banner and the comparison."""

from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Final

import gradio as gr
from starlette.middleware import Middleware

from webui.accessibility import build_accessibility, name_tabs
from webui.api.door import MOST_WAITING
from webui.api.functions import add_programs
from webui.api.guard import Hosts
from webui.api.serving import serving_arguments
from webui.arrival import LaidIn
from webui.i18n.pages import (
    LanguageMiddleware,
    SpokenBlocks,
    build_head,
    in_all_languages,
    language_switch,
    wire_switch,
)
from webui.i18n.translate import translate, translate_message
from webui.kept_entries import build_kept_entries
from webui.known_scenes import Example, read_examples
from webui.tabs.agreement import build_agreement
from webui.tabs.attention import build_attention
from webui.tabs.batch.tab import build_batch
from webui.tabs.canvas.tab import build_canvas
from webui.tabs.chosen_answer import build_choice
from webui.tabs.compare.controls import remember
from webui.tabs.compare.opening import ArrivalMiddleware, build_opening
from webui.tabs.compare.recent import build_recent
from webui.tabs.compare.tab import MODEL_QUEUE, ComparePage, build_compare
from webui.tabs.evaluation import build_evaluation
from webui.tabs.export.tab import build_take_away
from webui.tabs.failures import build_failures
from webui.tabs.steps import build_steps
from webui.tabs.verdict import build_verdict
from webui.tabs.video.tab import build_video
from webui.theme import STYLE_SHEET, page_theme
from webui.visits import MOST_VISITS
from workbench.comparison import Comparison
from workbench.limits import LARGEST_FILE_MB
from workbench.reporting.browsing import Browsing
from workbench.suites.load_status import LoadingState
from workbench.suites.registry import Suite

TITLE: Final = "Text-prompted SAM workbench"
_CACHE_SWEEP: Final = (900, 3600)
"""Every quarter of an hour, delete uploads and results older than an hour."""
_MOST_EVENTS: Final = 8 * MOST_WAITING
"""In all queues together; each has a bound of its own, which `webui.api.door` keeps."""

LAUNCH_LIMITS: Final[Mapping[str, object]] = MappingProxyType(
    {
        "max_file_size": f"{LARGEST_FILE_MB}mb",
        "state_session_capacity": MOST_VISITS,
        "enable_monitoring": False,
        "run_history": False,
        "ssr_mode": False,
        "share": False,
        "footer_links": ["api", "settings"],
    }
)
"""Bounds for a public page: nothing outside Gradio's own upload folder is served, and no visitor is followed."""
_RENEWED_EVERY_S: Final = 1.5
_GB: Final = 10**9


def build_demo(comparison: Comparison, evaluations: Sequence[Browsing] = (), runs_at_once: int = 1) -> gr.Blocks:
    """Build the page over a comparison; nothing is loaded and no image is kept.

    Launch it with `launch_arguments`: Gradio takes looks and limits there.

    Args:
        comparison: what is asked.
        evaluations: runs whose samples everybody who opens the page may browse.
        runs_at_once: events that run models at a time; see `workbench.placement.runs_at_once`.
    """
    examples = read_examples()
    demo = in_all_languages(lambda: _build(comparison, examples, evaluations))
    for function in demo.fns.values():
        if function.concurrency_id == MODEL_QUEUE:
            function.concurrency_limit = runs_at_once
    return demo


def _build(comparison: Comparison, examples: tuple[Example, ...], evaluations: Sequence[Browsing]) -> SpokenBlocks:
    demo = SpokenBlocks(title=translate(TITLE), analytics_enabled=False, fill_width=True, delete_cache=_CACHE_SWEEP)
    with demo:
        build_accessibility()
        build_kept_entries()
        head = build_head(_head())
        build_weights_notice(comparison)
        # First of all: Gradio gives a name to the first handler that bears it, also to private ones.
        add_programs(comparison, MODEL_QUEUE)
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as tabs:
            with gr.Tab(translate("Compare"), id="compare"):
                page = build_compare(comparison, examples, build_canvas, _build_panels)
                recent = build_recent(page)
            with gr.Tab(translate("Inspect"), id="inspect"):
                choice = build_choice(page)
                with gr.Tabs(elem_id="inspect", overflow_behavior="wrap"):
                    build_attention(page, choice, recent)
                    build_steps(page, choice)
                    build_verdict(page, choice)
            with gr.Tab(translate("Batch"), id="batch"):
                build_batch(page)
            with gr.Tab(translate("Video"), id="video"):
                build_video(page)
            gallery = build_failures(page, tabs)
            if evaluations:
                build_evaluation(evaluations)
        gr.HTML(_banner(comparison.suite))
        name_tabs(demo)
        remember(demo, page.controls)
        opening = build_opening(page, [gallery.select])
        wire_switch(head, page.query)
        demo.lay_in(LaidIn(opening.delivered))
    demo.queue(max_size=_MOST_EVENTS, default_concurrency_limit=8, api_open=False)
    return demo


def _build_panels(page: ComparePage) -> None:
    """Lay out what can be done with the answers, below them."""
    with gr.Tabs(elem_id="panels", overflow_behavior="wrap"):
        build_agreement(page)
        with gr.Tab(translate("Take away"), id="take-away"):
            build_take_away(page)


def launch_arguments(hosts: Hosts | None = None) -> dict[str, object]:
    """Return what `gr.Blocks.launch` needs for this page's looks, limits and programs.

    Args:
        hosts: the names under which the server may be asked; by default this machine's own.
    """
    spoken = {"app_kwargs": {"middleware": [Middleware(LanguageMiddleware), Middleware(ArrivalMiddleware)]}}
    looks = {"theme": page_theme(), "css_paths": [STYLE_SHEET], **spoken}
    return serving_arguments({**looks, **LAUNCH_LIMITS}, hosts or Hosts())


def _head() -> str:
    lead = translate(
        "Each reads your words in its own way: see where they agree, how sure they are, and what they looked at."
    )
    title = translate("Type words, see what each model marks in a picture")
    return (
        f'<header class="page-head"><div class="title-row"><h1>{title}</h1>{language_switch()}</div>'
        f'<p class="lead">{lead}</p></header>'
    )


def _banner(suite: Suite) -> str:
    which = escape(translate("Which models run"))
    return (
        f'<aside class="banner" aria-label="{which}"><strong>{escape(translate_message(suite.title))}</strong>'
        f"<span>{escape(translate_message(suite.notice))}{_choice(suite)}</span></aside>"
    )


def _choice(suite: Suite) -> str:
    """Say why this suite runs, and what is missing from it."""
    said = [translate("This suite was {reason}.", reason=translate_message(suite.reason))] if suite.reason else []
    for title, why in suite.left_out.items():
        said.append(translate("Not here: {title}, {why}.", title=translate_message(title), why=translate_message(why)))
    return "".join(f" {escape(sentence)}" for sentence in said)


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
