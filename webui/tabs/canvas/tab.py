"""The large picture: look at one answer closely, and correct it with points and a box where it is seen."""

import logging
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

import gradio as gr

from evfsam.errors import ConfigurationError, EvfSamError
from webui import figures, wording
from webui.i18n.translate import translate, translate_message
from webui.known_scenes import measured_iou
from webui.run_cache import FinishedRun
from webui.tabs.canvas.marks import (
    MARK_CHOICES,
    Marks,
    mark_choice,
    mark_in_words,
    open_corner,
    prompt_of,
    with_mark,
    without_open_corner,
)
from webui.tabs.canvas.stage import Subject, stage, subject_of
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.tab import MODEL_QUEUE, STATE_SECONDS, ComparePage
from webui.tabs.opened_run import enclosing_tab, look_first, run_or_words
from workbench.analysis.absence import outcome_of
from workbench.comparison import StrategyResult

logger = logging.getLogger(__name__)

SCRIPT: Final = Path(__file__).with_name("canvas.js")
_START: Final = "Click in the picture to correct the mask. It is decoded again with each mark."
_NO_MARKS: Final = "{title} takes no marks. Choose another strategy to correct a mask; your marks stay."
_OUR_FAULT: Final = "Something went wrong on our side. Your marks are still here: try once more."
_ALL_FAILED: Final = "Every strategy failed on this phrase, so there is no mask to look at."


