"""The last runs of this visit, each a picture and a phrase, to go back to or to put beside the one on the page."""

from base64 import b64encode
from html import escape
from io import BytesIO
from typing import Final

import gradio as gr
from PIL import Image

from evfsam.errors import EvfSamError
from webui import figures, wording
from webui.i18n.translate import translate, translate_message
from webui.run_cache import FinishedRun
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.controls import choice_list
from webui.tabs.compare.tab import STATE_SECONDS, ComparePage
from workbench.comparison import StrategyResult
from workbench.metrics.masks import mask_iou
from workbench.pictures.answer_figures import mask_figure
from workbench.pictures.shown_pictures import shrunk

MOST: Final = 8
BESIDE: Final = 100
"""Added to a run's number where it is to be put beside the one on the page."""
_SIDE: Final = 64

RecentRuns = tuple[tuple[str, str], ...]
"""Keys of kept runs, the latest first, each with its button."""
_SHOWN_SIDE: Final = 480


def build_recent(page: ComparePage) -> gr.State:
    """Lay out the strip; it grows with each run of the visit. Returns the state that holds what it shows."""
    runs = gr.State((), time_to_live=STATE_SECONDS)
    strip = choice_list("", "recent")
    beside = choice_list("", "recent-beside")

    def remember(key: str | None, before: RecentRuns) -> tuple[object, object, object]:
        if key is None or any(key == each for each, _ in before):
            return gr.skip(), gr.skip(), ""
        try:
            now = ((key, _face(page.runs.get(key))), *before)[:MOST]
        except EvfSamError:
            return gr.skip(), gr.skip(), ""
        return now, _strip(now), ""

    def choose(event: gr.SelectData, before: RecentRuns, key: str | None) -> Updates:
        number, is_beside = event.index, False
        if isinstance(number, int) and number >= BESIDE:
            number, is_beside = number - BESIDE, True
        if not isinstance(number, int) or not 0 <= number < len(before):
            return {page.status: gr.skip()}
        chosen = before[number][0]
        try:
            if is_beside:
                return {beside: two_runs(page.runs.get(key or ""), page.runs.get(chosen))}
            return page.show_again(page.runs.get(chosen), chosen, translate("The answers are those of before."))
        except EvfSamError as error:
            return {page.status: wording.problem(translate_message(str(error)))}

    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    page.last_run.change(remember, [page.last_run, runs], [runs, strip, beside], queue=False, **quiet)
    # Queued, or Gradio would not tell the panels of the run.
    strip.select(choose, [runs, page.last_run], [*page.everything, beside], **quiet)
    beside.select(lambda: "", None, beside, queue=False, **quiet)
    return runs


def _face(run: FinishedRun) -> str:
    buffer = BytesIO()
    Image.fromarray(shrunk(run.progress.view.image, _SIDE)).save(buffer, "JPEG", quality=80)
    picture = b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{picture}" alt=""><span lang="en">{escape(run.progress.phrase)}</span>'


def _strip(runs: RecentRuns) -> str:
    if len(runs) < 2:
        return ""
    items = "".join(
        f'<li><button type="button" data-index="{index}" data-value="">{face}</button>'
        f'<button type="button" class="put-beside" data-index="{BESIDE + index}" data-value="" '
        f'title="{translate("Put beside the answers shown")}"><span aria-hidden="true">◫</span>'
        f'<span class="unseen">{translate("Put beside the answers shown")}</span></button></li>'
        for index, (_, face) in enumerate(runs)
    )
    title = (
        f'<p class="section" id="recent-label">{translate("Your last runs; ◫ puts one beside the answers shown")}</p>'
    )
    return f'{title}<ul class="recent" aria-labelledby="recent-label">{items}</ul>'


def two_runs(one: FinishedRun, other: FinishedRun) -> str:
    """Write a table of two runs: their phrases as columns, a row for each strategy that either asked.

    Args:
        one: the run on the page.
        other: an earlier one, about the same picture or another.
    """
    runs = (one, other)
    keys = list(dict.fromkeys(key for run in runs for key in run.progress.chosen))
    heads = "".join(f'<th scope="col" lang="en">{escape(run.progress.phrase)}</th>' for run in runs)
    rows = "".join(_row(key, runs) for key in keys)
    caption = escape(translate("Two runs side by side"))
    return (
        f'<section class="beside"><div class="scroller" tabindex="0" role="region" aria-label="{caption}">'
        f"<table><caption>{caption}</caption><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        f'<button type="button" data-index="-1" data-value="">{escape(translate("Close"))}</button></section>'
    )


def _row(key: str, runs: tuple[FinishedRun, FinishedRun]) -> str:
    results = [next((each for each in run.progress.results if each.key == key), None) for run in runs]
    title = next(translate_message(each.card.title) for each in results if each is not None)
    cells = "".join(f"<td>{_cell(run, result)}</td>" for run, result in zip(runs, results, strict=True))
    common = _common(runs, results[0], results[1])
    return f'<tr><th scope="row">{escape(title)}{common}</th>{cells}</tr>'


def _cell(run: FinishedRun, result: StrategyResult | None) -> str:
    if result is None:
        return f'<p class="empty">{escape(translate("Not asked this time"))}</p>'
    words = wording.verdict_in_words(result.segmentation)
    if result.segmentation.verdict.kind == "failed":
        return f"<p>{escape(words)}</p>"
    facts = [f"{result.seconds:.2f} s"]
    if result.segmentation.pred_iou is not None:
        facts.insert(0, f"pred_iou {result.segmentation.pred_iou:.2f}")
    measured = run.progress.iou_of(result)
    if measured is not None:
        facts.insert(0, translate("Measured IoU {iou}", iou=f"{measured:.2f}"))
    title = translate_message(result.card.title)
    alt_text = translate("{title}, mask for “{phrase}”. {words}.", title=title, phrase=run.progress.phrase, words=words)
    picture = figures.figure(mask_figure(run.progress.view.image, result), alt_text, side=_SHOWN_SIDE)
    return f'{picture}<p><b>{escape(words)}</b></p><p class="caption">{escape("; ".join(facts))}</p>'


def _common(runs: tuple[FinishedRun, FinishedRun], one: StrategyResult | None, other: StrategyResult | None) -> str:
    """Say how far the two masks agree, where both are of the same picture."""
    if one is None or other is None or runs[0].progress.view.content_hash != runs[1].progress.view.content_hash:
        return ""
    if "failed" in (one.segmentation.verdict.kind, other.segmentation.verdict.kind):
        return ""
    iou = mask_iou(one.segmentation.mask, other.segmentation.mask)
    return f"<small>{escape(translate('IoU of the two masks: {iou}', iou=f'{iou:.2f}'))}</small>"
