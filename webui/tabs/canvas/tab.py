"""Refine: add points or a box to what a strategy made of the phrase, and decode again at once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Final

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from evfsam.errors import ConfigurationError, EvfSamError
from evfsam.types import RgbImage
from webui import wording
from webui.i18n.translate import translate, translate_message
from webui.known_scenes import measured_iou
from webui.run_cache import FinishedRun
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.tab import MODEL_QUEUE, STATE_SECONDS, ComparePage
from webui.tabs.canvas.marks import (
    MARK_TITLES,
    Marks,
    drawn_prompt,
    in_words,
    mark_title,
    open_corner,
    prompt_of,
    with_mark,
)
from workbench.analysis.absence import outcome_of
from workbench.comparison import StrategyResult
from workbench.pictures.rendering import evidence, overlay
from workbench.pictures.shown_pictures import shown_pair

logger = logging.getLogger(__name__)

_EMPTY: Final = (
    "Once a comparison is finished, its masks can be corrected here: click where the object is, where it is not, "
    "or two corners of a box around it."
)
_START: Final = "Click in the picture, or give a pixel in numbers. The mask is decoded again with each mark."
_OUR_FAULT: Final = "Something went wrong on our side. Your marks are still here: try once more."

Pane = tuple[gr.HTML, gr.Image]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is refined: one strategy's answer to one phrase of a run.

    Attributes:
        run: it is part of.
        phrase: that was asked.
        before: the answer without marks.
        known: (H, W) bool, what the phrase means; None where nobody knows.
    """

    run: FinishedRun
    phrase: str
    before: StrategyResult
    known: NDArray[np.bool_] | None

    @property
    def image(self) -> RgbImage:
        """(H, W, 3) uint8."""
        return self.run.progress.view.image


