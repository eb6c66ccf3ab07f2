"""The verdict on one answer: its figures, whether the phrase is there at all, and the mask finished as one likes."""

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from typing import Final

import gradio as gr
import numpy as np

from evfsam.errors import ConfigurationError, EvfSamError
from evfsam.types import Segmentation
from webui import figures, wording
from webui.i18n.translate import translate, translate_message
from webui.run_cache import FinishedRun
from webui.tabs.chosen_answer import AnswerChoice, answer_of
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.tab import ComparePage
from webui.tabs.opened_run import in_order, run_or_words, wire_opening
from webui.wording import percent
from workbench.analysis.absence import AbsenceJudgement, judge_presence
from workbench.analysis.finishing import FinishedMask, FinishingOptions, decision_logits, finish
from workbench.comparison import StrategyResult
from workbench.metrics.masks import Mask
from workbench.pictures.mask_png import mask_png
from workbench.pictures.rendering import overlay
from workbench.pictures.shown_pictures import shown_pair

_MARGIN: Final = 12.0
"""Thresholds on the page reach this far from 0; few logits lie beyond."""
_CAPTIONS: Final = {
    "raw": "Raw: {share} of the image, {count} pixels.",
    "finished": "Finished: {share} of the image, {count} pixels.",
}
_ALT_TEXTS: Final = {
    "raw": "{title}, raw mask for “{phrase}”. {caption}",
    "finished": "{title}, finished mask for “{phrase}”. {caption}",
}
_DEFAULTS: Final = (0.0, 0.0, 0.0, 0.0)
_PANEL: Final = "verdict"


