"""The words of the scenes: categories with their plurals, and colours with their hues.

The sprites of the categories are in `sprites/`, one file a category, from Microsoft's Fluent Emoji (MIT).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

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
"""Singular to plural."""

COLOURS: Final[Mapping[str, float]] = MappingProxyType(
    {"red": 0.99, "orange": 0.075, "yellow": 0.15, "green": 0.35, "blue": 0.60, "purple": 0.78}
)
"""Hue of each colour word, 0..1 around the HSV circle."""
