"""The answers on the right of the page: one column a strategy."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from evfsam.types import RgbImage, StrategyCard
from webui import wording
from webui.i18n.translate import translate, translate_message
from webui.tabs.compare.runs import Progress, in_a_file_name
from webui.tabs.compare.viewer import readout
from workbench.analysis.absence import judge_presence, outcome_of
from workbench.analysis.attention_view import ALL_HEADS, AttentionView
from workbench.comparison import StrategyResult
from workbench.pictures.answer_figures import certainty_figure, evidence_figure, mask_figure
from workbench.pictures.mask_png import mask_png

Updates = dict[gr.components.Component, object]
"""New values by component; what is left out stays as it is."""


@dataclass(frozen=True, eq=False)
class AnswerColumn:
    """The components of one strategy."""

    key: str
    card: gr.HTML
    overlay: gr.Image
    readout: gr.HTML
    evidence: gr.Image
    caption: gr.HTML

    @property
    def components(self) -> list[gr.components.Component]:
        """Everything that an answer changes."""
        return [self.card, self.overlay, self.readout, self.evidence, self.caption]

    def emptied(self, card: str) -> Updates:
        """Show a card without pictures."""
        return {
            self.card: card,
            self.overlay: gr.update(value=None, visible=False),
            self.readout: gr.update(value="", visible=False),
            self.evidence: gr.update(value=None, visible=False),
            self.caption: gr.update(value="", visible=False),
        }

    def answered(
        self, progress: Progress, result: StrategyResult, attention: AttentionView | None, suite_key: str
    ) -> Updates:
        """Show an answer of a suite: words, mask and evidence."""
        segmentation = result.segmentation
        title, words = translate_message(result.card.title), wording.verdict_in_words(segmentation).rstrip(".。")
        if segmentation.verdict.kind == "failed":
            return self.emptied(wording.result_card(result, None))
        truth = progress.known_mask
        card = wording.result_card(
            result,
            progress.iou_of(result),
            progress.ious_by_phrase(result),
            judgement=judge_presence(segmentation, suite_key, result.key),
            outcome=None if truth is None else outcome_of(segmentation.mask, truth),
        )
        mass = attention.mass_inside(attention.layer_count, ALL_HEADS) if attention else None
        caption = wording.evidence_caption(result.by_phrase[0] if attention else segmentation, mass)
        if attention and result.answers:
            caption = translate("For “{phrase}”: {caption}", phrase=result.answers[0].phrase, caption=_lowered(caption))
        return {
            self.card: card,
            self.overlay: gr.update(
                value=mask_figure(progress.view.image, result),
                visible=True,
                alt_text=translate(
                    "{title}, mask for “{phrase}”. {words}.", title=title, phrase=progress.phrase, words=words
                ),
            ),
            self.readout: gr.update(
                value=readout(segmentation, result.card.title, truth) + _saving(result, progress), visible=True
            ),
            self.evidence: self._evidence(progress, result, attention, caption),
            self.caption: gr.update(value=f'<p class="caption">{escape(caption)}</p>', visible=True),
        }

    def _evidence(
        self, progress: Progress, result: StrategyResult, attention: AttentionView | None, caption: str
    ) -> Mapping[str, object]:
        alt_text = translate(
            "{title}, evidence. {caption}", title=translate_message(result.card.title), caption=caption
        )
        if attention is not None:
            picture: RgbImage | None = attention.heat_map(attention.layer_count, ALL_HEADS)
        else:
            picture = evidence_figure(progress.view.image, result)
        if picture is None and result.segmentation.verdict.kind == "found":
            picture = certainty_figure(progress.view.image, result.segmentation)
        hidden: Mapping[str, object] = gr.update(value=None, visible=False)
        return hidden if picture is None else dict(gr.update(value=picture, visible=True, alt_text=alt_text))


def build_columns(cards: Mapping[str, StrategyCard]) -> tuple[AnswerColumn, ...]:
    """Lay out a column for each strategy, each introducing itself."""
    with gr.Row(elem_id="columns"):
        return tuple(_build_column(key, card) for key, card in cards.items())


def idle(columns: tuple[AnswerColumn, ...], cards: Mapping[str, StrategyCard]) -> Updates:
    """Return every column to its introduction."""
    return dict(_joined(column.emptied(wording.idle_card(cards[column.key])) for column in columns))


def announced(columns: tuple[AnswerColumn, ...], cards: Mapping[str, StrategyCard], progress: Progress) -> Updates:
    """Announce a run that has no answer yet."""
    words = {column.key: wording.pending_card(cards[column.key], _state(column.key, progress)) for column in columns}
    return dict(_joined(column.emptied(words[column.key]) for column in columns))


def advanced(
    columns: tuple[AnswerColumn, ...],
    cards: Mapping[str, StrategyCard],
    progress: Progress,
    attention: AttentionView | None,
    suite_key: str,
) -> Updates:
    """Show the latest answer, and who works next."""
    latest = progress.results[-1]
    by_key = {column.key: column for column in columns}
    updates = by_key[latest.key].answered(progress, latest, attention, suite_key)
    if progress.running is not None:
        updates[by_key[progress.running].card] = wording.pending_card(cards[progress.running], "running")
    return updates


def finished(
    columns: tuple[AnswerColumn, ...], cards: Mapping[str, StrategyCard], progress: Progress, suite_key: str
) -> Updates:
    """Show all answers of a run at once."""
    updates = announced(columns, cards, progress)
    by_key = {column.key: column for column in columns}
    for result in progress.results:
        updates |= by_key[result.key].answered(progress, result, progress.attention_of(result), suite_key)
    return updates


def mask_link(words: str, name: str, mask: NDArray[np.bool_], title: str) -> str:
    """Write a link that saves a mask, and a button that copies it.

    Args:
        words: of the link.
        name: of the file.
        mask: (H, W) bool.
        title: of the strategy, for screen readers.
    """
    data = b64encode(mask_png(mask)).decode("ascii")
    return (
        f'<a class="file save" download="{name}" href="data:image/png;base64,{data}">{escape(words)}'
        f'<span class="unseen"> {escape(title)}</span></a>'
        f'<button type="button" class="copy-mask" aria-live="polite" data-done="{escape(translate("Copied"))}" '
        f'data-refused="{escape(translate("The browser did not allow it"))}"><span>{escape(translate("Copy"))}</span>'
        f'<span class="unseen"> {escape(words)} {escape(title)}</span></button>'
    )


def _build_column(key: str, card: StrategyCard) -> AnswerColumn:
    with gr.Column(min_width=240, elem_id=f"column-{key}"):
        return AnswerColumn(
            key=key,
            card=gr.HTML(wording.idle_card(card), elem_id=f"card-{key}"),
            overlay=_picture(translate("{title}: mask", title=translate_message(card.title)), f"overlay-{key}"),
            readout=gr.HTML("", visible=False, elem_id=f"readout-{key}"),
            evidence=_picture(translate("{title}: evidence", title=translate_message(card.title)), f"evidence-{key}"),
            caption=gr.HTML("", visible=False),
        )


def _picture(label: str, elem_id: str) -> gr.Image:
    return gr.Image(
        label=label,
        show_label=False,
        visible=False,
        interactive=False,
        format="png",
        buttons=["fullscreen", "download"],
        container=False,
        elem_id=elem_id,
    )


def _saving(result: StrategyResult, progress: Progress) -> str:
    """Offer to look closer, and each mask as a file that is named after picture, phrase and strategy."""
    picture = in_a_file_name(progress.name)
    names = [f"{picture}-{in_a_file_name(phrase)}-{result.key}-mask.png" for phrase in progress.phrases]
    masks = [(translate("Save mask (PNG)"), names[0], result.segmentation)]
    if result.answers:
        masks = [
            (translate("Save mask {number}", number=number), names[number - 1], answer.segmentation)
            for number, answer in enumerate(result.answers, start=1)
        ]
    links = "".join(
        mask_link(words, name, segmentation.mask, translate_message(result.card.title))
        for words, name, segmentation in masks
        if segmentation.area_share > 0
    )
    closer = (
        f'<button type="button" class="look-closer" data-key="{result.key}">{escape(translate("Look closer"))}'
        f'<span class="unseen"> {escape(translate_message(result.card.title))}</span></button>'
    )
    return f'<p class="files">{closer}{links}</p>'


def _state(key: str, progress: Progress) -> str:
    if key not in progress.chosen:
        return "skipped"
    return "running" if key == progress.running else "waiting"


def _lowered(caption: str) -> str:
    return caption[:1].lower() + caption[1:]


def _joined(updates: Iterator[Updates]) -> Iterator[tuple[gr.components.Component, object]]:
    for update in updates:
        yield from update.items()
