"""The large picture as HTML: the layers of one answer over the plain image, switched in the browser. No Gradio."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from numpy.typing import NDArray

from evfsam.types import RgbImage, Segmentation
from webui import figures, wording
from webui.i18n.translate import translate, translate_message
from webui.run_cache import FinishedRun
from webui.tabs.canvas.marks import Marks, drawn_prompt
from webui.tabs.chosen_answer import answer_of
from webui.tabs.compare.columns import mask_link
from webui.tabs.compare.runs import in_a_file_name
from webui.tabs.opened_run import results_for
from workbench.analysis.agreement import answered_masks, disagreement_map
from workbench.analysis.agreement_picture import disagreement_layer
from workbench.comparison import StrategyResult
from workbench.metrics.masks import Mask
from workbench.pictures.colours import BLACK, WHITE, strategy_colour
from workbench.pictures.layers import (
    Layer,
    attention_layer,
    certainty_layer,
    mask_layer,
    outline_layer,
    prompt_layer,
)
from workbench.pictures.rendering import dashed_outline
from workbench.pictures.shown_pictures import shown_pair


@dataclass(frozen=True, eq=False)
class Subject:
    """What is looked at: one strategy's answer to one phrase of a run.

    Attributes:
        run: it is part of.
        number: of the phrase.
        before: the answer without marks.
    """

    run: FinishedRun
    number: int
    before: StrategyResult

    @property
    def image(self) -> RgbImage:
        """(H, W, 3) uint8."""
        return self.run.progress.view.image

    @property
    def phrase(self) -> str:
        """What was asked."""
        return self.run.progress.phrases[self.number]

    @property
    def known(self) -> NDArray[np.bool_] | None:
        """(H, W) bool, what the phrase means; None where nobody knows."""
        return self.run.progress.known_masks[self.number]


def subject_of(run: FinishedRun, chosen: object) -> Subject | None:
    """Return the answer chosen, or the first of the run that did not fail; None where all failed."""
    result, number = answer_of(run.progress, chosen)
    answered = [each for each in results_for(run.progress, number) if each.segmentation.verdict.kind != "failed"]
    before = next((each for each in answered if each.key == result.key), answered[0] if answered else None)
    return None if before is None else Subject(run, number, replace(before, answers=()))


def stage(subject: Subject, after: StrategyResult | None, marks: Marks) -> str:
    """Write the picture with its layers, a heading, and a link to the mask that is seen.

    Args:
        subject: what is looked at.
        after: its answer with the marks; None without any.
        marks: a person's.
    """
    latest = (after or subject.before).segmentation
    height, width = subject.image.shape[:2]
    title = translate_message(subject.before.card.title)
    words = wording.verdict_in_words(latest).rstrip(".。")
    layers = "".join(
        f'<img class="layer" data-layer="{name}" src="{figures.lossless_uri(layer)}" alt="">'
        for name, layer in layers_of(subject, latest, marks)
    )
    label = translate(
        "{title}, “{phrase}”. {words}. {count} marks. The arrow keys move the cross, Enter adds a mark there.",
        title=title,
        phrase=subject.phrase,
        words=words,
        count=len(marks),
    )
    return (
        f'<p class="stage-title"><b>{escape(title)}</b> “<span lang="en">{escape(subject.phrase)}</span>”</p>'
        f'<button type="button" class="stage" data-key="{subject.before.key}" data-width="{width}" '
        f'data-height="{height}" style="--ratio:{width / height:.5f}" aria-label="{escape(label)}">'
        f'<span class="image-frame">{layers}<span class="drawn-box" hidden></span></span></button>'
        f'<p class="files">{_link(subject, latest, after)}</p>'
    )


def layers_of(subject: Subject, latest: Segmentation, marks: Marks) -> Iterator[tuple[str, Layer]]:
    """Draw what can be laid over the image, from the lowest up; what this answer lacks is left out.

    Args:
        subject: what is looked at.
        latest: the answer that is seen.
        marks: a person's.
    """
    key, (shown, mask) = subject.before.key, shown_pair(subject.image, latest.mask)
    scale = shown.shape[1] / subject.image.shape[1], shown.shape[0] / subject.image.shape[0]
    attention = attention_layer(subject.before.segmentation)
    if attention is not None:
        yield "attention", attention
    yield "certainty", certainty_layer(latest)
    yield "disagreement", _disagreement(subject)
    yield "mask", mask_layer(mask, key)
    yield "outline", outline_layer(mask, WHITE, strategy_colour(key))
    if marks:
        yield "before", outline_layer(_shown(subject, subject.before.segmentation.mask), BLACK, WHITE)
    if subject.known is not None:
        yield "truth", dashed_outline(_shown(subject, subject.known))
    own = [each for each in subject.before.segmentation.prompts if each.box is not None or each.points]
    if own:
        yield "prompts", prompt_layer(mask.shape, own, key, scale)
    if marks:
        yield "marks", prompt_layer(mask.shape, [drawn_prompt(marks)], key, scale)


def _disagreement(subject: Subject) -> Layer:
    masks = answered_masks(results_for(subject.run.progress, subject.number))
    return disagreement_layer(disagreement_map({key: _shown(subject, mask) for key, mask in masks.items()}))


def _shown(subject: Subject, mask: Mask) -> Mask:
    return shown_pair(subject.image, mask)[1]


def _link(subject: Subject, latest: Segmentation, after: StrategyResult | None) -> str:
    if latest.area_share == 0:
        return ""
    picture, phrase = in_a_file_name(subject.run.progress.name), in_a_file_name(subject.phrase)
    kind = "mask" if after is None else "corrected-mask"
    words = translate("Save mask (PNG)") if after is None else translate("Save the corrected mask (PNG)")
    name = f"{picture}-{phrase}-{subject.before.key}-{kind}.png"
    return mask_link(words, name, latest.mask, translate_message(subject.before.card.title))
