"""Options of the strategies on the page: the controls, and how their values reach `Comparison.run`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gradio as gr

from webui.i18n.translate import translate
from workbench.comparison import StrategyOptions


@dataclass(frozen=True, eq=False)
class OptionControl:
    """One control and the option it stands for.

    Attributes:
        strategy, name: where its value is filed.
        default: the value that leaves the strategy as it is.
        component: the control.
    """

    strategy: str
    name: str
    default: object
    component: gr.components.Component


def build_options(keys: Sequence[str]) -> tuple[OptionControl, ...]:
    """Lay out the options of those of the strategies that have any."""
    controls: list[OptionControl] = []
    if "point-query" in keys:
        controls.extend(_point_query())
    if "clip-text" in keys:
        controls.extend(_clip_text())
    return tuple(controls)


def chosen_options(controls: Sequence[OptionControl], values: Sequence[object]) -> StrategyOptions:
    """File the controls' values by strategy; those left at their defaults are not mentioned.

    A strategy checks its options itself: a client can send anything.
    """
    chosen: dict[str, dict[str, object]] = {}
    for control, value in zip(controls, values, strict=True):
        if value != control.default:
            chosen.setdefault(control.strategy, {})[control.name] = value
    return chosen


def only_of(options: StrategyOptions, strategies: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
    """Keep the options of strategies that are asked."""
    return {key: values for key, values in options.items() if key in strategies}


def _point_query() -> list[OptionControl]:
    gr.Markdown(translate("Point query"), elem_classes=["group-title"])
    form = gr.Radio(
        [(translate("Box, then points (PQPP)"), "pqpp"), (translate("All in one answer (PPG)"), "ppg")],
        value="pqpp",
        label=translate("Form of the question"),
        info=translate(
            "PQPP asks of every grid point whether it lies on the object; PPG lets the model name its points."
        ),
    )
    prompt = gr.Radio(
        [(translate("Box and points"), "both"), (translate("Box only"), "box"), (translate("Points only"), "points")],
        value="both",
        label=translate("SAM is given"),
    )
    grid = gr.Slider(
        2, 9, value=5, step=1, label=translate("Grid"), info=translate("Points along each side of the box; PQPP only.")
    )
    threshold = gr.Slider(
        0.5,
        1,
        value=0.9,
        step=0.01,
        label=translate("Threshold"),
        info=translate("Answers less sure than this are dropped; PQPP only."),
    )
    return [
        OptionControl("point-query", "form", "pqpp", form),
        OptionControl("point-query", "prompt", "both", prompt),
        OptionControl("point-query", "grid_size", 5, grid),
        OptionControl("point-query", "threshold", 0.9, threshold),
    ]


def _clip_text() -> list[OptionControl]:
    gr.Markdown(translate("CLIP text"), elem_classes=["group-title"])
    variant = gr.Radio(
        [(translate("Text only"), "text"), (translate("Text and image, joined late"), "late-concat")],
        value="text",
        label=translate("What the projector sees"),
        info=translate("CLIP reads the phrase alone, or its reading of the whole image is put beside it."),
    )
    return [OptionControl("clip-text", "variant", "text", variant)]
