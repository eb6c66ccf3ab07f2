"""Charts as SVG: bars with their intervals, drawn by hand, since a page of its own needs no drawing library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil
from typing import Final

from workbench.evaluation.run_figures import Figure
from workbench.pictures.colours import Colour, colours_apart
from workbench.text_fitting import xml_text

_BAR: Final = 26
_GAP: Final = 18
_HEIGHT: Final = 180
_TOP: Final = 34
_LEFT: Final = 44
_BOTTOM: Final = 46
_LETTER: Final = 6.6
"""Width to allow for a letter of the labels, of sans-serif at 11 pixels."""
_TITLE_LETTER: Final = 8.0
_SWATCH: Final = 30
"""Room of a legend's entry beside its letters."""


@dataclass(frozen=True)
class Group:
    """Bars that stand together.

    Attributes:
        label: below them.
        bars: figures by strategy.
    """

    label: str
    bars: Mapping[str, Figure]


def bar_chart(title: str, groups: Sequence[Group], description: str = "") -> str:
    """Draw shares in [0, 1] as bars from 0 to 100 percent, with their intervals, as a whole SVG document.

    Each bar has its strategy's colour, or another where two would share one, and, where a pointer rests on it, its name
    and figure. Groups are as wide as their bars and labels need, and the whole as wide as the title and the legend.

    Args:
        title: above the bars.
        groups: from left to right.
        description: what the title does not say, for those who do not see the chart.
    """
    title, description = xml_text(title), xml_text(description)
    keys = list(dict.fromkeys(key for group in groups for key in group.bars))
    colours = {key: _css(colour) for key, colour in colours_apart(keys).items()}
    widest_label = max((len(group.label) for group in groups), default=0) * _LETTER
    group_width = max(max(1, len(keys)) * _BAR, widest_label) + _GAP
    legend_width = sum(_legend_width(key) for key in keys)
    width = _LEFT + _GAP + ceil(max(len(groups) * group_width, legend_width, len(title) * _TITLE_LETTER))
    height = _TOP + _HEIGHT + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11" role="img">',
        f"<title>{escape(f'{title}. {description}' if description else title)}</title>",
        f'<text x="{_LEFT}" y="14" font-size="13" font-weight="bold">{escape(title)}</text>',
        *_axis(width),
    ]
    for number, group in enumerate(groups):
        middle = _LEFT + _GAP / 2 + (number + 0.5) * group_width - _GAP / 2
        left = middle - len(keys) * _BAR / 2
        for place, key in enumerate(keys):
            if key in group.bars:
                parts += _bar(left + place * _BAR, key, group.label, group.bars[key], colours[key])
        parts.append(
            f'<text x="{middle:.1f}" y="{_TOP + _HEIGHT + 14}" text-anchor="middle">{escape(group.label)}</text>'
        )
    parts += _legend(colours, _TOP + _HEIGHT + 34)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axis(width: int) -> list[str]:
    lines = []
    for share in (0, 25, 50, 75, 100):
        y = _y(share / 100)
        lines.append(f'<line x1="{_LEFT}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ccc"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share}</text>')
    return lines


def _bar(left: float, key: str, label: str, figure: Figure, colour: str) -> list[str]:
    if figure.value is None:
        return []
    top = _y(figure.value)
    parts = [
        f'<rect x="{left + 2:.1f}" y="{top:.1f}" width="{_BAR - 4}" height="{_TOP + _HEIGHT - top:.1f}" '
        f'fill="{colour}" stroke="#333" stroke-width="0.5">'
        f"<title>{escape(key)}, {escape(label)}: {100 * figure.value:.1f} %</title></rect>"
    ]
    if figure.interval is not None:
        low, high = (_y(edge) for edge in figure.interval)
        x = left + _BAR / 2
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="#000" stroke-width="1.5"/>'
        )
    return parts


def _legend(colours: Mapping[str, str], y: int) -> list[str]:
    parts = []
    left = _LEFT
    for key, colour in colours.items():
        parts.append(f'<rect x="{left}" y="{y - 9}" width="10" height="10" fill="{colour}" stroke="#333"/>')
        parts.append(f'<text x="{left + 14}" y="{y}">{escape(key)}</text>')
        left += _legend_width(key)
    return parts


def _css(colour: Colour) -> str:
    return "rgb({}, {}, {})".format(*colour)


def _legend_width(key: str) -> int:
    return _SWATCH + ceil(len(key) * _LETTER)


def _y(share: float) -> float:
    return _TOP + _HEIGHT * (1 - min(max(share, 0.0), 1.0))
