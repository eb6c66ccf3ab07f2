"""A step of a trace as a person reads it: sentences and tables from what the strategies keep. No gradio."""

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final

from evfsam.types import TraceEntry
from webui import figures
from webui.i18n.translate import translate, translate_message
from webui.wording import percent

_LONGEST_TEXT: Final = 4_000
_LONGEST_QUOTE: Final = 80
"""Characters up to which what was asked or answered stands in a sentence; longer texts are folded."""
_MARKS_OF_A_SPACE: Final = "\u2581\u0120"

TraceValues = Mapping[str, object]


def step_told(entry: TraceEntry, drawn: str = "") -> str:
    """Tell one step: its name, what happened in sentences and tables, pictures of it, and word for word, folded.

    Args:
        entry: of a strategy's trace; values that nobody has words for stand among what is folded.
        drawn: pictures as HTML, below the sentences.
    """
    told = [*_exchange(entry), *(part for tell in _TELLERS for part in tell(entry.values))]
    return step_name(translate_message(entry.step)) + "".join(told) + drawn + _word_for_word(entry)


def step_name(words: str) -> str:
    """Write what leads a step."""
    return f'<p class="step-name">{escape(words)}</p>'


def _exchange(entry: TraceEntry) -> list[str]:
    """Quote what was short; what was done unasked is told by the library, in the page's language."""
    told = []
    if _is_short(entry.asked):
        told.append(_sentence(translate("Given: “{text}”.", text=entry.asked)))
    if entry.answered and not entry.asked:
        told.append(_sentence(_shortened(translate_message(entry.answered))))
    elif _is_short(entry.answered) and "points" not in entry.values:
        told.append(_sentence(translate("Answered: “{text}”.", text=entry.answered)))
    return told


def _pieces(values: TraceValues) -> list[str]:
    """Tell how the phrase was cut, and whether the image was read beside it."""
    told = []
    pieces = [str(each) for each in _listed(values, "tokens")]
    words = [piece for piece in map(_readable, pieces) if piece]
    if words:
        items = "".join(f"<li>{escape(word)}</li>" for word in words)
        told.append(_sentence(translate("The phrase was cut into {count} pieces:", count=len(words))))
        told.append(f'<ul class="pieces" lang="en">{items}</ul>')
    cut_off = _number(values, "tokens_cut_off")
    if cut_off:
        told.append(
            _sentence(translate("{count} pieces at its end did not fit and were not read.", count=f"{cut_off:.0f}"))
        )
    patches = _number(values, "patches")
    if patches is not None:
        seen = translate("The image was cut into {count} patches and read as well.", count=f"{patches:.0f}")
        told.append(_sentence(seen if patches else translate("The image was not looked at here.")))
    if values.get("variant") == "text":
        told.append(_sentence(translate("Nobody looked at the image: the words alone decide what SAM is told.")))
    if values.get("variant") == "late-concat":
        told.append(_sentence(translate("The image as a whole was read too, but apart from the words.")))
    return told


def _projected(values: TraceValues) -> list[str]:
    channels, norm = _number(values, "channels"), _number(values, "norm")
    if channels is None or norm is None:
        return []
    what = "What was read became one prompt for SAM: {channels} numbers, {norm} long as a vector."
    return [_sentence(translate(what, channels=f"{channels:.0f}", norm=f"{norm:.1f}"))]


def _presence(values: TraceValues) -> list[str]:
    p_yes, threshold = _number(values, "p_yes"), _number(values, "threshold")
    if p_yes is None or threshold is None:
        return []
    what = "That the image shows it, the model was {share} sure; {least} are asked for."
    return [_sentence(translate(what, share=percent(p_yes), least=percent(threshold)))]


def _boxes(values: TraceValues) -> list[str]:
    """Tell of boxes: as they were said and in pixels, with label and score where a detector gave them."""
    boxes, said = _listed(values, "boxes"), _listed(values, "spoken_boxes")
    told = _table_of_found(translate("Boxes"), boxes)
    plain = [corners for corners in map(_corners, boxes) if corners]
    if len(plain) == 1:
        told.append(_sentence(translate("In pixels, the box goes from {start} to {end}.", **_ends(plain[0]))))
    elif plain:
        spoken = [_joined(each) for each in said] + [""] * len(plain)
        rows = [[f"{number}", spoken[number - 1], *_ends(box).values()] for number, box in enumerate(plain, start=1)]
        head = ["", translate("As it was said"), translate("From"), translate("To")]
        told.append(figures.table(translate("Boxes"), head, rows))
    problems = "; ".join(translate_message(each) for each in _listed(values, "problems") if isinstance(each, str))
    if problems:
        told.append(_sentence(translate("What could not be used: {problems}.", problems=problems)))
    left_out = _number(values, "boxes_left_out")
    if left_out:
        told.append(_sentence(translate("{count} further boxes were left out.", count=f"{left_out:.0f}")))
    p_absent, threshold = _number(values, "p_absent"), _number(values, "absence_threshold")
    if p_absent is not None and threshold is not None:
        what = "That there is no such thing had a probability of {share}; from {least} on, no box is believed."
        told.append(_sentence(translate(what, share=percent(p_absent), least=percent(threshold))))
    return told


def _points(values: TraceValues) -> list[str]:
    """Tell how many points were asked about, and what came back; the table of them is drawn beside the picture."""
    points = [each for each in _listed(values, "points") if isinstance(each, Mapping)]
    if not points:
        return []
    asked = "{count} points were asked about, all in one question: {yes} times Yes, {no} times No."
    if values.get("turns") == "independent":
        asked = "{count} points were asked about, each in a question of its own: {yes} times Yes, {no} times No."
    yes = sum((_number(point, "p_yes") or 0) > 0.5 for point in points)
    told = [_sentence(translate(asked, count=len(points), yes=yes, no=len(points) - yes))]
    kept = sum(point.get("is_kept") is True for point in points)
    told.append(_sentence(translate("{count} of these answers were sure enough for SAM to get the point.", count=kept)))
    unanswered = _number(values, "unanswered")
    if unanswered:
        told.append(_sentence(translate("{count} further points got no answer.", count=f"{unanswered:.0f}")))
    return told


