"""Attention as escaped HTML: maps with their scale, the grid of layers and heads, words, the probe. No gradio."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np

from evfsam.types import AttentionRecord
from webui import figures
from webui.i18n.translate import translate, translate_message
from webui.run_cache import FinishedRun
from webui.wording import percent
from workbench.analysis.attention_figure import map_title
from workbench.analysis.attention_view import ALL_HEADS, ROLLOUT, AttentionView, attention_views, shares_between
from workbench.comparison import StrategyResult
from workbench.export.results import png_bytes
from workbench.pictures.colours import HEAT_STOPS

NO_TOKEN: Final = -1
"""Stands for [CLS] in place of a word's number."""
NOBODY: Final = -1
"""Stands for no second picture."""
LAYER_STEP: Final = 1000
"""A cell of the grid is told by one number: layer * LAYER_STEP + head."""
_WHOLE_SHARE: Final = 2**16 - 1
"""Shares of [0, 1] go to the browser as whole numbers of 16 bits."""


@dataclass(frozen=True)
class Look:
    """What is looked at: numbers within what the run has.

    Attributes:
        phrase: the view's number, from 0.
        beside: a second view's number, that of another run ("key/number"), or NOBODY.
        layer, head: as in `AttentionView.map_of`.
        token: a word's number, or NO_TOKEN for [CLS].
        is_smooth: whether patches run into each other.
        is_one_scale: whether colours mean the same in all maps of all layers.
    """

    phrase: int
    beside: int | str
    layer: int
    head: int
    token: int
    is_smooth: bool = False
    is_one_scale: bool = False


@dataclass(frozen=True, eq=False)
class Seen:
    """The attention of one answer: its maps, and what they come from."""

    view: AttentionView
    record: AttentionRecord


@dataclass(frozen=True, eq=False)
class Plate:
    """One map as it stands on the page and in a figure.

    Attributes:
        view: whose.
        token: a word's number, or None for [CLS].
        peak: share of a token's attention that is drawn in the brightest colour.
    """

    view: AttentionView
    token: int | None
    peak: float


def seen_in(run: FinishedRun, key: str | None = None) -> tuple[Seen, ...]:
    """Return the attention of every answer that has any, or of one strategy's alone, phrase by phrase."""
    progress = run.progress
    seen: list[Seen] = []
    for result in progress.results:
        if key not in (None, result.key):
            continue
        records = [each.attention for each in result.by_phrase if each.attention is not None]
        views = attention_views(result, progress.view.image, progress.phrase)
        seen += [Seen(view, record) for view, record in zip(views, records, strict=True)]
    return tuple(seen)


def attentive(run: FinishedRun, key: str) -> StrategyResult | None:
    """Return a strategy's answers where they have attention, else those of the first strategy that has any."""
    results = [each for each in run.progress.results if any(one.attention is not None for one in each.by_phrase)]
    return next((each for each in results if each.key == key), results[0] if results else None)


def phrases_with_attention(run: FinishedRun) -> list[str]:
    """Return the phrases of `seen_in`, without working anything out."""
    progress = run.progress
    return [
        phrase
        for result in progress.results
        for phrase, each in zip(progress.phrases, result.by_phrase, strict=True)
        if each.attention is not None
    ]


def plates_of(view: AttentionView, beside: AttentionView | None, look: Look) -> tuple[Plate, ...]:
    """Return the maps to show: one, a word's and [CLS]'s, or those of two answers in the same colours.

    Args:
        view: what is looked at.
        beside: a second answer's; not shown beside a word.
        look: which layer, head, word and scale.
    """
    if look.token != NO_TOKEN:
        return Plate(view, look.token, _peak([view], look, look.token)), Plate(view, None, _peak([view], look))
    both = [view] if beside is None else [view, beside]
    return tuple(Plate(each, None, _peak(both, look)) for each in both)


def _peak(views: Sequence[AttentionView], look: Look, token: int | None = None) -> float:
    if look.is_one_scale:
        return max(view.highest_share() for view in views)
    layer, head = look.layer, look.head
    return max(view.peak(layer, head, token) / view.heads_in(layer, head) for view in views)


