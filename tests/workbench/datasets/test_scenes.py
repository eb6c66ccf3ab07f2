"""Do the words of a scene's expressions mean the objects in their masks?

`phrase_reader` knows nothing of how expressions are made: it takes a phrase and the boxes of the objects, and says
which of them the phrase names.
"""

from collections.abc import Callable

import numpy as np
import pytest

from evfsam.errors import ConfigurationError
from tests.workbench.datasets.phrase_reader import Thing, meant_by
from workbench.datasets.composites import composite
from workbench.datasets.expressions import KINDS
from workbench.datasets.grammar import read_grammar
from workbench.datasets.scenes import Scene, SceneObject, scene, split_seeds
from workbench.datasets.vocabulary import HUES

SIZE = 96
SEEDS = [split_seeds(split)[step * 97] for split in ("train", "val", "test") for step in range(100)]
DRAWN: dict[str, Callable[..., Scene]] = {"scene": scene, "composite": composite}


def things_of(drawn: Scene) -> list[Thing]:
    height_px, width_px = drawn.image.shape[:2]
    things = []
    for index, thing in enumerate(drawn.objects):
        x1, y1, x2, y2 = (edge / side for edge, side in zip(thing.box, (width_px, height_px) * 2, strict=True))
        width, height = x2 - x1, y2 - y1
        things.append(Thing(index, thing.category, thing.colour, (x1 + x2) / 2, (y1 + y2) / 2, height, width * height))
    return things


@pytest.fixture(scope="module", params=DRAWN)
def draw(request: pytest.FixtureRequest) -> Callable[..., Scene]:
    return DRAWN[request.param]


@pytest.fixture(scope="module")
def scenes(draw: Callable[..., Scene]) -> list[Scene]:
    return [draw(seed, SIZE, per_kind=2) for seed in SEEDS]


@pytest.fixture(scope="module")
def page_scenes() -> list[Scene]:
    return [scene(seed, SIZE, per_kind=2) for seed in SEEDS]


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


def test_scenes_for_training_have_no_wording_that_is_held_out_and_others_have_some(
    draw: Callable[..., Scene],
) -> None:
    for split in ("train", "val", "test"):
        drawn = [draw(seed, 32, per_kind=2) for seed in split_seeds(split)[:40]]
        unseen = [expression.is_unseen_wording for each in drawn for expression in each.expressions]
        assert sum(unseen) == 0 if split == "train" else 0.1 < sum(unseen) / len(unseen) < 0.4


def test_plain_scenes_keep_to_bare_wordings_that_training_sees(
    draw: Callable[..., Scene],
) -> None:
    seen = {w.text for section in read_grammar().sections.values() for w in section.wordings if not w.is_held_out}
    for seed in split_seeds("test")[:40]:
        assert {expression.wording for expression in draw(seed, 32, is_plain=True).expressions} <= seen


def test_a_scene_says_at_most_the_number_asked_for_of_each_kind(
    draw: Callable[..., Scene],
) -> None:
    for seed in SEEDS[:40]:
        kinds = [expression.kind for expression in draw(seed, SIZE, per_kind=2).expressions]
        assert max(kinds.count(kind) for kind in kinds) <= 2


def test_centre_and_height_are_those_of_the_box(scenes: list[Scene]) -> None:
    for drawn in scenes:
        for thing, shown in zip(things_of(drawn), drawn.objects, strict=True):
            assert (thing.x, thing.y) == pytest.approx(shown.centre)
            assert thing.height == pytest.approx(shown.height)


def test_visible_pixels_lie_in_the_box_and_unhidden_objects_fill_it(page_scenes: list[Scene]) -> None:
    for drawn in page_scenes:
        for index, thing in enumerate(drawn.objects):
            x1, y1, x2, y2 = shown_extent(thing)
            left, top, right, bottom = thing.box
            inside = (x1 >= left - 1, y1 >= top - 1, x2 <= right + 1, y2 <= bottom + 1)
            assert all(inside), f"seed {drawn.seed}, {thing.category}"
            if index == len(drawn.objects) - 1:
                assert (x1, y1, x2, y2) == pytest.approx(thing.box, abs=2.5), f"seed {drawn.seed}"


def shown_extent(thing: SceneObject) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(thing.mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_objects_never_share_a_pixel(scenes: list[Scene]) -> None:
    for drawn in scenes:
        assert np.sum([thing.mask for thing in drawn.objects], axis=0).max() <= 1


def test_painted_objects_show_the_hue_of_their_colour_word(page_scenes: list[Scene]) -> None:
    for drawn in page_scenes:
        for thing in drawn.objects:
            if thing.colour is None:
                continue
            pixels = drawn.image[thing.mask].astype(float)
            chroma = np.ptp(pixels, axis=1)
            vivid = pixels[chroma >= np.median(chroma)].mean(axis=0)
            assert abs(hue_distance(vivid, HUES[thing.colour])) < 0.06, f"seed {drawn.seed}, {thing.colour}"


def hue_distance(rgb: np.ndarray, hue: float) -> float:
    """Signed distance of a colour's hue from another around the circle of length 1."""
    red, green, blue = rgb
    measured = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue) / (2 * np.pi)
    return float((measured - hue + 0.5) % 1 - 0.5)


@pytest.mark.parametrize("seed", SEEDS[::75])
def test_a_seed_always_draws_the_same_scene(draw: Callable[..., Scene], seed: int) -> None:
    first, second = draw(seed, SIZE), draw(seed, SIZE)
    np.testing.assert_array_equal(first.image, second.image)
    assert first.expressions == second.expressions
    for one, other in zip(first.objects, second.objects, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        assert (one.category, one.colour, one.box) == (other.category, other.colour, other.box)


def test_different_seeds_draw_different_scenes(scenes: list[Scene]) -> None:
    assert len({drawn.image.tobytes() for drawn in scenes}) == len(scenes)


@pytest.mark.parametrize("seed", SEEDS[::75])
def test_expressions_do_not_depend_on_the_size(draw: Callable[..., Scene], seed: int) -> None:
    assert draw(seed, 64).expressions == draw(seed, 200).expressions


def test_the_seeds_of_the_splits_never_meet() -> None:
    train, val, test = (split_seeds(split) for split in ("train", "val", "test"))
    for one, other in ((train, val), (train, test), (val, test)):
        assert one.stop <= other.start or other.stop <= one.start
    assert min(len(train), len(val), len(test)) >= 10_000


def test_an_unknown_split_is_refused_with_the_names_of_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="train, val, test, got 'dev'"):
        split_seeds("dev")  # type: ignore[arg-type]


@pytest.mark.parametrize(("seed", "size"), [(-1, 256), (0, 31)])
def test_seeds_and_sizes_out_of_range_are_refused(draw: Callable[..., Scene], seed: int, size: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"got seed {seed} and size {size}"):
        draw(seed, size)
