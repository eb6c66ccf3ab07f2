"""A figure of attention maps fit for a paper: vector text and outlines, one scale of colours, values on a bar."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evfsam.errors import ConfigurationError, Sentence
from workbench.analysis.attention_view import ALL_HEADS, ROLLOUT, AttentionView
from workbench.pictures.colours import BLACK, HEAT_STOPS, SKY_BLUE, WHITE, Colour
from workbench.text_fitting import xml_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

FigureFormat = Literal["pdf", "svg", "png"]

MAX_MAPS: Final = 6
DPI_RANGE: Final = (50, 600)
_COLUMN_WIDTH: Final = 7.0
"""Inches: the text width of most two-column papers."""
_ROW_HEIGHT: Final = 2.2
_BAR_HEIGHT: Final = 0.5
_FONT_SIZE: Final = 8
_CJK_FAMILIES: Final = ("Noto Sans CJK SC", "Noto Sans SC", "WenQuanYi Zen Hei", "Source Han Sans SC", "SimHei")
_SETTINGS: Final = {
    "pdf.fonttype": 42,  # TrueType: many publishers refuse Type 3 fonts
    "svg.hashsalt": "attention",  # equal figures make equal files
}
_METADATA: Final = {"pdf": {"CreationDate": None, "Creator": None}, "svg": {"Date": None}, "png": {"Software": None}}
_RC_LOCK: Final = Lock()
"""The two settings can be given to matplotlib's writers by its global settings alone: one figure at a time."""


@dataclass(frozen=True, eq=False)
class FigureMap:
    """One row of a figure.

    Attributes:
        view: whose attention.
        token: a piece of the phrase, from 0, whose map is drawn; None for [CLS].
        peak: share of a token's attention, in [0, 1], that gets the brightest colour; None for the strongest of all.
    """

    view: AttentionView
    token: int | None = None
    peak: float | None = None


def attention_figure(
    maps: Sequence[FigureMap],
    layer: int,
    head: int,
    file_format: FigureFormat = "pdf",
    *,
    dpi: int = 300,
    is_smooth: bool = False,
) -> bytes:
    """Draw one row a map: the image with the mask, the map with the mask's outline, and the phrase's tokens.

    Values are percent of one token's attention, heads averaged for head 0. Maps with the same peak share one bar of
    colours, others have one each.

    Args:
        maps: one to six, such as those of two phrases.
        layer: as in `AttentionView.map_of`; 0 stands for the rollout.
        head: likewise; 0 stands for the sum of the heads.
        file_format: "pdf", "svg" or "png".
        is_smooth: whether values run into each other between the patches' centres.
        dpi: pixels an inch of a PNG, and of the photographs within a PDF or SVG; 50 to 600.

    Returns:
        The file. Equal arguments make equal bytes.

    Raises:
        ConfigurationError: an argument is out of range.
    """
    if file_format not in get_args(FigureFormat):
        raise ConfigurationError(
            "expected a figure as {choices}, got {value!r}",
            choices=", ".join(get_args(FigureFormat)),
            value=file_format,
        )
    if not DPI_RANGE[0] <= dpi <= DPI_RANGE[1]:
        raise ConfigurationError(
            "expected {least} to {most} dpi, got {dpi}", least=DPI_RANGE[0], most=DPI_RANGE[1], dpi=dpi
        )
    if not 1 <= len(maps) <= MAX_MAPS:
        raise ConfigurationError("expected 1 to {most} answers with attention, got {got}", most=MAX_MAPS, got=len(maps))
    # Read here and not above: it takes half a second that only those who want a figure should wait for.
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with _RC_LOCK, rc_context(_SETTINGS):
        figure = _figure(maps, layer, head, is_smooth=is_smooth)
        figure.savefig(buffer, format=file_format, dpi=dpi, metadata=_METADATA[file_format])
    return buffer.getvalue()


def map_title(view: AttentionView, layer: int, head: int) -> Sentence:
    """Say which map it is and how it lies to the mask, such as "head 2: 41% inside the mask, 2.3× its area"."""
    name, gain = map_name(layer, head), view.mass_gain(layer, head)
    if gain is None:
        return Sentence("{map}: no mask", map=name)
    inside = view.mass_inside(layer, head)
    return Sentence(
        "{map}: {inside:.0%} inside the mask, {gain:.1f}\u00d7 its area", map=name, inside=inside, gain=gain
    )


def map_name(layer: int, head: int) -> Sentence:
    """Say which map it is, such as "layer 3, head 2"."""
    if layer == ROLLOUT:
        return Sentence("rollout over all layers")
    if head == ALL_HEADS:
        return Sentence("layer {layer}, all heads", layer=layer)
    return Sentence("layer {layer}, head {head}", layer=layer, head=head)