def _prompted(values: TraceValues) -> list[str]:
    """Tell of the box and points that SAM got, or that a visitor drew."""
    told = []
    box = _corners(values.get("box"))
    if box:
        told.append(_sentence(translate("In pixels, the box goes from {start} to {end}.", **_ends(box))))
    drawn = [each for each in _listed(values, "points") if isinstance(each, Sequence) and len(each) == 3]
    if drawn:
        what = "Points: {included} on the object, {excluded} off it."
        included = sum(each[2] == 1 for each in drawn)
        told.append(_sentence(translate(what, included=included, excluded=len(drawn) - included)))
    return told


def _thresholds(values: TraceValues) -> list[str]:
    """Tell what a filter let pass."""
    guess, stability = _number(values, "pred_iou_threshold"), _number(values, "stability_threshold")
    told = []
    if guess is not None and stability is not None:
        what = "A mask passes with a pred_iou of at least {guess} and a stability of at least {stability}."
        told.append(_sentence(translate(what, guess=f"{guess:.2f}", stability=f"{stability:.2f}")))
    least = _number(values, "box_threshold")
    if least is None and "instances" in values:
        least = _number(values, "threshold")
    if least is not None:
        told.append(_sentence(translate("What scores at least {least} counts.", least=f"{least:.2f}")))
    return told + _table_of_found(translate("Instances"), _listed(values, "instances"))


def _ranking(values: TraceValues) -> list[str]:
    """Write CLIP's ranking of the proposals, best first."""
    rows = [
        [
            translate("{rank}, chosen", rank=rank) if proposal.get("is_chosen") else f"{rank}",
            f"{proposal['similarity']:.3f}",
            f"{100 * proposal['share']:.0f} %",
            f"{proposal['pred_iou']:.2f}",
            f"{proposal['stability']:.2f}",
            ", ".join(f"{side:.0f}" for side in proposal["box"]),
        ]
        for rank, proposal in enumerate(_listed(values, "ranking"), start=1)
        if isinstance(proposal, Mapping)
    ]
    head = [
        translate("Rank"),
        translate("Similarity"),
        translate("Share"),
        "pred_iou",
        translate("Stability"),
        translate("Box"),
    ]
    return [figures.table(translate("Proposals, the most similar to the phrase first"), head, rows)] if rows else []


_TELLERS: Final[tuple[Callable[[TraceValues], list[str]], ...]] = (
    _pieces,
    _projected,
    _presence,
    _boxes,
    _points,
    _prompted,
    _thresholds,
    _ranking,
)
"""Each tells of the values that it knows by name, whichever strategy kept them."""


def _table_of_found(caption: str, found: Sequence[object]) -> list[str]:
    """Write boxes that have a score, and perhaps a label."""
    rows = [
        [f"{number}", str(each.get("label", "")), f"{score:.2f}", *_ends(box).values()]
        for number, each in enumerate(found, start=1)
        if isinstance(each, Mapping) and (box := _corners(each.get("box"))) and (score := _number(each, "score"))
    ]
    head = ["", translate("Label"), translate("Score"), translate("From"), translate("To")]
    return [figures.table(caption, head, rows)] if rows else []


def _word_for_word(entry: TraceEntry) -> str:
    """Fold what was asked, answered and kept, as it was."""
    parts = []
    for label, text in ((translate("asked"), entry.asked), (translate("answered"), entry.answered)):
        if text:
            parts.append(f'<p class="label">{label}</p><pre lang="en" tabindex="0">{escape(_shortened(text))}</pre>')
    if entry.values:
        kept = json.dumps(_plain(entry.values), ensure_ascii=False, indent=1)
        parts.append(
            f'<p class="label">{translate("kept")}</p><pre lang="en" tabindex="0">{escape(_shortened(kept))}</pre>'
        )
    title = f'{translate("Word for word")}<span class="unseen"> {escape(translate_message(entry.step))}</span>'
    return f'<details class="folded"><summary>{title}</summary>{"".join(parts)}</details>' if parts else ""


def _plain(value: object) -> object:
    """Return a value as JSON has it; numbers with as many digits as a person reads."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return value if isinstance(value, str | int | None) else str(value)


def _listed(values: TraceValues, name: str) -> Sequence[object]:
    value = values.get(name)
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _number(values: TraceValues, name: str) -> float | None:
    value = values.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _corners(value: object) -> tuple[float, ...] | None:
    """Return a box XYXY; None where it is none."""
    sides = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    return sides if len(sides) == 4 and all(isinstance(side, int | float) for side in sides) else None


def _ends(box: Sequence[float]) -> dict[str, str]:
    left, top, right, bottom = (f"{side:.0f}" for side in box)
    return {"start": f"({left}, {top})", "end": f"({right}, {bottom})"}


def _joined(value: object) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, Sequence) else str(value)


def _readable(token: str) -> str:
    """Return a piece without the tokenizer's mark for a space; nothing for a mark of beginning or end."""
    if token.startswith("<") and token.endswith(">"):
        return ""
    return token.removeprefix("##").removesuffix("</w>").strip(_MARKS_OF_A_SPACE)


def _is_short(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_QUOTE and "\n" not in text


def _sentence(words: str) -> str:
    return f"<p>{escape(words)}</p>"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + translate(" … (shortened)")
