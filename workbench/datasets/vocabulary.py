"""The words of the pictures, read from `vocabulary.json`: names with their plurals and synonyms, groups, colours.

A reader extends them there. No word has two meanings: names, plurals, synonyms, groups and colours are all different,
but for a plural that is its own singular ("sheep").
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

_FILE: Final = Path(__file__).with_name("vocabulary.json")


@dataclass(frozen=True)
class Noun:
    """What pictures can show, and the words for it.

    Attributes:
        name: singular, lower case; may be of several words ("hot dog").
        plural: equal to `name` where the language has one form only.
        synonyms: other singular words for exactly the same pictures.
        groups: keys of `GROUPS` that it belongs to.
    """

    name: str
    plural: str
    synonyms: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def slug(self) -> str:
        """The name as files spell it, as `sprites/hot-dog.webp`; some nouns have no sprite that may be passed on."""
        return self.name.replace(" ", "-")


@dataclass(frozen=True)
class Paint:
    """A colour word and how to paint with it, in HSV, all numbers 0..1.

    Attributes:
        name: the colour word.
        hue: of every painted pixel, or None to keep the pixel's own, as under black, white and grey.
        saturation: (base, gain): painted = base + gain * own.
        value: (base, gain), likewise.
        synonyms: other spellings and words for it.
    """

    name: str
    hue: float | None
    saturation: tuple[float, float]
    value: tuple[float, float]
    synonyms: tuple[str, ...]


def _colour(name: str, rule: Mapping[str, object]) -> Paint:
    hue, saturation, value, synonyms = (rule[key] for key in ("hue", "saturation", "value", "synonyms"))
    return Paint(name, hue, tuple(saturation), tuple(value), tuple(synonyms))  # type: ignore[arg-type]


_WORDS: Final = json.loads(_FILE.read_text(encoding="utf-8"))

NOUNS: Final[Mapping[str, Noun]] = MappingProxyType(
    {
        entry["name"]: Noun(entry["name"], entry["plural"], tuple(entry["synonyms"]), tuple(entry["groups"]))
        for entry in _WORDS["nouns"]
    }
)
"""Nouns by name."""

GROUPS: Final[Mapping[str, str]] = MappingProxyType(_WORDS["groups"])
"""Group words, singular to plural; disjoint from the names."""

COLOURS: Final[Mapping[str, Paint]] = MappingProxyType(
    {name: _colour(name, rule) for name, rule in _WORDS["colours"].items()}
)
"""Colours by word."""

CATEGORIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "airplane": "airplanes", "apple": "apples", "backpack": "backpacks", "balloon": "balloons",
        "banana": "bananas", "bee": "bees", "bell": "bells", "bicycle": "bicycles", "book": "books",
        "broccoli": "broccolis", "burger": "burgers", "bus": "buses", "butterfly": "butterflies", "cactus": "cacti",
        "camera": "cameras", "car": "cars", "carrot": "carrots", "cat": "cats", "clock": "clocks", "cow": "cows",
        "crab": "crabs", "crown": "crowns", "cup": "cups", "dog": "dogs", "donut": "donuts", "dress": "dresses",
        "elephant": "elephants", "fish": "fish", "flamingo": "flamingos", "fox": "foxes", "frog": "frogs",
        "giraffe": "giraffes", "guitar": "guitars", "hammer": "hammers", "hat": "hats", "key": "keys",
        "lion": "lions", "mushroom": "mushrooms", "octopus": "octopuses", "owl": "owls", "panda": "pandas",
        "penguin": "penguins", "pig": "pigs", "pineapple": "pineapples", "pizza": "pizzas", "rabbit": "rabbits",
        "rocket": "rockets", "sailboat": "sailboats", "shirt": "shirts", "shoe": "shoes", "snake": "snakes",
        "strawberry": "strawberries", "sunflower": "sunflowers", "tractor": "tractors", "tree": "trees",
        "turtle": "turtles", "umbrella": "umbrellas", "watermelon": "watermelons", "whale": "whales",
        "zebra": "zebras",
    }
)  # fmt: skip
"""Singular to plural of the nouns that `scenes.py` draws, one sprite each."""

HUES: Final[Mapping[str, float]] = MappingProxyType(
    {"red": 0.99, "orange": 0.075, "yellow": 0.15, "green": 0.35, "blue": 0.60, "purple": 0.78}
)
"""Hue of each colour that `scenes.py` paints with, 0..1 around the HSV circle."""
