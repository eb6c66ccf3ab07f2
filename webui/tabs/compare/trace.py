"""The trace on the page: what each strategy asked and was answered, as escaped HTML. No gradio."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from evfsam.types import Segmentation, TraceEntry
from webui.i18n.translate import retold, say
from workbench.comparison import StrategyResult

_LONGEST_TEXT: Final = 4_000


def trace_of(results: Sequence[StrategyResult]) -> str:
    """Tell what each strategy asked and was answered, step by step."""
    if not results:
        words = say("The steps of each strategy appear here: what was asked, and what was answered.")
        return f'<p class="empty">{words}</p>'
    return "".join(
        f'<section class="trace"><h3>{escape(retold(result.card.title))}</h3>'
        f"{_steps(result.segmentation.trace)}{_stages(result.segmentation)}</section>"
        for result in results
    )


def _steps(trace: Sequence[TraceEntry]) -> str:
    if not trace:
        return f'<p class="empty">{say("It left no trace.")}</p>'
    return "<ol>" + "".join(f"<li>{_step(entry)}</li>" for entry in trace) + "</ol>"


def _stages(segmentation: Segmentation) -> str:
    stages = ", ".join(f"{retold(stage)} {seconds:.2f}" for stage, seconds in segmentation.seconds.items())
    return f'<p class="caption">{escape(say("Seconds a stage: {stages}.", stages=stages))}</p>' if stages else ""


def _step(entry: TraceEntry) -> str:
    parts = [f"<h4>{escape(retold(entry.step))}</h4>"]
    if entry.asked:
        parts.append(f'<p class="label">{say("asked")}</p><pre>{_shortened(entry.asked)}</pre>')
    if entry.answered:
        # What a model was asked, it answered in its own words; what was done unasked is told by the library.
        answer = entry.answered if entry.asked else retold(entry.answered)
        parts.append(f'<p class="label">{say("answered")}</p><pre>{_shortened(answer)}</pre>')
    if entry.values:
        rows = "".join(
            f"<div><dt>{escape(str(name))}</dt><dd>{_shortened(_value_in_words(value))}</dd></div>"
            for name, value in entry.values.items()
        )
        parts.append(f'<dl class="values" lang="en">{rows}</dl>')
    return "".join(parts)


def _value_in_words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_value_in_words(item)}" for name, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "(" + ", ".join(_value_in_words(item) for item in value) + ")"
    return str(value)


def _shortened(text: str) -> str:
    cut = text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + say(" … (shortened)")
    return escape(cut)
