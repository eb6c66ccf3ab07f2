"""Colours (colors) that colour-blind readers tell apart. None carries a meaning alone: outlines and labels repeat it.

Source: M. Okabe and K. Ito, Color Universal Design (2008), for the palette; P. Tol, Colour
Schemes (2021), for wine; viridis (CC0) for the sequential scale.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""Red, green, blue, each 0..255."""

ORANGE: Final[Colour] = (230, 159, 0)
SKY_BLUE: Final[Colour] = (86, 180, 233)
BLUISH_GREEN: Final[Colour] = (0, 158, 115)
BLUE: Final[Colour] = (0, 114, 178)
VERMILION: Final[Colour] = (213, 94, 0)
REDDISH_PURPLE: Final[Colour] = (204, 121, 167)
YELLOW: Final[Colour] = (240, 228, 66)
WINE: Final[Colour] = (136, 34, 85)
GREY: Final[Colour] = (148, 148, 148)
WHITE: Final[Colour] = (255, 255, 255)
BLACK: Final[Colour] = (0, 0, 0)

STRATEGY_COLOURS: Final[Mapping[str, Colour]] = MappingProxyType(
    {
        "evf-sam": ORANGE,
        "clip-text": SKY_BLUE,
        "point-query": BLUISH_GREEN,
        "clip-ranking": REDDISH_PURPLE,
        "grounded-sam": BLUE,
        "sam3": VERMILION,
    }
)
_OTHERS: Final = (WINE, YELLOW, GREY)

PHRASE_COLOURS: Final = (ORANGE, SKY_BLUE, REDDISH_PURPLE, BLUISH_GREEN, VERMILION, BLUE)

PROBABILITY_STOPS: Final = (VERMILION, (242, 242, 242), BLUE)
"""0 is vermilion, 1/2 nearly white, 1 blue."""

HEAT_STOPS: Final = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Five stops of viridis, dark to light: its order survives in print and for every kind of colour vision."""


def strategy_colour(key: str) -> Colour:
    """Return the strategy's colour: the same in every run, also for keys that this file does not know."""
    return STRATEGY_COLOURS.get(key, _OTHERS[crc32(key.encode()) % len(_OTHERS)])


def colours_apart(keys: Sequence[str]) -> dict[str, Colour]:
    """Return a colour for each of some strategies that stand in one chart: its own, or where that is taken another.

    Up to nine strategies are told apart; of more, colours come again.
    """
    chosen = {key: STRATEGY_COLOURS[key] for key in keys if key in STRATEGY_COLOURS}
    for key in keys:
        if key not in chosen:
            wanted = (strategy_colour(key), *_OTHERS, *STRATEGY_COLOURS.values())
            chosen[key] = next((each for each in wanted if each not in chosen.values()), wanted[0])
    return {key: chosen[key] for key in keys}


def phrase_colour(index: int) -> Colour:
    """Return the colour of a request's phrase, from 0; colours come again after six, numbers tell those apart."""
    return PHRASE_COLOURS[index % len(PHRASE_COLOURS)]


def ramp(values: NDArray[np.floating], stops: Sequence[Colour]) -> NDArray[np.float32]:
    """Colour values along evenly spaced stops.

    Args:
        values: any shape (...); below 0 counts as 0, above 1 as 1.
        stops: two colours or more.

    Returns:
        (..., 3) float32, 0..255.
    """
    table = np.asarray(stops, dtype=np.float32)
    place = np.clip(np.asarray(values, dtype=np.float32), 0, 1) * (len(table) - 1)
    lower = np.minimum(place.astype(np.intp), len(table) - 2)
    share = (place - lower)[..., None]
    return np.asarray(table[lower] * (1 - share) + table[lower + 1] * share, dtype=np.float32)


def probability_colour(p_yes: float) -> Colour:
    """Return the colour of a probability in [0, 1]."""
    red, green, blue = (round(float(c)) for c in ramp(np.array(p_yes), PROBABILITY_STOPS))
    return red, green, blue
