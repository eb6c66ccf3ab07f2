"""What composites have beside what all scenes have: pictures by split, backgrounds that show things, varied shapes."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evfsam.errors import ConfigurationError
from tests.workbench.datasets.test_scenes import SEEDS, SIZE, hue_distance, shown_extent
from workbench.datasets.composites import (
    CompositeKind,
    DrawnComposite,
    composite,
    painted,
    picture_library,
)
from workbench.datasets.contract import IndexedDataset
from workbench.datasets.expressions import Expression
from workbench.datasets.known_datasets import open_dataset
from workbench.datasets.scenes import Scene
from workbench.datasets.vocabulary import COLOURS


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [composite(seed, SIZE, per_kind=2) for seed in SEEDS]


def test_visible_pixels_lie_in_the_box_and_unhidden_objects_fill_it(scenes: list[Scene]) -> None:
    unfilled = []
    for drawn in scenes:
        for thing in drawn.objects:
            x1, y1, x2, y2 = shown_extent(thing)
            left, top, right, bottom = thing.box
            inside = (x1 >= left - 2, y1 >= top - 2, x2 <= right + 2, y2 <= bottom + 2)
            assert all(inside), f"seed {drawn.seed}, {thing.category}"
        ends = ((x1, left), (y1, top), (x2, right), (y2, bottom))  # of the object in front
        unfilled += [drawn.seed] if any(abs(shown - end) > 4 for shown, end in ends) else []
    assert len(unfilled) <= 0.05 * len(scenes), unfilled  # thin ends are lost at this size


@pytest.mark.parametrize(
    "word", [word for word, colour in COLOURS.items() if colour.hue is not None and word != "brown"]
)
def test_paint_shows_the_hue_of_its_colour_word(word: str) -> None:
    grey = np.full((8, 8, 4), 160, dtype=np.uint8)
    grey[..., 3] = 255
    pixels = np.asarray(painted(Image.fromarray(grey), COLOURS[word]), dtype=float)
    hue = COLOURS[word].hue
    assert hue is not None
    assert abs(hue_distance(pixels[..., :3].mean((0, 1)), hue)) < 0.02
    assert (pixels[..., 3] == 255).all()


@pytest.mark.parametrize("kind", ["scenes"])
def test_pictures_of_the_test_split_are_in_no_other(kind: CompositeKind) -> None:
    drawn = {split: picture_library(kind, split) for split in ("train", "val", "test")}
    paths = {split: {c.path for of_name in each.cutouts.values() for c in of_name} for split, each in drawn.items()}
    assert paths["test"].isdisjoint(paths["train"] | paths["val"])
    backgrounds = {split: {each.path for each in library.backgrounds} for split, library in drawn.items()}
    assert backgrounds["test"].isdisjoint(backgrounds["train"])
    assert len(drawn["test"].names) >= 250


def test_what_a_background_shows_is_never_called_absent() -> None:
    tree = DrawnComposite(np.zeros((8, 8, 3), dtype=np.uint8), (), frozenset({"tree"}))
    assert not tree.allows(Expression("where is the Tree?", "absent", ()))
    assert not tree.allows(Expression("every plant", "absent", ()))
    assert tree.allows(Expression("the bell", "absent", ()))
    assert tree.allows(Expression("the tree", "category", (0,)))


def test_scenes_vary_in_shape_count_and_size() -> None:
    drawn = [composite(seed, SIZE) for seed in range(300)]
    aspects = [each.image.shape[1] / each.image.shape[0] for each in drawn]
    assert min(aspects) < 0.55
    assert max(aspects) > 1.9
    assert {len(each.objects) for each in drawn} >= set(range(1, 8))
    areas = [thing.area for each in drawn for thing in each.objects]
    assert min(areas) < 0.01
    assert max(areas) > 0.6
    cut = [thing for each in drawn for thing in each.objects if 0 in thing.box[:2]]
    assert len(cut) > 60


def test_missing_photographs_are_said_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="python -m training data"):
        open_dataset("photo-scenes:test", tmp_path)


def photographs(folder: Path) -> Path:
    """Write a library of one held-out thing and one that training may show, before a lawn."""
    Image.new("RGBA", (40, 30), (200, 60, 20, 255)).save(folder / "cat.webp", lossless=True)
    Image.new("RGB", (64, 64), (10, 120, 40)).save(folder / "lawn.jpg")
    picture = {"file": "cat.webp", "name": "cat", "style": "photo", "colour": None}
    cutouts = [picture | {"split": "test"}, picture | {"split": "train", "name": "dog"}]
    backgrounds = [{"file": "lawn.jpg", "split": "test", "contains": ["tree"]}]
    (folder / "index.json").write_text(json.dumps({"cutouts": cutouts, "backgrounds": backgrounds}))
    return folder


def test_photographic_composites_are_made_of_held_out_photographs(tmp_path: Path) -> None:
    samples = list(itertools.islice(open_dataset("photo-scenes:test", photographs(tmp_path)), 8))
    phrases = [
        question.phrase.lower() for sample in samples for question in sample.questions if question.kind != "absent"
    ]
    assert any("cat" in phrase for phrase in phrases)
    assert not any("dog" in phrase for phrase in phrases)


def test_a_photographic_composite_is_the_same_by_its_number(tmp_path: Path) -> None:
    dataset = open_dataset("photo-scenes:test", photographs(tmp_path))
    assert isinstance(dataset, IndexedDataset)
    first = next(iter(dataset))
    assert np.array_equal(dataset[0].image, first.image)
    assert [each.phrase for each in dataset[0].questions] == [each.phrase for each in first.questions]
