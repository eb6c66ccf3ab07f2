"""The examples the page offers: present, licensed, and true to the scenes they claim to show."""

import json
from pathlib import Path
from typing import TypedDict

import numpy as np
import pytest
from PIL import Image

from evfsam.preprocess import load_image
from workbench.datasets.expressions import KINDS
from workbench.datasets.known_phrases import known_expression
from workbench.datasets.scenes import scene, split_seeds

FOLDER = Path(__file__).parents[1] / "examples"
LARGEST_FILE = 300_000
GREY_LEVELS_OF_ANOTHER_PILLOW = 2


class Entry(TypedDict):
    file: str
    title: str
    phrases: list[str]
    scene_seed: int | None
    licence: str
    source: str


ENTRIES: list[Entry] = json.loads((FOLDER / "examples.json").read_text(encoding="utf-8"))
SCENES = [entry for entry in ENTRIES if entry["scene_seed"] is not None]


def test_there_are_eight_scenes_and_two_photographs_at_least() -> None:
    assert len(SCENES) >= 8
    assert len(ENTRIES) - len(SCENES) >= 2


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
def test_an_example_is_a_small_readable_picture_with_phrases_source_and_licence(entry: Entry) -> None:
    image = load_image(FOLDER / entry["file"])
    assert max(image.shape[:2]) <= 640
    assert (FOLDER / entry["file"]).stat().st_size <= LARGEST_FILE
    assert len(entry["phrases"]) >= 3
    assert all([entry["title"], entry["licence"], entry["source"]])
    row = next(line for line in (FOLDER / "README.md").read_text("utf-8").splitlines() if f"`{entry['file']}`" in line)
    assert entry["licence"] in row
    assert entry["source"] in row


@pytest.mark.parametrize("entry", SCENES, ids=lambda entry: entry["file"])
def test_an_example_scene_is_the_scene_of_its_seed_and_its_phrases_have_known_masks(entry: Entry) -> None:
    seed = entry["scene_seed"]
    assert seed in split_seeds("val")
    with Image.open(FOLDER / entry["file"]) as file:
        shown = np.asarray(file.convert("RGB")).astype(int)
    drawn = scene(seed, shown.shape[0])
    assert abs(shown - drawn.image).max() <= GREY_LEVELS_OF_ANOTHER_PILLOW
    assert not [phrase for phrase in entry["phrases"] if known_expression(drawn.objects, phrase) is None]


def test_the_scenes_show_every_kind_of_expression() -> None:
    shown = set()
    for entry in SCENES:
        drawn = scene(entry["scene_seed"], 64)
        known = [known_expression(drawn.objects, phrase) for phrase in entry["phrases"]]
        shown |= {expression.kind for expression in known if expression is not None}
    assert shown == set(KINDS)