@dataclass(frozen=True, eq=False)
class Canvas:
    """The components of the large picture, and the handlers of its events."""

    page: ComparePage
    stage: gr.HTML
    kind: gr.Radio
    column: gr.Number
    row: gr.Number
    add: gr.Button
    undo: gr.Button
    reset: gr.Button
    status: gr.HTML
    listing: gr.HTML
    after: gr.HTML
    marks: gr.State

    @property
    def shown(self) -> list[gr.components.Component]:
        """What another answer or mark changes."""
        return [self.stage, self.status, self.listing, self.undo, self.reset, self.after]

    def follow(self, key: str | None, chosen: object, is_open: object) -> Updates:
        """Begin without marks on another run; draw it where the picture is seen."""
        limits: Updates = {}
        if key is not None and isinstance(run := run_or_words(self.page, key), FinishedRun):
            height, width = run.progress.view.size
            limits = {
                self.column: gr.update(value=width // 2, info=translate("0 to {most}", most=width - 1)),
                self.row: gr.update(value=height // 2, info=translate("0 to {most}", most=height - 1)),
            }
        shown = self.show(key, chosen) if is_open is True or key is None else {self.stage: gr.skip()}
        return {self.marks: (), **limits, **shown}

    def reopen(self, key: str | None, chosen: object, marks: Marks, is_open: object) -> Updates:
        """Show what is chosen, unless it has to be decoded again with marks."""
        return {self.stage: gr.skip()} if marks or is_open is not True else self.show(key, chosen)

    def show(self, key: str | None, chosen: object) -> Updates:
        """Show an answer as it was given."""
        run = run_or_words(self.page, key)
        if isinstance(run, str):
            return self._without(figures.nothing(run))
        subject = subject_of(run, chosen)
        if subject is None:
            return self._without(figures.nothing(translate(_ALL_FAILED)))
        return self._show(subject, None, (), self._hint(subject))

    def choose(self, chosen: object, event: gr.SelectData) -> object:
        """Take a strategy's answer to look at; without its key, the one that is chosen."""
        number = chosen[1] if isinstance(chosen, list | tuple) and len(chosen) == 2 else 0
        return (event.value, number) if event.value else gr.skip()

    def mark_in_picture(self, kind: object, marks: Marks, key: str | None, event: gr.SelectData) -> Updates:
        """Add a point, a corner or a whole box where it was drawn."""
        place = event.index if isinstance(event.index, list | tuple) else ()
        if len(place) == 4:
            first = self.mark("corner", place[0], place[1], without_open_corner(marks), key)
            return self.mark("corner", place[2], place[3], first.get(self.marks, marks), key)
        if len(place) == 2:
            return self.mark(kind, place[0], place[1], marks, key)
        told = ConfigurationError("expected a pixel of the picture, got something else; click again")
        return {self.status: wording.problem(str(told))}

    def mark(self, kind: object, column: object, row: object, marks: object, key: str | None) -> Updates:
        """Add a mark at a pixel of the image; the marks' change decodes again."""
        try:
            before = marks if isinstance(marks, tuple) else ()
            added = with_mark(before, kind, column, row, self._run(key).progress.view.size)
        except EvfSamError as error:
            return {self.status: wording.problem(str(error))}
        return {
            self.marks: added,
            self.status: wording.hint(translate("{mark}. Decoding again.", mark=mark_in_words(added[-1]))),
        }

    def undo_last(self, marks: Marks) -> Marks:
        """Take the last mark away."""
        return marks[:-1]

    def decode(self, key: str | None, chosen: object, marks: Marks) -> Updates:
        """Ask the strategy again with the marks; without any, show what it had answered."""
        if key is None:
            return {self.stage: gr.skip()}
        try:
            subject = subject_of(self._run(key), chosen)
            prompt = prompt_of(marks)
            if subject is None or (prompt.box is None and not prompt.points):
                return self._undecoded(subject, marks)
            asked, options = subject.before.key, subject.run.options
            if not self.page.comparison.takes_marks(asked):
                return self._show(subject, None, marks, self._hint(subject))
            taken = {asked: options[asked]} if asked in options else {}
            view = subject.run.progress.view
            (after,) = self.page.comparison.run(view, [subject.phrase], [asked], taken, refinement=prompt)
            return self._show(subject, after, marks, _outcome(after, marks))
        except EvfSamError as error:
            return {self.status: wording.problem(str(error))}
        except Exception:
            logger.exception("a refinement failed")
            return {self.status: wording.problem(translate(_OUR_FAULT))}

    def decode_again(self, key: str | None, chosen: object, marks: Marks, is_open: object) -> Updates:
        """Decode what is chosen now with the marks that are there."""
        return self.decode(key, chosen, marks) if marks and is_open is True else {self.stage: gr.skip()}

    def _undecoded(self, subject: Subject | None, marks: Marks) -> Updates:
        if subject is None:
            return self._without(figures.nothing(translate(_ALL_FAILED)))
        corner = wording.hint(translate("One corner is set. Click the opposite one."))
        return self._show(subject, None, marks, corner if marks else self._hint(subject))

    def _hint(self, subject: Subject) -> str:
        if not self.page.comparison.takes_marks(subject.before.key):
            return wording.hint(translate(_NO_MARKS, title=translate_message(subject.before.card.title)))
        return wording.hint(translate(_START))

    def _run(self, key: str | None) -> FinishedRun:
        if key is None:
            raise ConfigurationError("There is no run to refine. Press Compare first.")
        return self.page.runs.get(key)

    def _show(self, subject: Subject, after: StrategyResult | None, marks: Marks, status: str) -> Updates:
        is_answered = after is not None and after.segmentation.verdict.kind != "failed"
        items = "".join(f"<li>{escape(mark_in_words(mark))}</li>" for mark in marks)
        return {
            self.stage: stage(subject, after if is_answered else None, marks),
            self.status: status,
            self.listing: f'<ol class="marks" aria-label="{translate("Marks")}">{items}</ol>' if marks else "",
            self.undo: gr.update(interactive=bool(marks)),
            self.reset: gr.update(interactive=bool(marks)),
            self.after: _card(subject, after) if after is not None and is_answered else "",
        }

    def _without(self, words: str) -> Updates:
        still = gr.update(interactive=False)
        return {
            self.stage: words,
            self.status: "",
            self.listing: "",
            self.undo: still,
            self.reset: still,
            self.after: "",
        }


def build_canvas(page: ComparePage) -> None:
    """Lay out the large picture and wire its events; it follows the visitor's latest run."""
    with gr.Column(elem_id="canvas", min_width=0) as place:
        with gr.Row(elem_id="refine-tools"):
            kinds = [(mark_choice(kind), kind) for kind in MARK_CHOICES]
            kind = gr.Radio(kinds, value="on", label=translate("A click adds"), elem_id="refine-kind")
            undo = gr.Button(translate("Undo"), interactive=False, min_width=90, elem_id="refine-undo")
            reset = gr.Button(translate("Start over"), interactive=False, min_width=90, elem_id="refine-reset")
        picture = gr.HTML("", js_on_load=SCRIPT.read_text(encoding="utf-8"), elem_id="canvas-stage")
        status = gr.HTML("", elem_id="refine-status")
        with gr.Row(elem_id="refine-numbers"):
            column = gr.Number(0, label="x", precision=0, minimum=0, min_width=90, elem_id="refine-x")
            row = gr.Number(0, label="y", precision=0, minimum=0, min_width=90, elem_id="refine-y")
            add = gr.Button(translate("Add at this pixel"), elem_id="refine-add")
        listing = gr.HTML("", elem_id="refine-marks")
        after = gr.HTML("", elem_id="refine-after-card")
    marks = gr.State((), time_to_live=STATE_SECONDS)
    controls = (kind, column, row, add, undo, reset)
    _wire(Canvas(page, picture, *controls, status, listing, after, marks), enclosing_tab(place))


def _wire(canvas: Canvas, tab: gr.Tab | None) -> None:
    page = canvas.page
    key, chosen, marks = page.last_run, page.chosen, canvas.marks
    is_open = gr.Checkbox(visible=False, label="open")
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    again = {"concurrency_limit": 1, "concurrency_id": MODEL_QUEUE, "trigger_mode": "always_last", **quiet}
    followed = [marks, canvas.column, canvas.row, *canvas.shown]
    # Queued, or Gradio would not tell of the marks' change.
    look_first(key.change, "canvas", is_open, canvas.follow, [key, chosen, is_open], followed, **quiet)
    chose = canvas.stage.click(canvas.choose, chosen, chosen, **quiet)
    for listen in [chose.success] if tab is None else [chose.success, tab.select]:
        seen = [key, chosen, marks, is_open]
        shown = look_first(listen, "canvas", is_open, canvas.reopen, seen, canvas.shown, **quiet)
        shown.success(canvas.decode_again, seen, canvas.shown, **again)
    drawn = [canvas.kind, marks, key]
    canvas.stage.select(canvas.mark_in_picture, drawn, [marks, canvas.status], trigger_mode="multiple", **quiet)
    given = [canvas.kind, canvas.column, canvas.row, marks, key]
    submitted = [canvas.add.click, canvas.column.submit, canvas.row.submit]
    gr.on(submitted, canvas.mark, given, [marks, canvas.status], **quiet)
    canvas.undo.click(canvas.undo_last, marks, marks, **quiet)
    canvas.reset.click(tuple, None, marks, **quiet)
    marks.change(canvas.decode, [key, chosen, marks], canvas.shown, **again)


def _card(subject: Subject, after: StrategyResult) -> str:
    mask = after.segmentation.mask
    outcome = None if subject.known is None else outcome_of(mask, subject.known)
    head = f'<p class="section">{translate("With your marks")}</p>'
    return head + wording.result_card(after, measured_iou(mask, subject.known), outcome=outcome)


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
