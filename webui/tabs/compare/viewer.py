"""What the results' pictures share: zoom, pan, a wipe to the plain image, and the value under the pointer.

The work is done in the browser, by `viewer.js`; here are its tool bar, its words, and the values it reads.
"""

import json
from base64 import b64encode
from html import escape
from pathlib import Path
from typing import Final

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evfsam.types import Segmentation
from webui import wording
from webui.i18n.translate import translate, translate_message
from workbench.export.results import png_bytes
from workbench.metrics.masks import Mask
from workbench.pictures.rendering import dashed_outline
from workbench.pictures.shown_pictures import shrunk_mask

SCRIPT: Final = Path(__file__).with_name("viewer.js")
VALUES_SIDE: Final = 512
"""Longest side of the map of values."""
MIDDLE: Final = 128
"""Level of logit 0, and of those below that round to it: a level above is in the mask, as the logit is."""
LEVELS_PER_LOGIT: Final = 4
LAYERS: Final = {
    "mask": "Mask",
    "attention": "Attention",
    "certainty": "Probability",
    "disagreement": "Disagreement",
    "outline": "Outline",
    "prompts": "Points and boxes",
    "before": "Before your marks",
}
"""Of the large picture; what was meant is switched for all pictures."""
FILLING: Final = ("mask", "attention", "certainty", "disagreement")
"""Layers that cover the whole picture."""


def build_viewer() -> gr.HTML:
    """Build the tool bar; its script serves every picture in `#columns`."""
    return gr.HTML(_bar(), js_on_load=SCRIPT.read_text(encoding="utf-8"), elem_id="viewer")


def readout(segmentation: Segmentation, title: str, truth: Mask | None = None) -> str:
    """Write the line that shows the value under the pointer, with the values it reads, and the truth's outline.

    Args:
        segmentation: the answer.
        title: of the strategy.
        truth: (H, W) bool; None where it is not known.
    """
    known = "" if truth is None else f'data-truth="{_outline_of(truth)}" '
    height, width = segmentation.size
    picture = b64encode(png_bytes(value_map(segmentation))).decode("ascii")
    return (
        f'<p class="readout" data-title="{escape(translate_message(title))}" data-width="{width}" '
        f'data-height="{height}" {known}data-middle="{MIDDLE}" data-scale="{LEVELS_PER_LOGIT}" '
        f'data-values="data:image/png;base64,{picture}">&nbsp;</p>'
    )


def value_map(segmentation: Segmentation) -> NDArray[np.uint8]:
    """Return the mask's logits as levels, with the longest side at most 512.

    Returns:
        (h, w) uint8: 128 + 4 x logit, rounded and bounded; above 128 exactly where the mask is.
    """
    factor = min(1.0, VALUES_SIDE / max(segmentation.size))
    logits = segmentation.logits_at(*(_spread(length, max(1, round(length * factor))) for length in segmentation.size))
    levels = np.rint(np.nan_to_num(logits * LEVELS_PER_LOGIT, nan=0.0) + MIDDLE)
    bounded = np.where(logits > 0, np.clip(levels, MIDDLE + 1, 255), np.clip(levels, 0, MIDDLE))
    shown: NDArray[np.uint8] = bounded.astype(np.uint8)
    return shown


def _spread(length: int, count: int) -> NDArray[np.intp]:
    """Return `count` places of `length` that lie as far apart as can be, as Pillow's nearest resampling takes them."""
    every = Image.fromarray(np.arange(length, dtype=np.int32)[None])
    places: NDArray[np.int32] = np.asarray(every.resize((count, 1), Image.Resampling.NEAREST))[0]
    return places.astype(np.intp)


def _outline_of(truth: Mask) -> str:
    small = shrunk_mask(truth, VALUES_SIDE)
    return "data:image/png;base64," + b64encode(png_bytes(dashed_outline(small))).decode("ascii")


def _bar() -> str:
    view, plain = translate("View of all results"), translate("Show the plain image instead of the result")
    shows = {"marked": translate("Marked"), "mask": translate("Mask alone"), "cutout": translate("Cut-out")}
    options = "".join(f'<option value="{name}">{title}</option>' for name, title in shows.items())
    words = escape(json.dumps(wording.viewer_words(), ensure_ascii=False))
    return (
        f'<div class="viewer" role="group" aria-label="{view}" data-words="{words}">'
        f'<span class="views" role="group" aria-label="{translate("Results")}">'
        f'<button type="button" data-view="columns" aria-pressed="true">{translate("Side by side")}</button>'
        f'<button type="button" data-view="canvas" aria-pressed="false">{translate("One large")}</button></span>'
        '<span class="tools"><span class="zoom">'
        f'<button type="button" data-do="out" aria-label="{translate("Zoom out")}">−</button>'
        "<output>100 %</output>"
        f'<button type="button" data-do="in" aria-label="{translate("Zoom in")}">+</button></span>'
        f'<label class="wipe"><span>{translate("Image")}</span>'
        f'<input type="range" data-set="wipe" min="0" max="100" value="100" aria-label="{plain}" '
        f'aria-valuetext="100 %"><span>{translate("Result")}</span></label>'
        f'<label><span>{translate("Opacity")}</span><input type="range" data-set="opacity" min="0" '
        'max="100" value="100" aria-valuetext="100 %"></label>'
        f'<label><span>{translate("Show")}</span><select data-set="show">{options}</select></label>'
        f'<label class="truth"><input type="checkbox" data-set="truth">'
        f"<span>{translate('What was meant')}</span></label>"
        f'<button type="button" data-do="reset">{translate("Reset view")}</button></span>'
        f'{_layers()}<p class="caption">{wording.viewer_hint()}</p><span class="unseen" role="status"></span></div>'
    )


def _layers() -> str:
    """Write the layers of the large picture; of those that fill it, only one is seen at a time."""
    boxes = "".join(
        f'<label><input type="checkbox" data-switches="{name}"{" data-fills" if name in FILLING else ""}>'
        f"<span>{translate(LAYERS[name])}</span></label>"
        for name in LAYERS
    )
    label = translate("Layers of the large picture")
    return f'<span class="layers" role="group" aria-label="{label}">{boxes}</span>'
