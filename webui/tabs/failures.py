"""Where it fails: a gallery of hard questions with the answers that were kept, each ready to be tried.

What happened is measured. Why is what the method can and cannot see; numbers of the trace stand beside it.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

import gradio as gr

from evfsam.types import ImageView, StrategyCard, VerdictKind
from webui import figures, wording
from webui.i18n.translate import translate, translate_message
from webui.known_scenes import KnownScene, suggested_phrases
from webui.tabs.compare.columns import Updates
from webui.tabs.compare.controls import choice_list, phrase_buttons
from webui.tabs.compare.tab import ASK_AT_ONCE, ComparePage
from webui.wording import percent
from workbench.failures.cases import FAILURE_CASES, SCENE_SIZE, FailureCase
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
_TITLES: Final = {
    "position": "Position",
    "count": "Counting",
    "parts": "Parts",
    "negation": "Negation",
    "absent": "What is not there",
    "crowded": "A crowd",
    "languages": "Other languages",
}
_MEANINGS: Final = {
    "position": "Meant is one of several alike, by where it is.",
    "count": "Meant is one of several alike, by counting from a side.",
    "parts": "Meant is a part of an object; the models were trained on whole ones. The part was marked by hand.",
    "negation": "Meant is what the phrase does not name; the scenes' phrases say “not” nowhere.",
    "absent": "Nothing is meant: its colour and its shape are there, but not on one object.",
    "crowded": "Meant is a thin object among others that touch and cover each other.",
    "languages": "Meant is one object, in a language that the models were not trained on.",
}
_WHAT: Final = {
    "right": "Right here all the same.",
    "refused": "Right: it drew nothing.",
    "rough": "The right object, badly outlined.",
    "denied": "Called it absent, though it is there.",
    "invented": "Drew a mask where there is nothing to find.",
    "wrong": "Found the wrong object: {others}.",
    "more": "Took more than was meant: also {others}.",
    "fewer": "Found only some of what was meant.",
    "whole": "Took the whole object, not the part.",
    "scattered": "Marked patches that make up no object.",
    "failed": "It failed.",
}
_WHY_EVF: Final = {
    "position": "Image and phrase are read together, so “right” can count; but a single [CLS] token has to carry the "
    "choice between two alike, and here it does not.",
    "count": "Nothing in it counts: one pass has to press an order among look-alikes into one token, which leans to "
    "the one that stands out.",
    "parts": "Its token names objects, as the training masks did; no mask of a part was ever among them.",
    "negation": "The colour word draws the attention, and “not” changes the token too little to turn it away.",
    "absent": "It has no output for “not there”: only an empty mask says so, and half a match is often enough for one.",
    "crowded": "Its patches are coarse: one holds the thin object and its neighbours, and the token mixes what belongs "
    "to each.",
    "languages": "The tokenizer cuts unknown words into pieces whose vectors were hardly trained; what is left of the "
    "phrase points nowhere.",
}
_WHY_CLIP: Final = {
    "position": "The phrase is read without the image: “right” is a side of any image, and nothing is compared.",
    "count": "The phrase is read without the image, so there is nothing to count in.",
    "parts": "One embedding for the whole phrase keeps the look of what is named, not how a part lies in a whole.",
    "negation": "The embedding hardly differs with and without “not”: the colour that is named comes through.",
    "absent": "It cannot know what the image holds: the prompt is the same whether the object is there or not.",
    "crowded": "A look without a place fits pixels here and there in a crowd, and no one object best.",
    "languages": "Its text encoder was trained on English phrases; other words give a prompt that means another thing.",
}
_WHY_POINT: Final = {
    "position": "All hangs on the box that the language model says: once it says none, or a wrong one, nothing after "
    "it looks elsewhere.",
    "count": "The box is said in one go, without counting step by step; the points are asked inside that box alone.",
    "parts": "Its boxes were learnt on whole objects; a word for a part is pulled to some object that it knows.",
    "negation": "Its training phrases name what is meant and never what is not: it answers the colour that it reads.",
    "absent": "It can say that there is no such object; but shape and colour are both there, and it named a box.",
    "crowded": "A box around a thin, slanted object holds its neighbours too, and points in it are easily theirs.",
    "languages": "A small language model, trained on English phrases: what it makes of others is mostly a guess.",
}


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


def title_of(case: FailureCase) -> str:
    """Return the heading of a case."""
    return translate(_TITLES[case.kind])


def meaning_of(case: FailureCase) -> str:
    """Say what is meant, and what is hard about it."""
    return translate(_MEANINGS[case.kind])


def verdict_of(answer: KeptAnswer) -> str:
    """Say what the strategy claimed, in a few words."""
    kind: VerdictKind | str = answer.verdict
    if kind == "failed":
        return translate("Failed")
    if kind == "absent" or answer.area_share == 0:
        return translate("Not in the image")
    return translate("Marked: {share} of the image", share=percent(answer.area_share))


def line_of(case: FailureCase, answer: KeptAnswer) -> tuple[str, str]:
    """Say in a sentence what happened, and in another why."""
    what = translate(_WHAT[answer.outcome], others=", ".join(answer.others))
    if answer.outcome == "failed":
        return what, translate_message(answer.reason)
    if answer.outcome in ("right", "refused"):
        return what, _luck(answer)
    return what, _why(case, answer.strategy)


def evidence_of(case: FailureCase, answer: KeptAnswer) -> str:
    """Say what its trace shows; nothing where it has nothing to show."""
    facts = answer.facts
    lines = []
    if "attention_mask" in facts and answer.area_share > 0:
        shares = {name: percent(float(facts[f"attention_{name}"])) for name in ("wanted", "mask")}
        if case.wanted:
            lines.append(translate("Its attention: {wanted} on what was meant, {mask} on its own mask.", **shares))
        else:
            lines.append(translate("Its attention: {mask} on its own mask.", mask=shares["mask"]))
    elif "attention_wanted" in facts and case.wanted:
        wanted = percent(float(facts["attention_wanted"]))
        lines.append(translate("Its attention: {wanted} on what was meant.", wanted=wanted))
    if "box_iou" in facts and case.wanted:
        lines.append(translate("Its box overlaps what was meant with an IoU of {iou}.", iou=f"{facts['box_iou']:.2f}"))
    if "points" in facts:
        lines.append(translate("It said yes at {yes} of {points} points.", yes=facts["yes"], points=facts["points"]))
    if "p_there" in facts:
        lines.append(translate("Sure that it is there: {share}.", share=percent(float(facts["p_there"]))))
    if "pred_iou" in facts:
        lines.append(translate("SAM's own guess of the IoU: {iou}.", iou=f"{facts['pred_iou']:.2f}"))
    elif answer.reason:
        lines.append(translate_message(answer.reason))
    return " ".join(lines)


def _why(case: FailureCase, strategy: str) -> str:
    if strategy == "evf-sam":
        return translate(_WHY_EVF[case.kind])
    if strategy == "clip-text":
        return translate(_WHY_CLIP[case.kind])
    if strategy == "point-query":
        return translate(_WHY_POINT[case.kind])
    return ""


def _luck(answer: KeptAnswer) -> str:
    """Say how much a right answer proves."""
    if answer.strategy == "clip-text":
        return translate("But the phrase was read without the image, so another image may well end otherwise.")
    return translate("One right answer proves little: another image may well end otherwise.")
