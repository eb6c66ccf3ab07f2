"""Where the answers differ from each other, and from a reference mask that is known, uploaded or drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import gradio as gr
import numpy as np

from evfsam.errors import EvfSamError
from evfsam.types import RgbImage
from webui import figures, wording
from webui.i18n.translate import translate, translate_message
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.runs import Progress
from webui.tabs.compare.tab import ComparePage
from webui.tabs.opened_run import (
    ALL_PHRASES,
    chosen_or_first,
    in_order,
    phrase_choices,
    results_for,
    run_or_words,
    strategy_choices,
    wire_opening,
)
from webui.tabs.reference_source import (
    Reference,
    ReferenceSource,
    build_drawing_board,
    build_reference_source,
    chosen_kind,
    problem_of,
    reference_of,
)
from workbench.analysis.agreement import (
    TwoWayRegions,
    answered_masks,
    pairwise_iou,
    regions_against_reference,
    regions_of_pair,
    vote_map,
)
from workbench.analysis.agreement_picture import LegendedPicture, regions_picture, votes_picture
from workbench.analysis.reference_masks import figures_against_references
from workbench.comparison import StrategyResult
from workbench.metrics.masks import Mask, ReferenceMask
from workbench.pictures.shown_pictures import shown_pair

REFERENCE: Final = "reference"
"""Stands for the reference mask in place of a strategy's key."""

_PANEL: Final = "differences"
_VIEWS: Final = {"votes": "Votes", "pair": "A against B"}
_NO_REFERENCE: Final = (
    "No reference mask is known here. Scenes and examples bring their own; for another image upload one, or draw one."
)
_READING: Final = "1 is a perfect match; a strategy that failed counts as empty."


