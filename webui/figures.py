"""Pictures, legends and tables as escaped HTML, each with its words beside it. No gradio."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evfsam.types import RgbImage
from webui.i18n.translate import translate, translate_message
from webui.wording import percent
from workbench.analysis.agreement_picture import LegendEntry
from workbench.export.results import png_bytes
from workbench.pictures.shown_pictures import shrunk

_SIDE: Final = 960
_QUALITY: Final = 90


def figure(picture: RgbImage, alt_text: str, caption: str = "", *, side: int = _SIDE) -> str:
    """Show a picture at up to `side` pixels.

    Args:
        picture: (H, W, 3) uint8.
        alt_text: what it shows, for screen readers.
        caption: below it, plain text.
        side: its longest side at most.
    """
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure class="plate"><img src="{data_uri(shrunk(picture, side))}" alt="{escape(alt_text)}">{below}</figure>'
    )


def plates(figures: Sequence[str]) -> str:
    """Put figures side by side, below each other where there is no room."""
    return f'<div class="plates">{"".join(figures)}</div>'


def legend(entries: Sequence[LegendEntry]) -> str:
    """Say what the colours of a picture mean, and how much of the image each covers."""
    items = "".join(
        f'<li><span class="swatch" style="background:rgb({red}, {green}, {blue})" aria-hidden="true"></span>'
        f"<b>{escape(translate_message(entry.label))}</b> {percent(entry.share)}</li>"
        for entry in entries
        for red, green, blue in (entry.colour,)
    )
    label = translate("Colours, and their share of the image")
    return f'<ul class="legend" aria-label="{label}">{items}</ul>'


def legend_in_words(entries: Sequence[LegendEntry]) -> str:
    """Say the same in one line, for the text of the picture."""
    return "; ".join(
        translate("{label}: {share} of the image", label=translate_message(entry.label), share=percent(entry.share))
        for entry in entries
    )


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """Write a table whose first column names the rows; an empty first heading is left unnamed.

    Args:
        caption: a few words.
        head: titles of the columns.
        rows: their cells, as many as titles each.
        note: how to read it, below the table.
    """
    titles = "".join(f'<th scope="col">{escape(title)}</th>' if title else "<td></td>" for title in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    below = f'<p class="caption">{escape(note)}</p>' if note else ""
    return (
        f'<div class="scroller" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="agreement">'
        f"<caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>{below}"
    )


def nothing(words: str) -> str:
    """Say what is missing, and what to do."""
    return f'<p class="empty">{escape(words)}</p>'


def data_uri(picture: RgbImage) -> str:
    """Write a picture, (H, W, 3) uint8, as an address that holds it."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode("ascii")


def lossless_uri(picture: NDArray[np.uint8]) -> str:
    """Write a picture, (H, W, 3 or 4) uint8, pixel by pixel as an address that holds it."""
    return "data:image/png;base64," + b64encode(png_bytes(picture)).decode("ascii")
