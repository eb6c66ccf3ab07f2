"""What the page says of the gallery of failures: what went wrong, and why it does with this strategy. No gradio.

What happened is measured. Why is what the method can and cannot see; numbers of the trace stand beside it.
"""

from typing import Final

from evfsam.types import VerdictKind
from webui.i18n.translate import translate, translate_message
from webui.wording import percent
from workbench.failures.cases import FailureCase
from workbench.failures.gallery import KeptAnswer

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
    "position": "The phrase is read without the image: “right” cannot be compared with where anything is.",
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