def _figure(maps: Sequence[FigureMap], layer: int, head: int, *, is_smooth: bool) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    shares = [_shares(each, layer, head) for each in maps]
    strongest = max((float(each.max(initial=0)) for each in shares), default=0.0) or 1.0
    peaks = [strongest if each.peak is None else 100 * each.peak or 1.0 for each in maps]
    bars = 1 if len(set(peaks)) == 1 else len(maps)
    figure = Figure(figsize=(_COLUMN_WIDTH, _ROW_HEIGHT * len(maps) + _BAR_HEIGHT * bars), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(maps), 3, squeeze=False, width_ratios=(1, 1, 0.7))
    colours = LinearSegmentedColormap.from_list("heat", [_unit(stop) for stop in HEAT_STOPS])
    interpolation: Literal["bilinear", "nearest"] = "bilinear" if is_smooth else "nearest"
    drawn = []
    for row, each, values, peak in zip(axes, maps, shares, peaks, strict=True):
        _draw_image(row[0], each.view)
        drawn.append(_draw_map(row[1], each.view, values, colours, peak, interpolation))
        row[1].set_title(_title(each, layer, head), fontsize=_FONT_SIZE - 1)
        _draw_tokens(row[2], each.view, layer, head)
    for number in range(bars):
        under = axes[:, 1].tolist() if bars == 1 else axes[number, 1]
        bar = figure.colorbar(drawn[number], ax=under, location="bottom", aspect=30, pad=0.02)
        bar.ax.tick_params(labelsize=_FONT_SIZE - 2)
        bar.set_label("% of the attention on one patch", fontsize=_FONT_SIZE - 2)
    families = _families()
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)  # a phrase may hold a dollar sign
        text.set_fontfamily(families)
    return figure


def _shares(each: FigureMap, layer: int, head: int) -> NDArray[np.float32]:
    """(h, w): percent of one token's attention on each patch."""
    view = each.view
    values = view.map_of(layer, head) if each.token is None else view.token_map_of(layer, head, each.token)
    percent: NDArray[np.float32] = values * np.float32(100 / view.heads_in(layer, head))
    return percent


def _title(each: FigureMap, layer: int, head: int) -> str:
    if each.token is None:
        return map_title(each.view, layer, head).replace(": ", "\n", 1)
    word = each.view.shares_of_tokens(layer, head)[each.token].text
    return xml_text(f"\u201c{word}\u201d, {map_name(layer, head)}")


def _draw_image(axes: Axes, view: AttentionView) -> None:
    axes.imshow(view.picture, interpolation="antialiased")
    _outline(axes, view)
    axes.set_title(xml_text(view.phrase or view.title), fontsize=_FONT_SIZE, wrap=True)
    axes.set_axis_off()


def _draw_map(
    axes: Axes,
    view: AttentionView,
    values: NDArray[np.float32],
    colours: Colormap,
    peak: float,
    interpolation: Literal["bilinear", "nearest"],
) -> AxesImage:
    height, width = view.picture.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    grey = view.picture.mean(axis=2)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=extent)
    drawn = axes.imshow(
        values,
        cmap=colours,
        vmin=0,
        vmax=peak,
        alpha=0.7,
        extent=extent,
        interpolation=interpolation,
    )
    _outline(axes, view)
    axes.set_axis_off()
    return drawn


def _draw_tokens(axes: Axes, view: AttentionView, layer: int, head: int) -> None:
    shares = view.shares_of_tokens(layer, head)
    places = np.arange(len(shares))
    axes.barh(places, [100 * token.share for token in shares], color=_unit(SKY_BLUE), edgecolor="black", linewidth=0.4)
    axes.set_yticks(places, [xml_text(token.text) for token in shares])
    axes.invert_yaxis()
    axes.tick_params(labelsize=_FONT_SIZE - 2, length=2)
    axes.set_xlabel("% of [CLS]'s attention", fontsize=_FONT_SIZE - 1)
    axes.spines[["top", "right"]].set_visible(False)


def _outline(axes: Axes, view: AttentionView) -> None:
    if not view.mask.any() or view.mask.all():
        return
    for colour, width in ((BLACK, 1.6), (WHITE, 0.8)):  # one of the two shows on anything
        axes.contour(view.mask.astype(np.float32), levels=[0.5], colors=[_unit(colour)], linewidths=width)


def _families() -> list[str]:
    """Return font families to look in for a letter; installed ones alone, since each missing one is logged."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(family for family in _CJK_FAMILIES if family in installed)]


def _unit(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