@dataclass(frozen=True, eq=False)
class VerdictTab:
    """The components of the tab, and its handlers."""

    page: ComparePage
    choice: AnswerChoice
    threshold: gr.Slider
    smoothing: gr.Slider
    largest_hole: gr.Number
    least_island: gr.Number
    reset: gr.Button
    verdict: gr.HTML
    masks: gr.HTML
    figures: gr.HTML

    @property
    def sliders(self) -> list[gr.components.Component]:
        """How the mask is finished."""
        return [self.threshold, self.smoothing, self.largest_hole, self.least_island]

    @property
    def controls(self) -> list[gr.components.Component]:
        """What a visitor sets."""
        return [self.page.chosen, *self.sliders]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What changes; the sliders stay as they are, also while they are dragged."""
        return [*self.choice.components, self.verdict, self.masks, self.figures]

    def show(self, key: str | None, chosen: object, *finishing: object) -> Updates:
        """Judge one answer and finish its mask."""
        run = run_or_words(self.page, key)
        if isinstance(run, str):
            return self.emptied(run)
        result, number = answer_of(run.progress, chosen)
        offered = self.choice.offered(run.progress, result, number)
        if result.segmentation.verdict.kind == "failed":
            title = translate_message(result.card.title)
            words = translate("{title} failed on this phrase, so there is no mask to judge.", title=title)
            return {**offered, self.verdict: figures.nothing(words), self.masks: "", self.figures: ""}
        return {**offered, **self._judged(run, result, run.progress.phrases[number], finishing)}

    def emptied(self, words: str = "") -> Updates:
        """Show that there is nothing yet, or why."""
        return {
            **self.choice.hidden(),
            self.verdict: figures.nothing(words) if words else "",
            self.masks: "",
            self.figures: "",
        }

    def _judged(self, run: FinishedRun, result: StrategyResult, phrase: str, finishing: tuple[object, ...]) -> Updates:
        judgement = judge_presence(result.segmentation, self.page.comparison.suite.key, result.key)
        shown = {self.verdict: verdict_words(judgement, result.segmentation)}
        try:
            finished = finish(decision_logits(result.segmentation), options_of(*finishing))
        except EvfSamError as error:
            return {**shown, self.figures: wording.problem(str(error))}
        image = run.progress.view.image
        pair = (("raw", finished.raw), ("finished", finished.mask))
        plates = []
        for name, mask in pair:
            figures_of = {"share": percent(float(mask.mean())), "count": int(np.count_nonzero(mask))}
            caption = translate(_CAPTIONS[name], **figures_of)
            title = translate_message(result.card.title)
            alt_text = translate(_ALT_TEXTS[name], title=title, phrase=phrase, caption=caption)
            plates.append(figures.figure(overlay(*shown_pair(image, mask), result.key), alt_text, caption))
        links = "".join(_link(mask, f"{result.key}-mask-{name}.png") for name, mask in pair)
        return {
            **shown,
            self.masks: figures.plates(plates),
            self.figures: f'{finishing_table(finished)}<p class="files">{links}</p>',
        }


def build_verdict(page: ComparePage, choice: AnswerChoice) -> None:
    """Lay out the tab and wire its events."""
    with gr.Tab(translate("Verdict"), id="verdict") as tab:
        with gr.Row(elem_id=_PANEL, elem_classes=["deeper"]):
            with gr.Column(elem_classes=["deeper-controls"]):
                threshold = gr.Slider(
                    -_MARGIN,
                    _MARGIN,
                    value=0,
                    step=0.1,
                    label=translate("Threshold"),
                    info=translate("Logits above it are the mask."),
                    elem_id="verdict-threshold",
                )
                rounds = translate("Pixels; rounds the border.")
                smoothing = gr.Slider(0, 20, value=0, step=0.5, label=translate("Smoothing"), info=rounds)
                hole = gr.Number(
                    0,
                    minimum=0,
                    precision=0,
                    label=translate("Fill holes up to"),
                    info=translate("Pixels; 0 fills none."),
                    elem_id="verdict-hole",
                )
                island = gr.Number(
                    0,
                    minimum=0,
                    precision=0,
                    label=translate("Drop islands below"),
                    info=translate("Pixels; the largest part always stays."),
                    elem_id="verdict-island",
                )
                reset = gr.Button(translate("Back to the raw mask"), elem_id="verdict-reset")
            with gr.Column(elem_classes=["deeper-answer"]):
                verdict = gr.HTML("", elem_id="verdict-words")
                masks = gr.HTML("", elem_id="verdict-masks")
                table = gr.HTML("", elem_id="verdict-figures")
        made = VerdictTab(page, choice, threshold, smoothing, hole, island, reset, verdict, masks, table)
        wire_opening(page, tab, _PANEL, made.show, made.emptied, controls=made.controls, outputs=made.outputs)
    _wire(made)


def options_of(threshold: object, smoothing: object, largest_hole: object, least_island: object) -> FinishingOptions:
    """Return the options as they came from the page or a client; an emptied field counts as 0.

    Raises:
        ConfigurationError: a value is no number or out of range.
    """
    values = []
    for value in (threshold, smoothing, largest_hole, least_island):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigurationError("expected a number, got {value!r}", value=value)
        values.append(float(value or 0))
    return FinishingOptions(values[0], values[1], int(values[2]), int(values[3]))


def verdict_words(judgement: AbsenceJudgement, segmentation: Segmentation) -> str:
    """Say as on the card how sure the answer is, and the figures that say so."""
    facts = [
        ("pred_iou", "–" if judgement.pred_iou is None else f"{judgement.pred_iou:.2f}", translate("SAM’s guess")),
        (translate("Stability"), f"{judgement.stability:.2f}", translate("at threshold 0")),
        (
            translate("Mean logit"),
            "–" if judgement.mean_logit is None else f"{judgement.mean_logit:.2f}",
            translate("on the mask"),
        ),
    ]
    rows = "".join(
        f'<div><dt>{name}</dt><dd>{value}</dd><dd class="note">{note}</dd></div>' for name, value, note in facts
    )
    own = translate_message(segmentation.verdict.reason)
    said = translate("It said itself: {reason}", reason=own) if segmentation.verdict.kind == "absent" else ""
    return (
        f'<article class="card"><h2>{escape(wording.certainty_in_words(judgement))}</h2>'
        f'<p class="how">{escape(said)}</p>'
        f'<dl class="facts">{rows}</dl></article>'
    )


def finishing_table(finished: FinishedMask) -> str:
    """Write what finishing did."""
    rows = [
        [translate("Stability at this threshold"), f"{finished.stability:.2f}"],
        [translate("Holes filled"), _counted(finished.filled_count, finished.filled_pixels)],
        [translate("Islands dropped"), _counted(finished.dropped_count, finished.dropped_pixels)],
        [translate("Pixels that differ from the raw mask"), str(finished.changed_pixels)],
    ]
    return figures.table(translate("What finishing did"), ["", translate("Value")], rows)


def _counted(count: int, pixels: int) -> str:
    return translate("{count} ({pixels} pixels)", count=count, pixels=pixels)


def _link(mask: Mask, name: str) -> str:
    data = b64encode(mask_png(mask)).decode("ascii")
    words = translate("Save {name}", name=name)
    return f'<a class="file" download="{name}" href="data:image/png;base64,{data}">{words}</a>'


def _wire(made: VerdictTab) -> None:
    inputs = [made.page.last_run, *made.controls]
    quiet = {"preprocess": False, "show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}
    shown = {**quiet, **in_order(_PANEL)}
    for control in made.sliders:
        control.input(made.show, inputs, made.outputs, **shown)
    back = made.reset.click(lambda: _DEFAULTS, None, made.sliders, **quiet)
    back.then(made.show, inputs, made.outputs, **shown)
