"""What the page says of a result: plain functions from values to words and escaped HTML. No gradio."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from evfsam.types import Segmentation, StrategyCard
from webui.i18n.translate import translate, translate_message
from workbench.analysis.absence import AbsenceJudgement, Outcome, p_no_object
from workbench.comparison import PhraseResult, StrategyResult
from workbench.evaluation.measured_answers import ENCODE_STAGE
from workbench.pictures.colours import phrase_colour, strategy_colour

_MARKS: Final = {
    "found": "●",
    "absent": "○",
    "unsure": "?",
    "right": "✓",
    "partly": "◐",
    "wrong": "✗",
    "failed": "!",
    "waiting": "…",
    "running": "▸",
    "idle": "",
    "skipped": "–",
    "stopped": "■",
}

_PENDING: Final = {
    "waiting": "Waits for its turn",
    "running": "Working",
    "skipped": "Not asked this time",
    "stopped": "Stopped before it answered",
}

_CERTAINTY: Final = {
    "sure": "Sure: its figures are firm.",
    "unsure": "Unsure",
    "absent": "Probably not in this image",
    "unjudged": "No rule tells how sure it is.",
}
_OUTCOMES: Final = {
    "match": "Right: matches what was meant.",
    "partly": "Partly right: too much or too little.",
    "wrong": "Wrong: marks something else.",
    "missed": "Missed: it is in the image.",
    "invented": "Wrong: there is no such thing.",
    "refused": "Right: there is no such thing.",
}
_OUTCOME_SIGNS: Final[Mapping[Outcome, str]] = {
    "match": "right",
    "refused": "right",
    "partly": "partly",
    "wrong": "wrong",
    "missed": "wrong",
    "invented": "wrong",
}

_VIEWER_WORDS: Final[Mapping[str, str]] = {
    "inside": "in the mask",
    "outside": "not in the mask",
    "logit": "logit",
    "below": "≤ ",
    "above": "≥ ",
}
_NO_PLACE: Final = (
    "The phrase reached SAM as one embedding, without a place. Bright: where SAM held the object probable, from 0 to 1."
)
_VIEWER_HINT: Final = (
    "Point at a picture to read its values; Ctrl + wheel, pinch or + − 0 zoom all, dragging or arrow keys move them."
)


def percent(share: float) -> str:
    """Write a share of [0, 1] as a whole percentage; what rounds to nothing or to all without being it says so."""
    if 0 < share < 0.005:
        return translate("under 1 %")
    if 0.995 <= share < 1:
        return translate("over 99 %")
    return translate("{number} %", number=f"{100 * share:.0f}")


def viewer_words() -> dict[str, str]:
    """Return what `viewer.js` says of the place under the pointer."""
    return {name: translate(_VIEWER_WORDS[name]) for name in _VIEWER_WORDS}


def viewer_hint() -> str:
    """Say how the pictures are looked at."""
    return translate(_VIEWER_HINT)


def verdict_in_words(segmentation: Segmentation) -> str:
    """Say what a strategy found, in one sentence."""
    headline, reason = _headline(segmentation), translate_message(segmentation.verdict.reason)
    if not reason:
        return headline
    if segmentation.verdict.kind == "found":
        return translate("{headline}. {reason}", headline=headline, reason=reason)
    return translate("{headline}: {reason}", headline=headline, reason=reason)


def idle_card(card: StrategyCard) -> str:
    """Introduce a strategy that has not been asked yet."""
    limits = [(term, text) for term, text in ((translate("Can"), card.can), (translate("Cannot"), card.cannot)) if text]
    rows = "".join(f"<div><dt>{term}</dt><dd>{escape(translate_message(text))}</dd></div>" for term, text in limits)
    body = f'<p class="how">{escape(translate_message(card.summary))}</p>' + (
        f'<dl class="limits">{rows}</dl>' if rows else ""
    )
    return _card(card, "idle", body)


def pending_card(card: StrategyCard, state: str) -> str:
    """Announce a strategy that waits its turn ("waiting"), works ("running"), was not chosen or was stopped."""
    return _card(card, state, _verdict(state, translate(_PENDING[state])))


def result_card(
    result: StrategyResult,
    measured_iou: float | None,
    ious_by_phrase: Sequence[float | None] = (),
    *,
    judgement: AbsenceJudgement | None = None,
    outcome: Outcome | None = None,
) -> str:
    """Show what one answer marks, how sure it is, whether it is right, its figures, and a row for each of some phrases.

    Args:
        result: the answer.
        measured_iou: in [0, 1], against the known mask; None where the truth is not known.
        ious_by_phrase: the same for each phrase.
        judgement: of the answer's figures; None for an answer that failed.
        outcome: None where the truth is not known.
    """
    segmentation = result.segmentation
    kind, reason = segmentation.verdict.kind, segmentation.verdict.reason
    state = "absent" if kind == "found" and segmentation.area_share == 0 else kind
    body = _verdict(_sign(state, judgement, outcome), _headline(segmentation))
    if reason:
        body += f'<p class="reason">{escape(translate_message(reason))}</p>'
    if kind != "failed":
        body += _worth(segmentation, judgement, outcome) + _phrase_rows(result.answers, ious_by_phrase)
        body += _facts(result, measured_iou, judgement)
    return _card(result.card, state, body)


def evidence_caption(segmentation: Segmentation, mass_inside: float | None) -> str:
    """Say what the strategy acted on, and how to read the picture of it."""
    points = [point for prompt in segmentation.prompts for point in prompt.points]
    boxes = sum(prompt.box is not None for prompt in segmentation.prompts)
    if points or boxes:
        kept = sum(point.is_kept for point in points)
        if not points:
            return (
                translate("What it told SAM: 1 box.")
                if boxes == 1
                else translate("What it told SAM: {boxes} boxes.", boxes=boxes)
            )
        return f"{_told_with_points(boxes, len(points))} {_reading_of_points(kept)}"
    if segmentation.attention is not None:
        has_mask = mass_inside is not None and segmentation.area_share > 0
        where = translate("Where its image token looked: attention of the last layer, all heads summed.")
        share = translate("{share} of it lies inside the mask.", share=percent(mass_inside or 0)) if has_mask else ""
        return f"{where} {share}".rstrip()
    if segmentation.verdict.kind == "found":
        return translate(_NO_PLACE)
    return translate("Nothing was given to SAM.")


def _told_with_points(boxes: int, points: int) -> str:
    if boxes == 0:
        return translate("What it told SAM: {points} points.", points=points)
    if boxes == 1:
        return translate("What it told SAM: 1 box and {points} points.", points=points)
    return translate("What it told SAM: {boxes} boxes and {points} points.", boxes=boxes, points=points)


def _reading_of_points(kept: int) -> str:
    return translate(
        "SAM got the {kept} ringed ones: + on the object, − off it. Hollow ones were dropped. "
        "Blue: probably on the object; orange: probably not.",
        kept=kept,
    )


def status_line(results: Sequence[StrategyResult], total: int, total_seconds: float, running: str | None) -> str:
    """Report progress, and whether the image had to be encoded.

    Args:
        results: what has been answered.
        total: strategies asked.
        total_seconds: since the start.
        running: title of the strategy at work; None at the end.
    """
    done = len(results)
    words = _finished(results, total_seconds)
    if running:
        who = escape(translate_message(running))
        words = translate("{done} of {total} answered. {who} is working.", done=done, total=total, who=who)
    label = translate("strategies answered")
    bar = f'<progress max="{total}" value="{done}" aria-label="{label}"></progress>' if running else ""
    jump = f'<a href="#results">{translate("See the results")}</a>' if done else ""
    # What is under way is seen, not said: a reader hears that it was asked, and then the end.
    role = "" if running else ' role="status"'
    return f'<div class="status"{role}>{bar}<span>{words} {embedding_in_words(results)}</span> {jump}</div>'


def embedding_in_words(results: Sequence[StrategyResult]) -> str:
    """Say whether the image was encoded for these answers or its embedding was at hand."""
    answered = [result.segmentation for result in results if result.segmentation.verdict.kind != "failed"]
    if not answered:
        return ""
    count = sum(not segmentation.embedding_was_cached for segmentation in answered)
    if count == 0:
        return translate("The image embedding was reused: nothing was encoded again.")
    if count > 1:
        return translate("The image was encoded {count} times: not all strategies share one SAM.", count=count)
    shared = translate("The image was encoded once and shared.")
    return shared if len(answered) > 1 else translate("The image was encoded once.")


def problem(message: str) -> str:
    """Show a plain message about what a person can do otherwise; a library's is retold in the page's language."""
    mark, told = '<span aria-hidden="true">!</span>', translate_message(message)
    return f'<div class="status problem" role="alert">{mark}<span>{escape(told[:1].upper() + told[1:])}</span></div>'


def hint(message: str) -> str:
    """Show what to do next."""
    return f'<div class="status hint" role="status"><span>{escape(message)}</span></div>'


def agreement_table(iou: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> str:
    """Show the IoU of every two strategies' masks as a table; figures carry the meaning, shade repeats it."""
    keys = list(iou)
    if len(keys) < 2:
        return '<p class="empty">' + translate("Agreement needs the answers of two strategies at least.") + "</p>"
    head = "".join(f'<th scope="col">{escape(translate_message(titles[key]))}</th>' for key in keys)
    same = translate("same")
    rows = "".join(
        f'<tr><th scope="row">{escape(translate_message(titles[one]))}</th>'
        + "".join(
            f'<td class="same">{same}</td>'
            if one == other
            else f'<td style="--share:{iou[one][other]:.2f}">{iou[one][other]:.2f}</td>'
            for other in keys
        )
        + "</tr>"
        for one in keys
    )
    caption = translate("IoU of the masks, two by two: 1 means the same pixels, 0 means none in common.")
    return (
        f'<div class="scroller"><table class="agreement"><caption>{caption}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def certainty_in_words(judgement: AbsenceJudgement) -> str:
    """Say how sure an answer is, with the figures that make it doubtful."""
    words = translate(_CERTAINTY[judgement.certainty])
    if judgement.certainty in ("sure", "unjudged"):
        return words
    return translate("{words}: {reason}.", words=words, reason=translate_message(judgement.why))


def _sign(state: str, judgement: AbsenceJudgement | None, outcome: Outcome | None) -> str:
    """Return the name of the mark that leads a card: right, partly or wrong where that is known, else how sure."""
    if outcome is not None:
        return _OUTCOME_SIGNS[outcome]
    is_doubtful = judgement is not None and judgement.certainty in ("unsure", "absent") and state == "found"
    return "unsure" if is_doubtful else state


def _worth(segmentation: Segmentation, judgement: AbsenceJudgement | None, outcome: Outcome | None) -> str:
    """Say how sure an answer is, and whether it is right; an empty mask has said already that it is absent."""
    lines = []
    if judgement is not None and segmentation.area_share > 0:
        p_absent = p_no_object(segmentation)
        said = "" if p_absent is None else " " + translate("P(no object): {share}.", share=percent(p_absent))
        told = escape(certainty_in_words(judgement) + said)
        lines.append(f'<p class="worth" data-certainty="{judgement.certainty}">{told}</p>')
    if outcome is not None:
        sign = _OUTCOME_SIGNS[outcome]
        mark = f'<b aria-hidden="true">{_MARKS[sign]}</b> '
        lines.append(
            f'<p class="worth {sign}" data-outcome="{outcome}">{mark}{escape(translate(_OUTCOMES[outcome]))}</p>'
        )
    return "".join(lines)


def _headline(segmentation: Segmentation) -> str:
    if segmentation.verdict.kind != "found":
        return translate("Not in the image") if segmentation.verdict.kind == "absent" else translate("Failed")
    if segmentation.area_share == 0:
        return translate("Marked nothing: the mask is empty")
    return translate("Marked: {share} of the image", share=percent(segmentation.area_share))


def _phrase_rows(answers: Sequence[PhraseResult], ious: Sequence[float | None]) -> str:
    """Write a row a phrase: its number and colour as in the picture, and what was found."""
    rows = []
    for index, answer in enumerate(answers):
        colour = "rgb({}, {}, {})".format(*phrase_colour(index))
        iou = ious[index] if index < len(ious) else None
        found = verdict_in_words(answer.segmentation).rstrip(".。") + ("" if iou is None else f", IoU {iou:.2f}")
        rows.append(
            f'<li><span class="number" style="--colour:{colour}">{index + 1}</span>'
            f"<span><b>{escape(answer.phrase)}</b> {escape(found)}</span></li>"
        )
    return f'<ol class="phrases">{"".join(rows)}</ol>' if rows else ""


def _facts(result: StrategyResult, measured_iou: float | None, judgement: AbsenceJudgement | None) -> str:
    segmentation = result.segmentation
    image = translate("image reused") if segmentation.embedding_was_cached else translate("image encoded")
    if ENCODE_STAGE not in segmentation.seconds:
        image = translate("SAM not asked")
    facts = [(translate("Time"), translate("{seconds} s", seconds=f"{result.seconds:.2f}"), image)]
    if judgement is not None and segmentation.area_share > 0:
        facts.insert(0, (translate("Stability"), f"{judgement.stability:.2f}", translate("of the edge")))
    if segmentation.pred_iou is not None:
        facts.insert(0, ("pred_iou", f"{segmentation.pred_iou:.2f}", translate("SAM’s guess")))
    if measured_iou is not None:
        facts.insert(0, (translate("Measured IoU"), f"{measured_iou:.2f}", translate("vs. truth")))
    rows = "".join(
        f'<div><dt>{term}</dt><dd>{value}</dd><dd class="note">{note}</dd></div>' for term, value, note in facts
    )
    return f'<dl class="facts">{rows}</dl>'


def _finished(results: Sequence[StrategyResult], total_seconds: float) -> str:
    failed = sum(result.segmentation.verdict.kind == "failed" for result in results)
    who = translate("One strategy") if len(results) == 1 else translate("All {count} strategies", count=len(results))
    seconds = f"{total_seconds:.1f}"
    if failed == len(results):
        return translate("{who} failed; the reasons are below.", who=who)
    if failed:
        failures = "{who} answered in {seconds} s, {failed} of them with a failure."
        return translate(failures, who=who, seconds=seconds, failed=failed)
    return translate("{who} answered in {seconds} s.", who=who, seconds=seconds)


def _verdict(state: str, words: str) -> str:
    mark = f'<span class="mark" data-sign="{state}" aria-hidden="true">{_MARKS[state]}</span>'
    return f'<p class="verdict">{mark}<span>{escape(words)}</span></p>'


def _card(card: StrategyCard, state: str, body: str) -> str:
    swatch = "rgb({}, {}, {})".format(*strategy_colour(card.key))
    head = (
        f'<h3><span class="swatch" style="background:{swatch}" aria-hidden="true"></span>'
        f"{escape(translate_message(card.title))}<code>{escape(card.key)}</code></h3>"
    )
    return f'<article class="card" data-strategy="{escape(card.key)}" data-state="{state}">{head}{body}</article>'