def pictured(plates: Sequence[Plate], look: Look) -> str:
    """Draw the maps with their scales, and say what [CLS] spent its attention on."""
    is_comparable = len(plates) == 2 and plates[0].peak == plates[1].peak
    scope = translate("for both maps") if is_comparable else translate("for this map alone")
    if look.is_one_scale:
        scope = translate("for every layer, head and word")
    drawn = []
    for plate in plates:
        drawn.append(_map_figure(plate, look) + colour_bar(plate.peak, scope))
        if look.token == NO_TOKEN:
            drawn[-1] += spent(plate.view, look)
    if len(plates) == 1:
        return drawn[0]
    both = figures.plates([f"<div>{each}</div>" for each in drawn])
    told = (
        translate("Equal colours are equal attention in both.")
        if is_comparable
        else translate("Each map has its own colours.")
    )
    return both + f'<p class="caption">{escape(told)}</p>'


def colour_bar(peak: float, scope: str) -> str:
    """Draw the scale of a map's colours, in shares of a token's attention, and say what else it holds for."""
    stops = ", ".join("rgb({}, {}, {})".format(*stop) for stop in HEAT_STOPS)
    most = f"{100 * peak:.1f} %"
    told = translate("Colours: 0 to {most} of the attention on one patch, {scope}.", most=most, scope=scope)
    bar = f'<span class="ramp" style="background:linear-gradient(to right, {stops})" aria-hidden="true"></span>'
    return f'<p class="colour-bar"><span>0 %</span>{bar}<span>{most}</span></p><p class="caption">{escape(told)}</p>'


def spent(view: AttentionView, look: Look) -> str:
    """Say what [CLS] spent its attention on; the three shares add up."""
    image, phrase, own = (f"{100 * share:.1f} %" for share in view.shares(look.layer, look.head))
    told = translate(
        "Of [CLS]'s attention, {image} went to the image, {phrase} to the phrase and {own} to itself.",
        image=image,
        phrase=phrase,
        own=own,
    )
    return f'<p class="caption spent">{escape(told)}</p>'


def _map_figure(plate: Plate, look: Look) -> str:
    view, layer, head = plate.view, look.layer, look.head
    peak = plate.peak * view.heads_in(layer, head)
    picture = view.heat_map(layer, head, plate.token, peak=peak, is_smooth=look.is_smooth)
    if plate.token is not None:
        word = view.shares_of_tokens(layer, head)[plate.token].text
        caption = translate("Where “{word}” looked; beside it, where [CLS] looked.", word=word)
        return figures.figure(picture, translate("Attention of “{word}”", word=word), caption)
    title = translate_message(map_title(view, layer, head))
    caption = translate("“{phrase}”, {title}.", phrase=view.phrase, title=title)
    told = translate(
        "Attention of [CLS] over the image, {title}: {caption}", title=translate_message(view.title), caption=caption
    )
    return figures.figure(picture, told, caption)


def head_grid(view: AttentionView, look: Look) -> str:
    """Write a table of small maps, a row a layer and a column a head, each a button; the chosen one is pressed."""
    columns = view.head_count + 1
    sprite = b64encode(png_bytes(view.head_grid(is_one_scale=look.is_one_scale))).decode("ascii")
    height, width = view.picture.shape[:2]
    names = [translate("All"), *(f"{head}" for head in range(1, columns))]
    titles = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = []
    for layer in range(1, view.layer_count + 1):
        cells = "".join(f"<td>{_cell(view, look, layer, head)}</td>" for head in range(columns))
        rows.append(f'<tr><th scope="row">{layer}</th>{cells}</tr>')
    own = translate("The brightest patch of each small map is its own strongest.")
    one = translate("All small maps have one scale, up to {most}.", most=f"{100 * view.highest_share():.1f} %")
    note = one if look.is_one_scale else own
    return (
        f'<div class="scroller"><table class="head-grid" style="--sprite:url(data:image/png;base64,{sprite});'
        f'--columns:{columns};--rows:{view.layer_count};--ratio:{width}/{height}">'
        "<caption>"
        f"{escape(translate('Layers from top to bottom, heads from left to right: choose one to enlarge it.'))}"
        f"</caption><thead><tr><td></td>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="caption">{escape(note)}</p>'
    )


