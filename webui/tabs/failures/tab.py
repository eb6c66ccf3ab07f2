"""Where it fails: a gallery of hard questions with the answers that were kept, each ready to be tried."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

import gradio as gr

from evfsam.types import ImageView, StrategyCard
from webui import figures, wording
from webui.i18n.translate import translate, translate_message
from webui.known_scenes import KnownScene, suggested_phrases
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.controls import choice_list, phrase_buttons
from webui.tabs.compare.tab import ASK_AT_ONCE, ComparePage
from webui.tabs.failures.wording import evidence_of, line_of, meaning_of, title_of, verdict_of
from workbench.failures.cases import FAILURE_CASES, SCENE_SIZE
from workbench.failures.gallery import REFRESH_COMMAND, WANTED, KeptAnswer, KeptFailure, KeptFailures, read_failures

_INTRODUCTION: Final = (
    "Questions that are hard for this way of segmenting, and what the mini suite answered. The scenes are drawn, so "
    "what was meant is known. What happened is measured; why is our reading of how each strategy works."
)
_NOTHING: Final = "No answers are kept here. Make them with “{command}”."
_READY: Final = "“{phrase}”, from the gallery. The strategies are being asked."
_COMPARE: Final = "compare"
_GO_THERE: Final = "() => document.getElementById('tabs').scrollIntoView({block: 'start'})"
_OUTCOME_MARKS: Final = {"right": "✓", "refused": "✓"}


@dataclass(frozen=True, eq=False)
class FailuresTab:
    """The components of the tab, and its handlers."""

    page: ComparePage
    tabs: gr.Tabs
    gallery: gr.HTML

    def show(self) -> str:
        """Write the gallery."""
        kept = read_failures()
        if kept is None:
            return figures.nothing(translate(_NOTHING, command=REFRESH_COMMAND))
        cards = self.page.comparison.cards
        sections = "".join(_section(kept, index, each, cards) for index, each in enumerate(kept.failures))
        return f'<div class="failures">{sections}</div>'

    def try_one(self, event: gr.SelectData) -> Updates:
        """Put a case's scene and phrase into the comparison, and go there."""
        if not isinstance(event.index, int) or not 0 <= event.index < len(FAILURE_CASES):
            return {self.page.status: wording.problem(translate("There is no such example."))}
        case, controls = FAILURE_CASES[event.index], self.page.controls
        known = KnownScene(ImageView(case.scene.image).content_hash, case.seed, SCENE_SIZE)
        return {
            **self.page.clear(),
            controls.image: case.scene.image,
            controls.phrase: case.phrase,
            controls.chips: phrase_buttons((case.phrase, *suggested_phrases(case.scene))),
            self.page.known: known,
            self.page.status: wording.hint(translate(_READY, phrase=case.phrase)),
            self.tabs: gr.update(selected=_COMPARE),
        }


def build_failures(page: ComparePage, tabs: gr.Tabs) -> gr.HTML:
    """Lay out the tab and wire its events.

    Args:
        page: where a case is tried.
        tabs: the tabs of the page, of which the comparison is opened then.

    Returns:
        The gallery, whose `select` puts a case on the page.
    """
    with gr.Tab(translate("Where it fails"), id="failures") as tab:
        gr.HTML(f'<p class="caveat">{escape(translate(_INTRODUCTION))}</p>')
        gallery = choice_list(figures.nothing(translate("The gallery is being fetched.")), "failures")
    made = FailuresTab(page, tabs, gallery)
    quiet = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    tab.select(made.show, None, gallery, **quiet)
    controls = page.controls
    changed = [*page.clear(), controls.image, controls.phrase, page.known, tabs]
    put = gallery.select(made.try_one, None, changed, **quiet)
    for act in (_GO_THERE, ASK_AT_ONCE):
        put.success(None, None, None, js=act)
    return gallery


def _section(kept: KeptFailures, index: int, failure: KeptFailure, cards: Mapping[str, StrategyCard]) -> str:
    case = failure.case
    phrase, language = escape(case.phrase), "de" if case.key == "german" else "en"
    meant = "Nothing is marked: there is no such thing." if not case.wanted else "What was meant, outlined."
    plates = [_plate(kept.picture(case, WANTED), _head(translate("Meant")), translate(meant), escape(translate(meant)))]
    plates += [_answer(kept, failure, answer, cards) for answer in failure.answers]
    button = (
        f'<button type="button" data-index="{index}" data-value="{phrase}" '
        f'aria-label="{escape(translate("Try it: {phrase}", phrase=case.phrase))}">'
        f"{escape(translate('Try it'))}</button>"
    )
    return (
        f'<section class="failure" aria-labelledby="failure-{case.key}"><h2 id="failure-{case.key}">'
        f'{escape(title_of(case))}: <q lang="{language}">{phrase}</q></h2>{button}'
        f'<p class="caption">{escape(meaning_of(case))}</p>{figures.plates(plates)}</section>'
    )


def _answer(kept: KeptFailures, failure: KeptFailure, answer: KeptAnswer, cards: Mapping[str, StrategyCard]) -> str:
    card = cards.get(answer.strategy)
    title = answer.strategy if card is None else translate_message(card.title)
    verdict = verdict_of(answer)
    mark = _OUTCOME_MARKS.get(answer.outcome, "✗")
    (what, why), evidence = line_of(failure.case, answer), evidence_of(failure.case, answer)
    head = _head(title, f"{verdict} · IoU {answer.iou:.2f}", mark)
    alt_text = translate(
        "The mask of {title}: {verdict}, IoU {iou}.", title=title, verdict=verdict, iou=f"{answer.iou:.2f}"
    )
    return _plate(
        kept.picture(failure.case, answer.strategy),
        head,
        alt_text,
        f"<strong>{escape(what)}</strong> {escape(why)}",
        evidence,
    )


def _head(title: str, figures_of: str = "", mark: str = "") -> str:
    told = f'<span class="mark" aria-hidden="true">{mark}</span> ' if mark else ""
    below = f"<span>{escape(figures_of)}</span>" if figures_of else ""
    return f"<b>{told}{escape(title)}</b>{below}"


def _plate(picture: Path, head: str, alt_text: str, line: str, evidence: str = "") -> str:
    """Show a picture with what is said of it: `head` and `line` are HTML, the rest is plain text."""
    below = f"<small>{escape(evidence)}</small>" if evidence else ""
    source = "data:image/webp;base64," + b64encode(picture.read_bytes()).decode("ascii")
    return (
        f'<figure class="plate"><img src="{source}" alt="{escape(alt_text)}" width="384" height="384">'
        f"<figcaption>{head}<p>{line}</p>{below}</figcaption></figure>"
    )
