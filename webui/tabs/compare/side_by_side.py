"""Two runs of a visit beside each other: pictures, verdicts and figures, a row a strategy. No gradio."""

from html import escape
from typing import Final

from webui import figures, wording
from webui.i18n.translate import translate, translate_message
from webui.run_cache import FinishedRun
from workbench.comparison import StrategyResult
from workbench.metrics.masks import mask_iou
from workbench.pictures.answer_figures import mask_figure

_SIDE: Final = 480


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
    picture = figures.figure(mask_figure(run.progress.view.image, result), alt_text, side=_SIDE)
    return f'{picture}<p><b>{escape(words)}</b></p><p class="caption">{escape("; ".join(facts))}</p>'


def _common(runs: tuple[FinishedRun, FinishedRun], one: StrategyResult | None, other: StrategyResult | None) -> str:
    """Say how far the two masks agree, where both are of the same picture."""
    if one is None or other is None or runs[0].progress.view.content_hash != runs[1].progress.view.content_hash:
        return ""
    if "failed" in (one.segmentation.verdict.kind, other.segmentation.verdict.kind):
        return ""
    iou = mask_iou(one.segmentation.mask, other.segmentation.mask)
    return f"<small>{escape(translate('IoU of the two masks: {iou}', iou=f'{iou:.2f}'))}</small>"