def _cell(view: AttentionView, look: Look, layer: int, head: int) -> str:
    which = translate("Layer {layer}, all heads", layer=layer)
    if head != ALL_HEADS:
        which = translate("Layer {layer}, head {head}", layer=layer, head=head)
    share = translate("{share} in mask", share=percent(view.mass_inside(layer, head)))
    name = escape(f"{which}: {share}")
    is_pressed = (layer, head) == (look.layer, look.head)
    # One stop of the tabulator; the arrow keys lead to the others.
    is_reached = is_pressed or (look.layer == ROLLOUT and (layer, head) == (1, ALL_HEADS))
    x, y = 100 * head / view.head_count, 100 * (layer - 1) / max(1, view.layer_count - 1)
    return (
        f'<button type="button" data-index="{layer * LAYER_STEP + head}" data-value="" aria-label="{name}" '
        f'title="{name}" aria-pressed="{str(is_pressed).lower()}" tabindex="{0 if is_reached else -1}" '
        f'style="--x:{x:.3f}%;--y:{y:.3f}%"></button>'
    )


def token_buttons(view: AttentionView, look: Look) -> str:
    """Write the pieces of the phrase as buttons, each with its share of [CLS]'s attention."""
    items = [f"<li>{_button(NO_TOKEN, look.token == NO_TOKEN)}<b>[CLS]</b></button></li>"]
    for token in view.shares_of_tokens(look.layer, look.head):
        items.append(
            f'<li style="--share:{token.share:.3f}">{_button(token.index, token.index == look.token)}'
            f'<b lang="en">{escape(token.text)}</b>'
            f" <small>{100 * token.share:.1f} %</small></button></li>"
        )
    title = translate("Pieces of the phrase, with their share of [CLS]'s attention. Press one to see where it looked.")
    listed = f'<ul class="chips tokens" aria-label="{translate("Pieces of the phrase")}">{"".join(items)}</ul>'
    return f'<p class="section">{escape(title)}</p>{listed}'


def _button(index: int, is_pressed: bool) -> str:
    return f'<button type="button" data-index="{index}" data-value="" aria-pressed="{str(is_pressed).lower()}">'


def probe(seen: Seen, look: Look) -> str:
    """Write what `attention.js` needs to show what attends to a patch or a word, and where that looks.

    The whole table between tokens goes to the browser, so that pointing asks nobody.
    """
    view, record = seen.view, seen.record
    shares = shares_between(record, look.layer, look.head)
    whole = np.rint(np.clip(shares, 0, 1) * _WHOLE_SHARE).astype("<u2")
    height, width = record.patch_grid
    words = ["[CLS]", *(token.text for token in view.shares_of_tokens(look.layer, look.head))]
    data = {
        "height": height,
        "width": width,
        "shares": b64encode(whole.tobytes()).decode("ascii"),
        "whole": _WHOLE_SHARE,
        "stops": HEAT_STOPS,
        "peak": view.highest_share() if look.is_one_scale else None,
        "words": words,
        "told": {
            "patch": translate("the patch in row {row}, column {column}"),
            "word": translate("“{word}”"),
            "to": translate("What attends to {target}: other patches give it up to {most}, [CLS] {cls}."),
            "from": translate(
                "Where {target} looks: up to {most} on a patch, {image} on the image, {phrase} on the phrase."
            ),
        },
    }
    ways = "".join(
        f'<label><input type="radio" name="probe-way" value="{way}"{" checked" if way == "to" else ""}>'
        f"<span>{escape(words)}</span></label>"
        for way, words in (("to", translate("What attends to it")), ("from", translate("Where it looks")))
    )
    chips = "".join(
        f'<li><button type="button" data-word="{number}"><b lang="en">{escape(word)}</b> <small></small></button></li>'
        for number, word in enumerate(words)
    )
    label = escape(translate("Patches of the image; the arrow keys choose one"))
    return (
        f'<section class="probe" data-probe="{escape(json.dumps(data, ensure_ascii=False))}">'
        f'<h2>{escape(translate("Point at a patch or a word"))}</h2><div class="probe-ways">{ways}</div>'
        '<div class="probe-both">'
        f'<div class="probe-picture" tabindex="0" role="application" aria-label="{label}">'
        f'<img src="{figures.data_uri(view.picture)}" alt=""><canvas width="{width}" height="{height}"></canvas>'
        f'<span class="probe-at"></span></div><div><ul class="chips tokens probe-words">{chips}</ul>'
        f'<p class="colour-bar"><span>0 %</span><span class="ramp" aria-hidden="true"></span>'
        '<span class="probe-most"></span></p><p class="caption probe-told" role="status"></p></div></div></section>'
    )
