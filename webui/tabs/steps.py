"""How one answer came about, as a story: each step with its pictures, P(yes) at every point, SAM's candidates."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import gradio as gr

from evfsam.types import PromptPoint, Segmentation, TraceEntry
from webui import figures
from webui.i18n.translate import translate, translate_message
from webui.run_cache import FinishedRun
from webui.tabs.chosen_answer import AnswerChoice, answer_of
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.tab import ComparePage
from webui.tabs.opened_run import run_or_words, wire_opening
from webui.tabs.steps_story import step_name, step_told
from webui.wording import verdict_in_words
from workbench.comparison import StrategyResult
from workbench.pictures.rendering import overlay
from workbench.pictures.shown_pictures import enlarged, shrunk
from workbench.pictures.step_pictures import asked_points, candidates_of, probability_picture, rows_of

MOST_PROMPTS: Final = 3
"""Prompts of one answer that are drawn; the trace tells of the others."""
_SIDE: Final = 480
_READING: Final = (
    "P(yes) in percent. Blue: probably on the object; orange: probably not. Filled and ringed: given to SAM. "
    "Dark within: dropped, because the answer was not sure enough."
)


@dataclass(frozen=True, eq=False)
class StepsTab:
    """The components of the tab, and its handler."""

    page: ComparePage
    choice: AnswerChoice
    told: gr.HTML

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What changes."""
        return [*self.choice.components, self.told]

    def show(self, key: str | None, chosen: object) -> Updates:
        """Tell how one answer came about."""
        run = run_or_words(self.page, key)
        if isinstance(run, str):
            return self.emptied(run)
        result, number = answer_of(run.progress, chosen)
        return {
            **self.choice.offered(run.progress, result, number),
            self.told: answer_story(run, result, run.progress.phrases[number]),
        }

    def emptied(self, words: str = "") -> Updates:
        """Show that there is nothing yet, or why."""
        return {**self.choice.hidden(), self.told: figures.nothing(words) if words else ""}


def build_steps(page: ComparePage, choice: AnswerChoice) -> None:
    """Lay out the tab and wire its events."""
    with gr.Tab(translate("Steps"), id="steps") as tab:
        with gr.Column(elem_id="steps"):
            shown = gr.HTML("", elem_id="steps-told")
        made = StepsTab(page, choice, shown)
        wire_opening(page, tab, "steps", made.show, made.emptied, controls=[page.chosen], outputs=made.outputs)


def answer_story(run: FinishedRun, result: StrategyResult, phrase: str) -> str:
    """Tell one answer as a story: what it was asked and found, each step with its pictures, and what SAM made of it."""
    segmentation = result.segmentation
    lead = translate("How {title} answered “{phrase}”", title=translate_message(result.card.title), phrase=phrase)
    steps = steps_of(segmentation, points_asked(run, segmentation), candidates_shown(run, result, phrase))
    return (
        f'<section class="trace story"><h2>{escape(lead)}</h2>'
        f"<p>{escape(translate_message(result.card.summary))}</p>{steps}"
        f"<p><strong>{escape(verdict_in_words(segmentation))}</strong></p>{stages_of(segmentation)}</section>"
    )


def points_asked(run: FinishedRun, segmentation: Segmentation) -> list[str]:
    """Draw P(yes) over each box, and write the same as a table."""
    parts = []
    prompts = [prompt for prompt in segmentation.prompts if asked_points(prompt)]
    for number, prompt in enumerate(prompts[:MOST_PROMPTS], start=1):
        points = asked_points(prompt)
        kept = sum(point.is_kept for point in points)
        title = translate("P(yes) at {points} points; SAM got {kept}", points=len(points), kept=kept)
        if len(prompts) > 1:
            where = "P(yes) at {points} points in box {number}; SAM got {kept}"
            title = translate(where, points=len(points), number=number, kept=kept)
        rows = rows_of(points)
        cells = [
            [translate("Row {number}", number=n), *(_point_in_words(point) for point in row)]
            for n, row in enumerate(rows, start=1)
        ]
        head = ["", *(f"{n}" for n in range(1, max(map(len, rows)) + 1))]
        reading = translate(_READING)
        drawn = probability_picture(run.progress.view.image, prompt)
        picture = figures.figure(drawn, translate("{title}. {reading}", title=title, reading=reading), reading)
        parts.append(
            step_name(title) + picture + _folded(translate("The same as a table"), figures.table(title, head, cells))
        )
    return parts


def candidates_shown(run: FinishedRun, result: StrategyResult, phrase: str) -> str:
    """Draw the decoder's candidates for each prompt, with the guess that decided between them."""
    image = run.progress.view.image
    large, _, _ = enlarged(image, result.segmentation.mask)
    small = shrunk(large, _SIDE)
    size = (small.shape[0], small.shape[1])
    parts = []
    predictions = result.segmentation.predictions
    for number, prediction in enumerate(predictions[:MOST_PROMPTS], start=1):
        plates = []
        for candidate in candidates_of(prediction, size):
            guess = f"{candidate.pred_iou:.2f}"
            caption = translate("Candidate {number}: pred_iou {guess}.", number=candidate.number, guess=guess)
            if candidate.is_chosen:
                caption = translate(
                    "Candidate {number}: pred_iou {guess}, chosen.", number=candidate.number, guess=guess
                )
            title = translate_message(result.card.title)
            alt_text = translate("{title}, “{phrase}”. {caption}", title=title, phrase=phrase, caption=caption)
            plates.append(figures.figure(overlay(small, candidate.mask, result.key), alt_text, caption))
        which = number if len(predictions) > 1 else None
        parts.append(step_name(_candidates_title(len(plates), which)) + figures.plates(plates))
    return "".join(parts)


def _point_in_words(point: PromptPoint) -> str:
    share = f"{100 * (point.p_yes or 0):.0f} %"
    return share if point.is_kept else translate("{share} dropped", share=share)


def _candidates_title(count: int, prompt: int | None) -> str:
    if count == 1:
        return translate("What SAM answered")
    if prompt is None:
        return translate("SAM's {count} candidates", count=count)
    return translate("SAM's {count} candidates to prompt {number}", count=count, number=prompt)


def _folded(title: str, body: str) -> str:
    return f'<details class="folded"><summary>{escape(title)}</summary>{body}</details>'


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