@dataclass(frozen=True, eq=False)
class AgreementTab:
    """The components of the tab, and its handlers."""

    page: ComparePage
    phrase: gr.Dropdown
    view: gr.Radio
    one: gr.Dropdown
    other: gr.Dropdown
    source: ReferenceSource
    picture: gr.HTML
    table: gr.HTML
    reference: gr.HTML

    @property
    def controls(self) -> list[gr.components.Component]:
        """What a visitor sets."""
        return [self.phrase, self.view, self.one, self.other, *self.source.controls]

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What changes."""
        return [self.phrase, self.one, self.other, self.picture, self.table, self.reference, *self.source.outputs]

    def show(
        self, key: str | None, phrase: object, view: object, one: object, other: object, kind: object, *given: object
    ) -> Updates:
        """Draw the picture chosen, the table of the masks, and the figures against the reference.

        Args:
            key: of the run.
            phrase: its number.
            view: which picture.
            one: A of the pair.
            other: B of the pair.
            kind: where the reference comes from.
            given: the rest of what `ReferenceSource.controls` hold.
        """
        run = run_or_words(self.page, key)
        if isinstance(run, str):
            return self.emptied(run)
        progress = run.progress
        phrases = phrase_choices(progress)
        asked = chosen_or_first(phrase, phrases)
        results = results_for(progress, asked)
        file, inverted, drawing, canvas = given
        source = chosen_kind(progress, asked, kind)
        problem, reference = "", None
        try:
            reference = reference_of(progress, asked, source, file, inverted, drawing)
        except EvfSamError as error:
            problem = problem_of(error)
        sides = strategy_choices(results)
        others = sides[1:] + sides[:1] + ([(translate("Reference mask"), REFERENCE)] if reference else [])
        shown = {
            self.phrase: gr.update(choices=phrases, value=asked, visible=len(phrases) > 1),
            self.table: wording.agreement_table(
                pairwise_iou(results), {each.key: translate_message(each.card.title) for each in results}
            ),
            self.reference: problem or reference_table(progress, asked, reference),
            **self.source.show(progress, asked, source, drawing, canvas),
        }
        if not sides:
            return {
                **shown,
                self.picture: figures.nothing(translate("Every strategy failed, so there is nothing to compare.")),
            }
        first, second = chosen_or_first(one, sides), chosen_or_first(other, others)
        return {
            **shown,
            self.one: gr.update(choices=sides, value=first, visible=view == "pair"),
            self.other: gr.update(choices=others, value=second, visible=view == "pair"),
            self.picture: difference_figure(progress.view.image, results, view, (first, second), reference),
        }

    def emptied(self, words: str = "") -> Updates:
        """Show that there is nothing yet, or why."""
        hidden = gr.update(visible=False)
        return {
            **{self.phrase: hidden, self.one: hidden, self.other: hidden, self.table: "", self.reference: ""},
            **self.source.hidden(),
            self.picture: figures.nothing(words) if words else "",
        }

    def take_drawing(self, key: str | None, painted: object) -> Updates:
        """Take what is painted for the reference."""
        run = run_or_words(self.page, key)
        if isinstance(run, str):
            return {self.source.board.status: wording.problem(run)}
        return self.source.taken(run.progress, painted)

    def clear_drawing(self, key: str | None) -> Updates:
        """Begin the drawing anew."""
        run = run_or_words(self.page, key)
        if isinstance(run, str):
            return {self.source.board.status: wording.problem(run)}
        return {**self.source.emptied_canvas(run.progress), self.source.drawing: None}


def build_agreement(page: ComparePage) -> None:
    """Lay out the tab and wire its events."""
    with gr.Tab(translate("Differences"), id="differences") as tab:
        with gr.Row(elem_id=_PANEL, elem_classes=["deeper"]):
            with gr.Column(elem_classes=["deeper-controls"]):
                phrase = gr.Dropdown([], label=translate("Phrase"), visible=False, filterable=False)
                views = [(translate(_VIEWS[key]), key) for key in _VIEWS]
                view = gr.Radio(views, value="votes", label=translate("Show"))
                one = gr.Dropdown([], label="A", visible=False, filterable=False, elem_id="differences-one")
                other = gr.Dropdown([], label="B", visible=False, filterable=False, elem_id="differences-other")
                choices = gr.Column()
            with gr.Column(elem_classes=["deeper-answer"]):
                picture = gr.HTML("", elem_id="differences-picture")
                table = gr.HTML("", elem_id="differences-table")
                board = build_drawing_board()
                reference = gr.HTML("", elem_id="differences-reference")
        with choices:
            source = build_reference_source(board)
        made = AgreementTab(page, phrase, view, one, other, source, picture, table, reference)
        wire_opening(page, tab, _PANEL, made.show, made.emptied, controls=made.controls, outputs=made.outputs)
    for control in (phrase, view, one, other, source.kind, source.is_inverted):
        _wire(made, control.input)
    _wire(made, source.file.change)
    _wire_drawing(made)


def reference_table(progress: Progress, phrase: int, reference: Reference | None) -> str:
    """Write how well each strategy matches the reference; over all phrases of a scene, each against its own."""
    if reference is None:
        return figures.nothing(translate(_NO_REFERENCE))
    if phrase == ALL_PHRASES and not reference.is_own:
        pairs = [(each, result) for n, each in enumerate(progress.phrases) for result in results_for(progress, n)]
        references: dict[str, ReferenceMask] = {
            each: mask for each, mask in zip(progress.phrases, progress.known_masks, strict=True) if mask is not None
        }
    else:
        pairs = [("", result) for result in results_for(progress, phrase)]
        references = {"": reference.mask}
    titles = {result.key: translate_message(result.card.title) for result in progress.results}
    found = figures_against_references(pairs, references)
    rows = [
        [titles[key], f"{each.ciou:.3f}", f"{each.giou:.3f}", f"{each.boundary_f:.3f}", str(each.count)]
        for key, each in found.items()
    ]
    note = f"{reference.origin} {translate(_READING)}"
    head = ["", "cIoU", "gIoU", translate("Boundary F"), translate("Masks")]
    return figures.table(translate("Against the reference"), head, rows, note)


def difference_figure(
    image: RgbImage,
    results: tuple[StrategyResult, ...],
    view: object,
    pair: tuple[str, str],
    reference: Reference | None,
) -> str:
    """Draw one of the pictures with its legend."""
    masks = answered_masks(results)
    if view == "pair":
        return _pair_pictured(image, results, masks, pair, reference)
    shown = {key: shown_pair(image, mask) for key, mask in masks.items()}
    picture = next(iter(shown.values()))[0]
    small = {key: mask for key, (_, mask) in shown.items()}
    drawn = votes_picture(picture, vote_map(small), len(small))
    reading = translate("The more strategies marked a pixel, the brighter.")
    return _plate(drawn, translate("How many strategies marked each pixel"), reading)


def _pair_pictured(
    image: RgbImage,
    results: tuple[StrategyResult, ...],
    masks: Mapping[str, Mask],
    pair: tuple[str, str],
    reference: Reference | None,
) -> str:
    titles = {result.key: translate_message(result.card.title) for result in results} | {
        REFERENCE: translate("the reference")
    }
    one, other = pair
    if other == REFERENCE and reference is not None:
        regions = regions_against_reference(masks[one], reference.mask)
    else:
        regions = regions_of_pair(masks[one], masks[other])
    drawn = regions_picture(shown_pair(image, regions.both)[0], _shown(image, regions), (titles[one], titles[other]))
    pixels = [int(np.count_nonzero(part)) for part in (regions.only_a, regions.only_b, regions.both)]
    words = translate(
        "Only {one}: {only_one} pixels, only {other}: {only_other}, both: {both}. IoU {iou}.",
        one=titles[one],
        only_one=pixels[0],
        other=titles[other],
        only_other=pixels[1],
        both=pixels[2],
        iou=f"{regions.iou:.3f}",
    )
    return _plate(drawn, translate("{one} against {other}", one=titles[one], other=titles[other]), words)


def _shown(image: RgbImage, regions: TwoWayRegions) -> TwoWayRegions:
    """Bring regions to the size that the page shows."""
    names = ("only_a", "only_b", "both", "ignored")
    return replace(regions, **{name: shown_pair(image, getattr(regions, name))[1] for name in names})


def _plate(drawn: LegendedPicture, title: str, caption: str) -> str:
    alt_text = f"{title}. {figures.legend_in_words(drawn.legend)}."
    return figures.figure(drawn.picture, alt_text, caption) + figures.legend(drawn.legend)


def _wire(made: AgreementTab, listen: gr.events.EventListener) -> None:
    listen(
        made.show,
        [made.page.last_run, *made.controls],
        made.outputs,
        preprocess=False,
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
        **in_order(_PANEL),
    )


def _wire_drawing(made: AgreementTab) -> None:
    source, board, key = made.source, made.source.board, made.page.last_run
    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    taken = board.take.click(made.take_drawing, [key, board.editor], [source.drawing, board.status], **quiet)
    emptied = [board.editor, source.canvas, board.status, source.drawing]
    cleared = board.clear.click(made.clear_drawing, key, emptied, **quiet)
    for changed in (taken, cleared):
        _wire(made, changed.then)