@dataclass(frozen=True, eq=False)
class RefineTab:
    """The components of the tab, and the handlers of its events."""

    page: ComparePage
    empty: gr.HTML
    place: gr.Row
    picture: gr.Image
    strategy: gr.Radio
    phrase: gr.Radio
    kind: gr.Radio
    column: gr.Number
    row: gr.Number
    add: gr.Button
    undo: gr.Button
    reset: gr.Button
    status: gr.HTML
    listing: gr.HTML
    before: Pane
    after: Pane
    marks: gr.State

    def open(self, key: str | None) -> Updates:
        """Show the visitor's latest run, or say what will be here."""
        if key is None:
            return {self.empty: gr.update(visible=True), self.place: gr.update(visible=False), self.marks: ()}
        try:
            run = self.page.runs.get(key)
        except EvfSamError as error:
            return {self.status: wording.problem(str(error))}
        progress = run.progress
        strategies = [(translate_message(result.card.title), result.key) for result in progress.results]
        phrases = [(phrase, index) for index, phrase in enumerate(progress.phrases)]
        height, width = progress.view.size
        return {
            self.empty: gr.update(visible=False),
            self.place: gr.update(visible=True),
            self.marks: (),
            self.strategy: gr.update(choices=strategies, value=strategies[0][1]),
            self.phrase: gr.update(choices=phrases, value=0),
            self.column: gr.update(value=width // 2, info=translate("0 to {most}", most=width - 1)),
            self.row: gr.update(value=height // 2, info=translate("0 to {most}", most=height - 1)),
            **self._show(_subject(run, strategies[0][1], 0), None, (), wording.hint(translate(_START))),
        }

    def mark_by_click(self, kind: object, marks: Marks, key: str | None, event: gr.SelectData) -> Updates:
        """Add a mark where the picture was clicked."""
        try:
            return self.mark(kind, *_pixel(event.index, self._run(key)), marks, key)
        except EvfSamError as error:
            return {self.status: wording.problem(str(error))}

    def mark(self, kind: object, column: object, row: object, marks: Marks, key: str | None) -> Updates:
        """Add a mark at a pixel of the image; the marks' change decodes again."""
        try:
            added = with_mark(marks, kind, column, row, self._run(key).progress.view.size)
        except EvfSamError as error:
            return {self.status: wording.problem(str(error))}
        return {
            self.marks: added,
            self.status: wording.hint(translate("{mark}. Decoding again.", mark=in_words(added[-1]))),
        }

    def undo_last(self, marks: Marks) -> Marks:
        """Take the last mark away."""
        return marks[:-1]

    def decode(self, key: str | None, strategy: object, phrase: object, marks: Marks) -> Updates:
        """Ask the strategy again with the marks; without any, show what it had answered."""
        if key is None:
            return {}
        try:
            subject = _subject(self._run(key), strategy, phrase)
            prompt = prompt_of(marks)
            if prompt.box is None and not prompt.points:
                words = translate("One corner is set. Click the opposite one.") if marks else translate(_START)
                return self._show(subject, None, marks, wording.hint(words))
            asked, options = subject.before.key, subject.run.options
            taken = {asked: options[asked]} if asked in options else {}
            view = subject.run.progress.view
            (after,) = self.page.comparison.run(view, [subject.phrase], [asked], taken, refinement=prompt)
            return self._show(subject, after, marks, _outcome(after, marks))
        except EvfSamError as error:
            return {self.status: wording.problem(str(error))}
        except Exception:
            logger.exception("a refinement failed")
            return {self.status: wording.problem(translate(_OUR_FAULT))}

    def _run(self, key: str | None) -> FinishedRun:
        if key is None:
            raise ConfigurationError("There is no run to refine. Press Compare first.")
        return self.page.runs.get(key)

    def _show(self, subject: Subject, after: StrategyResult | None, marks: Marks, status: str) -> Updates:
        before = subject.before
        is_answered = after is not None and after.segmentation.verdict.kind != "failed"
        latest = after.segmentation if after is not None and is_answered else before.segmentation
        picture = evidence(subject.image, replace(latest, prompts=(drawn_prompt(marks),)), before.key)
        items = "".join(f"<li>{escape(in_words(mark))}</li>" for mark in marks)
        alt_text = translate(
            "The image, the mask of {title} outlined, {count} marks. Click to add a mark.",
            title=translate_message(before.card.title),
            count=len(marks),
        )
        return {
            self.status: status,
            self.picture: gr.update(value=picture, alt_text=alt_text),
            self.listing: f'<ol class="marks" aria-label="{translate("Marks")}">{items}</ol>' if marks else _no_marks(),
            self.undo: gr.update(interactive=bool(marks)),
            self.reset: gr.update(interactive=bool(marks)),
            **_pane(self.before, translate("Before"), subject, before),
            **_pane(self.after, translate("After"), subject, after),
        }


def build_refine(page: ComparePage) -> None:
    """Lay out the tab and wire its events; it follows the visitor's latest run."""
    empty = gr.HTML(f'<p class="empty">{translate(_EMPTY)}</p>')
    with gr.Row(visible=False, elem_id="refine") as place:
        with gr.Column(scale=5, min_width=300):
            status = gr.HTML(wording.hint(translate(_START)), elem_id="refine-status")
            picture = _picture(translate("Click to add a mark"), "refine-picture")
        with gr.Column(scale=3, min_width=280, elem_id="refine-controls"):
            strategy = gr.Radio([], label=translate("Strategy"), elem_id="refine-strategy")
            phrase = gr.Radio([], label=translate("Phrase"), elem_id="refine-phrase")
            kinds = [(mark_title(kind), kind) for kind in MARK_TITLES]
            kind = gr.Radio(kinds, value="on", label=translate("A click adds"), elem_id="refine-kind")
            with gr.Row():
                column = gr.Number(0, label="x", precision=0, minimum=0, min_width=90, elem_id="refine-x")
                row = gr.Number(0, label="y", precision=0, minimum=0, min_width=90, elem_id="refine-y")
            add = gr.Button(translate("Add at this pixel"), elem_id="refine-add")
            with gr.Row():
                undo = gr.Button(translate("Undo"), interactive=False, min_width=90, elem_id="refine-undo")
                reset = gr.Button(translate("Start over"), interactive=False, min_width=90, elem_id="refine-reset")
            listing = gr.HTML(_no_marks(), elem_id="refine-marks")
        with gr.Column(scale=3, min_width=240):
            before = gr.HTML(""), _picture(translate("Mask before"), "refine-before")
        with gr.Column(scale=3, min_width=240):
            after = gr.HTML("", elem_id="refine-after-card"), _picture(translate("Mask after"), "refine-after")
    marks = gr.State((), time_to_live=STATE_SECONDS)
    controls = (strategy, phrase, kind, column, row, add, undo, reset)
    _wire(RefineTab(page, empty, place, picture, *controls, status, listing, before, after, marks))


def _wire(tab: RefineTab) -> None:
    key = tab.page.last_run
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    shown = [tab.status, tab.picture, tab.listing, tab.undo, tab.reset, *tab.before, *tab.after]
    opened = [tab.empty, tab.place, tab.marks, tab.strategy, tab.phrase, tab.column, tab.row, *shown]
    key.change(tab.open, key, opened, queue=False, **quiet)
    # Gradio tells of a state's change only where the event was queued.
    marked = [tab.marks, tab.status]
    clicked = [tab.kind, tab.marks, key]
    tab.picture.select(tab.mark_by_click, clicked, marked, trigger_mode="multiple", **quiet)
    given = [tab.kind, tab.column, tab.row, tab.marks, key]
    gr.on([tab.add.click, tab.column.submit, tab.row.submit], tab.mark, given, marked, **quiet)
    tab.undo.click(tab.undo_last, tab.marks, tab.marks, **quiet)
    tab.reset.click(tuple, None, tab.marks, **quiet)
    asked = [key, tab.strategy, tab.phrase, tab.marks]
    again = {"concurrency_limit": 1, "concurrency_id": MODEL_QUEUE, "trigger_mode": "always_last", **quiet}
    for changed in (tab.marks.change, tab.strategy.input, tab.phrase.input):
        changed(tab.decode, asked, shown, **again)


def _subject(run: FinishedRun, strategy: object, phrase: object) -> Subject:
    """Look up what the controls name; a control that the browser has not drawn yet says nothing and means its first."""
    progress = run.progress
    wanted, phrase = strategy or progress.results[0].key, 0 if phrase is None else phrase
    found = next((result for result in progress.results if result.key == wanted), None)
    if found is None or not isinstance(phrase, int) or not 0 <= phrase < len(progress.phrases):
        raise ConfigurationError("This strategy or phrase is not part of the run. Choose another.")
    alone = replace(found, segmentation=found.by_phrase[phrase], answers=())
    return Subject(run, progress.phrases[phrase], alone, progress.known_masks[phrase])


def _pixel(index: object, run: FinishedRun) -> tuple[int, int]:
    """Return column and row in the image of a pixel of the picture that the page shows."""
    if not isinstance(index, Sequence) or len(index) != 2 or not all(isinstance(each, int | float) for each in index):
        raise ConfigurationError("expected a pixel of the picture, got something else; click again")
    image = run.progress.view.image
    height, width = image.shape[:2]
    shown, _ = shown_pair(image, np.zeros((height, width), dtype=bool))
    column, row = (index[0] + 0.5) * width / shown.shape[1], (index[1] + 0.5) * height / shown.shape[0]
    return min(max(int(column), 0), width - 1), min(max(int(row), 0), height - 1)


def _no_marks() -> str:
    return f'<p class="empty">{translate("No marks yet.")}</p>'


def _outcome(after: StrategyResult, marks: Marks) -> str:
    if after.segmentation.verdict.kind == "failed":
        reason = translate_message(after.segmentation.verdict.reason)
        return wording.problem(translate("{title}: {reason}", title=translate_message(after.card.title), reason=reason))
    seconds = f"{after.seconds:.2f}"
    told = translate("Decoded again with 1 mark in {seconds} s.", seconds=seconds)
    if len(marks) > 1:
        told = translate("Decoded again with {count} marks in {seconds} s.", count=len(marks), seconds=seconds)
    waiting = translate("A corner waits for the opposite one.") if open_corner(marks) else ""
    return wording.hint(f"{told} {waiting}".rstrip())


def _pane(pane: Pane, title: str, subject: Subject, result: StrategyResult | None) -> Updates:
    card, picture = pane
    head = f'<p class="section">{title}</p>'
    if result is None or result.segmentation.verdict.kind == "failed":
        words = (
            translate("The mask with your marks appears here.") if result is None else translate("It did not answer.")
        )
        return {card: f'{head}<p class="empty">{words}</p>', picture: gr.update(value=None, visible=False)}
    mask = result.segmentation.mask
    drawn = overlay(*shown_pair(subject.image, mask), result.key)
    found = wording.verdict_in_words(result.segmentation).rstrip(".。")
    alt_text = translate("{title}: {words}.", title=title, words=found)
    return {
        card: head
        + wording.result_card(
            result,
            measured_iou(mask, subject.known),
            outcome=None if subject.known is None else outcome_of(mask, subject.known),
        ),
        picture: gr.update(value=drawn, visible=True, alt_text=alt_text),
    }


def _picture(label: str, elem_id: str) -> gr.Image:
    return gr.Image(
        label=label,
        show_label=False,
        interactive=False,
        format="png",
        buttons=["fullscreen", "download"],
        container=False,
        elem_id=elem_id,
    )
