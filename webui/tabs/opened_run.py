"""How a tab beside the comparison gets at its run: when it is opened, and only the part that was chosen."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency, EventListener

from webui.bounded_store import GoneError
from webui.i18n.translate import translate, translate_message
from webui.run_cache import FinishedRun
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.runs import Progress
from webui.tabs.compare.tab import ComparePage
from webui.visits import is_visit_lost
from workbench.comparison import StrategyResult

Value = TypeVar("Value", int, str, int | str)

ALL_PHRASES: Final = -1
"""Stands for all phrases together in place of a phrase's number."""

LOST: Final = "What this visit had is no longer kept: too many pages are open. Press Compare to run it again."
NO_RUN: Final = "There are no answers yet. Choose an image and a phrase under Compare; what they tell appears here."

_IS_OPEN: Final = """
async () => {
  await new Promise((shown) => setTimeout(shown, 60));  // a tab that was just selected is laid out after this
  const panel = document.getElementById('PANEL');
  return Boolean(panel && panel.offsetParent);
}
"""
"""Whether a tab can be seen: pictures that nobody looks at are not drawn."""


def wire_opening(
    page: ComparePage,
    tab: gr.Tab,
    panel_id: str,
    show: Callable[..., Updates],
    emptied: Callable[[], Updates],
    *,
    controls: Sequence[Block],
    outputs: Sequence[Block],
) -> None:
    """Fill a tab when it is opened, and when a run ends while it is open; a run that starts unseen empties it.

    Args:
        page: whose runs.
        tab: the tab.
        panel_id: `elem_id` of a component that is seen whenever the tab is.
        show: takes the run's key, then the controls' values; returns the outputs.
        emptied: returns the outputs as they are without a run.
        controls: the components whose values `show` takes, unprocessed.
        outputs: the components that both change.
    """
    is_open = gr.Checkbox(visible=False, label="open")

    def follow(key: str | None, *values: object) -> Updates:
        *chosen, is_seen = values
        if is_seen is True:
            return show(key, *chosen)
        # What a run left unseen is drawn on opening: to empty it here could come after that.
        return emptied() if key is None else {outputs[0]: gr.skip()}

    quiet = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private", **in_order(panel_id)}
    tab.select(show, [page.last_run, *controls], [*outputs], **quiet)
    followed = [page.last_run.change]
    if page.chosen in controls:
        followed.append(page.chosen.change)
    outer = enclosing_tab(tab)
    if outer is not None:
        followed.append(outer.select)  # it shows the inner tab that was open before, which is not selected anew
    for changed in followed:
        look_first(changed, panel_id, is_open, follow, [page.last_run, *controls, is_open], [*outputs], **quiet)


def in_order(panel_id: str) -> dict[str, Any]:
    """Return settings of the events that fill a tab: answered in their order, so that what was set last is shown last.

    Opening a tab may ask twice, and two at once could end in the other order.
    """
    return {"concurrency_limit": 1, "concurrency_id": panel_id}


def look_first(
    listen: EventListener,
    panel_id: str,
    is_open: gr.Checkbox,
    then: Callable[..., Updates],
    inputs: Sequence[Block],
    outputs: Sequence[Block],
    **settings: Any,
) -> Dependency:
    """Look whether the component of that `elem_id` can be seen, then do what follows; returns that step.

    Looking takes a moment, so it is a step of its own: the next one has what was set meanwhile, and is done once more
    if it was asked for while it was under way.
    """
    looked = listen(None, None, is_open, js=_IS_OPEN.replace("PANEL", panel_id))
    return looked.then(then, inputs, outputs, trigger_mode="always_last", **settings)


def enclosing_tab(block: Block) -> gr.Tab | None:
    """Return the tab in which a component or another tab lies."""
    outer = block.parent
    while outer is not None and not isinstance(outer, gr.Tab):
        outer = outer.parent
    return outer


def run_or_words(page: ComparePage, key: str | None) -> FinishedRun | str:
    """Return the run under a session's key, or why there is none."""
    if key is None:
        return translate(LOST) if is_visit_lost() else translate(NO_RUN)
    try:
        return page.runs.get(key)
    except GoneError as error:
        return translate_message(str(error))


def phrase_choices(progress: Progress, *, with_all: bool = True) -> list[tuple[str, int]]:
    """Return the phrases of a run for a list to choose from."""
    phrases = [(phrase, index) for index, phrase in enumerate(progress.phrases)]
    return [(translate("All phrases together"), ALL_PHRASES), *phrases] if with_all and len(phrases) > 1 else phrases


def strategy_choices(results: Sequence[StrategyResult]) -> list[tuple[str, str]]:
    """Return the strategies that answered for a list to choose from."""
    return [
        (translate_message(each.card.title), each.key) for each in results if each.segmentation.verdict.kind != "failed"
    ]


def chosen_or_first(value: object, choices: Sequence[tuple[str, Value]]) -> Value:
    """Return what was chosen if it is there, else the first choice: a client may send anything."""
    return next((offered for _, offered in choices if type(offered) is type(value) and offered == value), choices[0][1])


def results_for(progress: Progress, phrase: int) -> tuple[StrategyResult, ...]:
    """Return the answers to one phrase, or to all together."""
    if phrase == ALL_PHRASES or len(progress.phrases) == 1:
        return progress.results
    return tuple(replace(each, segmentation=each.by_phrase[phrase], answers=()) for each in progress.results)
