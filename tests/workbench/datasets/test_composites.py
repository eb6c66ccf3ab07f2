"""Do the words of a scene's expressions mean the objects in their masks?

`phrase_reader` knows nothing of how expressions are made: it takes a phrase and the boxes of the objects, and says
which of them the phrase names.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evfsam.errors import ConfigurationError
from tests.workbench.datasets.phrase_reader import Thing, meant_by
from workbench.datasets.composites import (
    CompositeKind,
    DrawnComposite,
    composite,
    painted,
    picture_library,
)
from workbench.datasets.expressions import KINDS, Expression
from workbench.datasets.grammar import read_grammar
from workbench.datasets.known_datasets import open_dataset
from workbench.datasets.scenes import Scene, SceneObject, split_seeds
from workbench.datasets.vocabulary import COLOURS

SIZE = 96
SEEDS = [split_seeds(split)[step * 97] for split in ("train", "val", "test") for step in range(100)]


def things_of(drawn: Scene) -> list[Thing]:
    height_px, width_px = drawn.image.shape[:2]
    things = []
    for index, thing in enumerate(drawn.objects):
        x1, y1, x2, y2 = (edge / side for edge, side in zip(thing.box, (width_px, height_px) * 2, strict=True))
        width, height = x2 - x1, y2 - y1
        things.append(Thing(index, thing.category, thing.colour, (x1 + x2) / 2, (y1 + y2) / 2, height, width * height))
    return things


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [composite(seed, SIZE, per_kind=2) for seed in SEEDS]


def test_masks_hold_exactly_the_objects_that_the_words_name(scenes: list[Scene]) -> None:
    for drawn in scenes:
        things = things_of(drawn)
        for expression in drawn.expressions:
            where = f"seed {drawn.seed}, {expression.text!r}"
            expected = np.zeros(drawn.image.shape[:2], dtype=bool)
            for index in meant_by(expression.text, things):
                expected |= drawn.objects[index].mask
            np.testing.assert_array_equal(drawn.mask(expression), expected, err_msg=where)


def test_only_absent_expressions_have_empty_masks(scenes: list[Scene]) -> None:
    for drawn in scenes:
        for expression in drawn.expressions:
            is_empty = not drawn.mask(expression).any()
            assert is_empty == (expression.kind == "absent"), f"seed {drawn.seed}, {expression.text!r}"


def test_every_kind_of_expression_occurs_often(scenes: list[Scene]) -> None:
    occurring = [expression.kind for drawn in scenes for expression in drawn.expressions]
    assert {kind for kind in KINDS if occurring.count(kind) < 50} == set()


def test_scenes_for_training_have_no_wording_that_is_held_out_and_others_have_some() -> None:
    for split in ("train", "val", "test"):
        drawn = [composite(seed, 32, per_kind=2) for seed in split_seeds(split)[:40]]
        unseen = [expression.is_unseen_wording for each in drawn for expression in each.expressions]
        assert sum(unseen) == 0 if split == "train" else 0.1 < sum(unseen) / len(unseen) < 0.4


def test_plain_scenes_keep_to_bare_wordings_that_training_sees() -> None:
    seen = {w.text for section in read_grammar().sections.values() for w in section.wordings if not w.is_held_out}
    for seed in split_seeds("test")[:40]:
        assert {expression.wording for expression in composite(seed, 32, is_plain=True).expressions} <= seen


def test_a_scene_says_at_most_the_number_asked_for_of_each_kind() -> None:
    for seed in SEEDS[:40]:
        kinds = [expression.kind for expression in composite(seed, SIZE, per_kind=2).expressions]
        assert max(kinds.count(kind) for kind in kinds) <= 2


def test_centre_and_height_are_those_of_the_box(scenes: list[Scene]) -> None:
    for drawn in scenes:
        for thing, shown in zip(things_of(drawn), drawn.objects, strict=True):
            assert (thing.x, thing.y) == pytest.approx(shown.centre)
            assert thing.height == pytest.approx(shown.height)


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


def shown_extent(thing: SceneObject) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(thing.mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_objects_never_share_a_pixel(scenes: list[Scene]) -> None:
    for drawn in scenes:
        assert np.sum([thing.mask for thing in drawn.objects], axis=0).max() <= 1


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


def test_photographic_composites_are_made_of_held_out_photographs(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 30), (200, 60, 20, 255)).save(tmp_path / "cat.webp", lossless=True)
    Image.new("RGB", (64, 64), (10, 120, 40)).save(tmp_path / "lawn.jpg")
    picture = {"file": "cat.webp", "name": "cat", "style": "photo", "colour": None}
    cutouts = [picture | {"split": "test"}, picture | {"split": "train", "name": "dog"}]
    backgrounds = [{"file": "lawn.jpg", "split": "test", "contains": ["tree"]}]
    (tmp_path / "index.json").write_text(json.dumps({"cutouts": cutouts, "backgrounds": backgrounds}))
    samples = list(itertools.islice(open_dataset("photo-scenes:test", tmp_path), 8))
    phrases = [
        question.phrase.lower() for sample in samples for question in sample.questions if question.kind != "absent"
    ]
    assert any("cat" in phrase for phrase in phrases)
    assert not any("dog" in phrase for phrase in phrases)


def hue_distance(rgb: np.ndarray, hue: float) -> float:
    """Signed distance of a colour's hue from another around the circle of length 1."""
    red, green, blue = rgb
    measured = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue) / (2 * np.pi)
    return float((measured - hue + 0.5) % 1 - 0.5)


@pytest.mark.parametrize("seed", SEEDS[::75])
def test_a_seed_always_draws_the_same_composite(seed: int) -> None:
    first, second = composite(seed, SIZE), composite(seed, SIZE)
    np.testing.assert_array_equal(first.image, second.image)
    assert first.expressions == second.expressions
    for one, other in zip(first.objects, second.objects, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        assert (one.category, one.colour, one.box) == (other.category, other.colour, other.box)


def test_different_seeds_draw_different_scenes(scenes: list[Scene]) -> None:
    assert len({drawn.image.tobytes() for drawn in scenes}) == len(scenes)


@pytest.mark.parametrize("seed", SEEDS[::75])
def test_expressions_do_not_depend_on_the_size(seed: int) -> None:
    assert composite(seed, 64).expressions == composite(seed, 200).expressions


@pytest.mark.parametrize(("seed", "size"), [(-1, 256), (0, 31)])
def test_seeds_and_sizes_out_of_range_are_refused(seed: int, size: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"got seed {seed} and size {size}"):
        composite(seed, size)
