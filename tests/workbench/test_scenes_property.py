"""Do the words of a scene's expressions mean the objects in their masks?

The reader below is written from the wordings defined in `workbench.datasets.expressions`, and knows nothing of how
expressions are made: it takes a phrase and the boxes of the objects, and says which of them the phrase names.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from evfsam.errors import ConfigurationError
from workbench.datasets.expressions import KINDS, MARGIN, SIZE_RATIO
from workbench.datasets.scenes import Scene, SceneObject, scene, split_seeds
from workbench.datasets.vocabulary import CATEGORIES, HUES

SIZE = 96
SEEDS = [split_seeds(split)[step * 97] for split in ("train", "val", "test") for step in range(150)]
ROUNDING = 1e-9


@dataclass(frozen=True)
class Thing:
    """What a phrase can speak of: lengths are shares of the image's side, taken from the object's box."""

    index: int
    category: str
    colour: str | None
    x: float
    y: float
    height: float


def things_of(drawn: Scene) -> list[Thing]:
    side = drawn.image.shape[0]
    things = []
    for index, thing in enumerate(drawn.objects):
        x1, y1, x2, y2 = (edge / side for edge in thing.box)
        things.append(Thing(index, thing.category, thing.colour, (x1 + x2) / 2, (y1 + y2) / 2, y2 - y1))
    return things


Meaning = Callable[[Sequence[Thing], re.Match[str]], list[Thing]]


def named(things: Sequence[Thing], noun: str) -> list[Thing]:
    return [thing for thing in things if thing.category == noun]


def the_only(things: Sequence[Thing], match: re.Match[str]) -> list[Thing]:
    found = named(things, match["noun"])
    assert len(found) <= 1, f"{match.string!r} could mean {len(found)} objects"
    return found


def painted(things: Sequence[Thing], match: re.Match[str]) -> list[Thing]:
    group = named(things, match["noun"])
    assert all(thing.colour is not None for thing in group), f"{match.string!r}: some have natural colours"
    found = [thing for thing in group if thing.colour == match["colour"]]
    assert len(found) <= 1, f"{match.string!r} could mean {len(found)} objects"
    return found


def extreme(things: Sequence[Thing], match: re.Match[str]) -> list[Thing]:
    group = named(things, match["noun"])
    if not group:
        return []
    assert len(group) >= 2, f"{match.string!r} compares one object with itself"
    ranked = sorted(group, key=lambda thing: thing.x if match["side"] in ("left", "right") else thing.y)
    values = [thing.x if match["side"] in ("left", "right") else thing.y for thing in ranked]
    if match["side"] in ("right", "bottom"):
        ranked, values = ranked[::-1], [-value for value in values[::-1]]
    assert values[1] - values[0] >= MARGIN - ROUNDING, f"{match.string!r} compares too close"
    return ranked[:1]


def middle(things: Sequence[Thing], match: re.Match[str]) -> list[Thing]:
    ranked = clearly_ranked(things, match, 3)
    return ranked[1:2]


def clearly_ranked(things: Sequence[Thing], match: re.Match[str], *counts: int) -> list[Thing]:
    ranked = sorted(named(things, match["noun"]), key=lambda thing: thing.x)
    assert len(ranked) in counts, f"{match.string!r} is said of {len(ranked)} objects"
    gaps = [right.x - left.x for left, right in itertools.pairwise(ranked)]
    assert min(gaps) >= MARGIN - ROUNDING, f"{match.string!r} compares too close"
    return ranked


def nth(things: Sequence[Thing], match: re.Match[str]) -> list[Thing]:
    ranked = clearly_ranked(things, match, 3, 4)
    if match["side"] == "right":
        ranked = ranked[::-1]
    return [ranked[("first", "second", "third", "fourth").index(match["rank"])]]


def by_height(things: Sequence[Thing], match: re.Match[str]) -> list[Thing]:
    ranked = sorted(named(things, match["noun"]), key=lambda thing: thing.height)
    assert len(ranked) >= 2, f"{match.string!r} compares one object with itself"
    low, high = (ranked[-2], ranked[-1]) if match["size"] in ("big", "largest") else (ranked[0], ranked[1])
    assert high.height >= SIZE_RATIO * low.height - ROUNDING, f"{match.string!r} compares too close"
    return [high if match["size"] in ("big", "largest") else low]


def beside(things: Sequence[Thing], match: re.Match[str]) -> list[Thing]:
    anchors = named(things, match["anchor"])
    assert len(anchors) == 1, f"{match.string!r}: {len(anchors)} objects could be the second one"
    offsets = {
        "left of": lambda thing: anchors[0].x - thing.x,
        "right of": lambda thing: thing.x - anchors[0].x,
        "above": lambda thing: anchors[0].y - thing.y,
        "below": lambda thing: thing.y - anchors[0].y,
    }
    group = named(things, match["noun"])
    offset = offsets[match["where"]]
    assert all(abs(offset(thing)) >= MARGIN - ROUNDING for thing in group), f"{match.string!r} compares too close"
    found = [thing for thing in group if offset(thing) > 0]
    assert len(found) == 1, f"{match.string!r} could mean {len(found)} objects"
    return found


def every(things: Sequence[Thing], match: re.Match[str]) -> list[Thing]:
    return named(things, match["noun"])


def every_plural(things: Sequence[Thing], match: re.Match[str]) -> list[Thing]:
    found = [thing for thing in things if CATEGORIES[thing.category] == match["nouns"]]
    counted = {"both": 2, "two": 2, "three": 3, "four": 4}.get(match["number"] or "", len(found))
    assert len(found) == counted >= 2, f"{match.string!r} is said of {len(found)} objects"
    return found


def two_kinds(things: Sequence[Thing], match: re.Match[str]) -> list[Thing]:
    first, second = named(things, match["noun"]), named(things, match["other"])
    assert len(first) == len(second) == 1, f"{match.string!r}: {len(first)} and {len(second)} objects"
    return first + second


NOUN = "|".join(CATEGORIES)
NOUNS = "|".join(CATEGORIES.values())
WORDINGS: list[tuple[str, Meaning]] = [
    (rf"(?:the )?(?P<noun>{NOUN})", the_only),
    (rf"the (?P<colour>{'|'.join(HUES)}) (?P<noun>{NOUN})", painted),
    (rf"the (?P<side>left|right|top|bottom) (?P<noun>{NOUN})", extreme),
    (rf"the (?P<noun>{NOUN}) (?:on|at) the (?P<side>left|right|top|bottom)", extreme),
    (rf"the middle (?P<noun>{NOUN})", middle),
    (rf"the (?P<noun>{NOUN}) in the middle", middle),
    (rf"the (?P<rank>first|second|third|fourth) (?P<noun>{NOUN}) from the (?P<side>left|right)", nth),
    (rf"the (?P<size>big|largest|small|smallest) (?P<noun>{NOUN})", by_height),
    (rf"the (?P<noun>{NOUN}) (?P<where>left of|right of|above|below) the (?P<anchor>{NOUN})", beside),
    (rf"(?:all|the|all the)? ?(?P<number>both|two|three|four)? ?(?P<nouns>{NOUNS})", every_plural),
    (rf"the (?P<noun>{NOUN}) and the (?P<other>{NOUN})", two_kinds),
    (rf"\[semantic\] (?P<noun>{NOUN})", every),
]


def meaning(phrase: str, things: Sequence[Thing]) -> set[int]:
    for wording, say in WORDINGS:
        if match := re.fullmatch(wording, phrase):
            return {thing.index for thing in say(things, match)}
    raise AssertionError(f"no wording is defined for {phrase!r}")


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene(seed, SIZE, per_kind=4) for seed in SEEDS]


def test_masks_hold_exactly_the_objects_that_the_words_name(scenes: list[Scene]) -> None:
    for drawn in scenes:
        things = things_of(drawn)
        for expression in drawn.expressions:
            where = f"seed {drawn.seed}, {expression.text!r}"
            expected = np.zeros((SIZE, SIZE), dtype=bool)
            for index in meaning(expression.text, things):
                expected |= drawn.objects[index].mask
            np.testing.assert_array_equal(drawn.mask(expression), expected, err_msg=where)
            assert set(expression.object_indices) == meaning(expression.text, things), where


def test_only_absent_expressions_have_empty_masks(scenes: list[Scene]) -> None:
    for drawn in scenes:
        for expression in drawn.expressions:
            is_empty = not drawn.mask(expression).any()
            assert is_empty == (expression.kind == "absent"), f"seed {drawn.seed}, {expression.text!r}"


def test_every_kind_of_expression_occurs_often(scenes: list[Scene]) -> None:
    occurring = [expression.kind for drawn in scenes for expression in drawn.expressions]
    assert {kind for kind in KINDS if occurring.count(kind) < 50} == set()


def test_a_scene_says_at_most_the_number_asked_for_of_each_kind() -> None:
    for seed in SEEDS[:40]:
        kinds = [expression.kind for expression in scene(seed, SIZE, per_kind=2).expressions]
        assert max(kinds.count(kind) for kind in kinds) <= 2


def test_centre_and_height_are_those_of_the_box(scenes: list[Scene]) -> None:
    for drawn in scenes:
        for thing, shown in zip(things_of(drawn), drawn.objects, strict=True):
            assert (thing.x, thing.y) == pytest.approx(shown.centre)
            assert thing.height == pytest.approx(shown.height)


def test_visible_pixels_lie_in_the_box_and_unhidden_objects_fill_it(scenes: list[Scene]) -> None:
    for drawn in scenes:
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


def test_painted_objects_show_the_hue_of_their_colour_word(scenes: list[Scene]) -> None:
    for drawn in scenes:
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
def test_a_seed_always_draws_the_same_scene(seed: int) -> None:
    first, second = scene(seed, SIZE), scene(seed, SIZE)
    np.testing.assert_array_equal(first.image, second.image)
    assert first.expressions == second.expressions
    for one, other in zip(first.objects, second.objects, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        assert (one.category, one.colour, one.box) == (other.category, other.colour, other.box)


def test_different_seeds_draw_different_scenes(scenes: list[Scene]) -> None:
    assert len({drawn.image.tobytes() for drawn in scenes}) == len(scenes)


@pytest.mark.parametrize("seed", SEEDS[::75])
def test_expressions_do_not_depend_on_the_size(seed: int) -> None:
    assert scene(seed, 64).expressions == scene(seed, 200).expressions


def test_the_seeds_of_the_splits_never_meet() -> None:
    train, val, test = (split_seeds(split) for split in ("train", "val", "test"))
    for one, other in ((train, val), (train, test), (val, test)):
        assert one.stop <= other.start or other.stop <= one.start
    assert min(len(train), len(val), len(test)) >= 10_000


def test_an_unknown_split_is_refused_with_the_names_of_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="train, val, test, got 'dev'"):
        split_seeds("dev")  # type: ignore[arg-type]


@pytest.mark.parametrize(("seed", "size"), [(-1, 256), (0, 31)])
def test_seeds_and_sizes_out_of_range_are_refused(seed: int, size: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"got seed {seed} and size {size}"):
        scene(seed, size)
