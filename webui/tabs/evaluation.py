"""An evaluation opened in the page: its samples one by one, the known mask beside every answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import gradio as gr

from webui import figures
from webui.i18n.translate import translate, translate_message
from webui.tabs.compare.columns import Updates
from webui.tabs.opened_run import chosen_or_first
from workbench.evaluation.measured_answers import Answer
from workbench.reporting.browsing import ORDERS, Browsing, SampleOrder
from workbench.reporting.showcase import REFERENCE_LABEL, Exhibit
from workbench.reporting.tables import run_title

_INTRODUCTION: Final = "What was asked and answered in evaluations that were opened with this page."
_ORDERS: Final = {
    "data": "As in the data set",
    "worst": "Lowest IoU first",
    "best": "Highest IoU first",
    "disputed": "Most disputed first",
    "absent": "Marked though absent",
}
_FIRST: Final = "() => 1"
_NEXT: Final = "(place) => (Number(place) || 0) + 1"
_PREVIOUS: Final = "(place) => Math.max(1, (Number(place) || 0) - 1)"
_OUTCOMES: Final = {"found": "found", "absent": "absent", "failed": "failed", "unread": "not asked"}
_NOTHING: Final = "No expression is like that. Choose another order or kind."
_NO_PICTURES: Final = (
    "The images are not where they were when this was measured, or are others; figures are shown alone."
)


@dataclass(frozen=True, eq=False)
class EvaluationTab:
    """The components of the tab, and its handlers."""

    runs: Sequence[Browsing]
    run: gr.Dropdown
    order: gr.Radio
    strategy: gr.Dropdown
    kind: gr.Dropdown
    number: gr.Number
    answer: gr.HTML

    @property
    def controls(self) -> list[gr.components.Component]:
        """What a visitor sets."""
        return [self.run, self.order, self.strategy, self.kind, self.number]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What changes."""
        return [self.strategy, self.kind, self.number, self.answer]

    def show(self, run: object, order: object, strategy: object, kind: object, number: object) -> Updates:
        """Draw the expression at a place of the order chosen; what a client sends that is not offered is the first.

        Args:
            run: its place among the runs.
            order: of the expressions.
            strategy: whose answers decide it.
            kind: of the expressions; "" for all.
            number: place in the order, from 1; beyond its ends, the last or the first, which the page is told.
        """
        opened = self.runs[chosen_or_first(run, _run_choices(self.runs))]
        strategies = [(key, key) for key in opened.run.run.strategies]
        kinds = [(translate("All kinds"), ""), *((each, each) for each in opened.kinds)]
        whose, of_kind = chosen_or_first(strategy, strategies), chosen_or_first(kind, kinds)
        wanted: SampleOrder = next((each for each in ORDERS if each == order), ORDERS[0])
        spots = opened.spots(wanted, whose, of_kind)
        place = _place(number, len(spots))
        shown = figures.nothing(translate(_NOTHING))
        if spots:
            spot = spots[place - 1]
            shown = _page_of(opened.exhibit(spot), opened.answers(spot), place, len(spots))
        # What was asked stays as it is: the visitor may have gone on meanwhile.
        return {
            self.strategy: gr.update(choices=strategies, **_unless(whose, strategy)),
            self.kind: gr.update(choices=kinds, **_unless(of_kind, kind)),
            self.number: gr.update(**_unless(place, number)),
            self.answer: shown,
        }


def build_evaluation(runs: Sequence[Browsing]) -> None:
    """Lay out the tab and wire its events.

    Args:
        runs: at least one.
    """
    with gr.Tab(translate("Evaluation"), id="evaluation") as tab:
        gr.HTML(f'<p class="caveat">{escape(translate(_INTRODUCTION))}</p>')
        with gr.Row(elem_classes=["deeper"]):
            with gr.Column(elem_classes=["deeper-controls"]):
                choices = _run_choices(runs)
                run = gr.Dropdown(choices, value=0, label=translate("Run"), visible=len(runs) > 1, filterable=False)
                orders = [(translate(_ORDERS[each]), each) for each in ORDERS]
                order = gr.Radio(orders, value=ORDERS[0], label=translate("Order"), elem_id="evaluation-order")
                strategy = gr.Dropdown([], label=translate("Strategy"), filterable=False)
                kind = gr.Dropdown([], label=translate("Kind of expression"), filterable=False)
                number = gr.Number(1, minimum=1, precision=0, label=translate("Place"), elem_id="evaluation-place")
                with gr.Row():
                    before = gr.Button(translate("Previous"), elem_id="evaluation-previous")
                    after = gr.Button(translate("Next"), elem_id="evaluation-next")
            with gr.Column(elem_classes=["deeper-answer"]):
                answer = gr.HTML("", elem_id="evaluation-answer")
    made = EvaluationTab(runs, run, order, strategy, kind, number, answer)
    choosing = [control.input for control in (run, order, strategy, kind)]
    # The browser sets the place, at once and before it asks; it asks once at a time, and last for what is set last.
    for triggers, place in ((choosing, _FIRST), ([after.click], _NEXT), ([before.click], _PREVIOUS)):
        gr.on(triggers, None, number, number, js=place, api_visibility="private")
    gr.on(
        [tab.select, *choosing, number.submit, after.click, before.click],
        made.show,
        made.controls,
        made.outputs,
        preprocess=False,
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
    )


def _run_choices(runs: Sequence[Browsing]) -> list[tuple[str, int]]:
    return [(run_title(each.run), index) for index, each in enumerate(runs)]


def _unless(value: str | int, asked: object) -> dict[str, str | int]:
    return {} if value == asked else {"value": value}


def _place(number: object, count: int) -> int:
    """Return the place from 1 that is meant; beyond the last or before the first, that one."""
    asked = int(number) if isinstance(number, int | float) and abs(number) < 2**53 else 1
    return max(1, min(asked, count))


def _page_of(exhibit: Exhibit, answers: Sequence[Answer], place: int, count: int) -> str:
    place_told = translate("{number} of {count}", number=f"{place:,}", count=f"{count:,}")
    details = f"{place_told} · {exhibit.kind} · {exhibit.sample_id}"
    head = f'<h2><q lang="en">{escape(exhibit.phrase)}</q></h2><p class="caption">{escape(details)}</p>'
    drawn = [_plate(exhibit, label) for label in exhibit.pictures]
    pictures = figures.plates(drawn) if drawn else figures.nothing(translate(_NO_PICTURES))
    return head + pictures + _table(answers)


def _plate(exhibit: Exhibit, label: str) -> str:
    is_known = label == REFERENCE_LABEL
    title = translate("Known mask") if is_known else label
    iou = "" if is_known or label not in exhibit.ious else f", IoU {exhibit.ious[label]:.2f}"
    said = translate(
        "{title}, mask for “{phrase}”. {caption}", title=title, phrase=exhibit.phrase, caption=iou.strip(", ")
    )
    return figures.figure(exhibit.pictures[label], said, f"{title}{iou}")


def _table(answers: Sequence[Answer]) -> str:
    head = [translate("Strategy"), translate("Answer"), "IoU", "pred_iou", translate("Seconds"), translate("Reason")]
    rows = [
        [
            each.place.strategy,
            translate(_OUTCOMES[each.outcome]),
            "–" if each.outcome == "unread" else f"{each.iou:.3f}",
            "–" if each.pred_iou is None else f"{each.pred_iou:.2f}",
            f"{each.seconds:.2f}" if each.seconds else "–",
            translate_message(each.reason),
        ]
        for each in answers
    ]
    return figures.table(translate("Answers"), head, rows)
