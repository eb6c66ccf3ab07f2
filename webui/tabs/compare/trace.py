"""The trace of an answer on the page, step by step, as escaped HTML. No gradio."""

from collections.abc import Sequence
from html import escape

from evfsam.types import Segmentation, TraceEntry
from webui.i18n.translate import translate, translate_message
from webui.tabs.compare.story import step_told


def steps_of(segmentation: Segmentation, drawn: Sequence[str] = (), after: str = "") -> str:
    """Write the steps of one answer as a list.

    Args:
        segmentation: the answer.
        drawn: pictures as HTML; the first belongs to the first step that asked about points, and so on.
        after: one more step as HTML, what SAM made of it.
    """
    trace = segmentation.trace
    if not trace and not after:
        return f'<p class="empty">{translate("It left no trace.")}</p>'
    pictures = iter(drawn)
    steps = [step_told(entry, next(pictures, "") if _asks_of_points(entry) else "") for entry in trace]
    steps += [*pictures, after]
    return "<ol>" + "".join(f"<li>{step}</li>" for step in steps if step) + "</ol>"


def stages_of(segmentation: Segmentation) -> str:
    """Say how long each stage took."""
    stages = ", ".join(f"{translate_message(stage)} {seconds:.2f}" for stage, seconds in segmentation.seconds.items())
    return f'<p class="caption">{escape(translate("Seconds a stage: {stages}.", stages=stages))}</p>' if stages else ""


def _asks_of_points(entry: TraceEntry) -> bool:
    return "questions" in entry.values
