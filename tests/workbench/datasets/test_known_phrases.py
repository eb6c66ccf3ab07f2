"""A typed phrase means what the grammar means by it, whatever stands around it; others are not known."""

import pytest

from tests.workbench.datasets.test_expressions import Placed, layout, rng_of
from workbench.datasets.expressions import describe
from workbench.datasets.known_phrases import known_expression

TWO_DOGS = [
    Placed("dog", "red", (0.2, 0.5), 0.5, 0.2),
    Placed("dog", "blue", (0.8, 0.5), 0.2, 0.05),
    Placed("cup", None, (0.5, 0.2), 0.2, 0.04),
]


def test_everything_that_is_said_of_a_scene_is_known() -> None:
    for seed in range(10):
        placed = layout(seed)
        for each in describe(placed, rng_of(seed), per_kind=2, is_plain=True):
            known = known_expression(placed, each.text)
            assert known is not None, each
            assert (known.text, known.object_indices) == (each.text, each.object_indices)
            assert (known.kind == "absent") == (each.kind == "absent"), each


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("the cup", (2,)),
        ("Where is the mug?", (2,)),
        ("SHOW ME  CUP.", (2,)),
        ("find a red dog please", (0,)),
        ("the puppy on the right", (1,)),
        ("please segment all the dogs", (0, 1)),
        ("is there a big dog?", None),
        ("can you see the big dog?", (0,)),
        ("the dog that is not blue", (0,)),
        ("the zebra", ()),
        ("i want every zebra", ()),
        ("the green cup", None),
        ("the white dog", ()),
        ("the dog", None),
        ("my grandmother's hat", None),
        ("", None),
    ],
)
def test_what_people_type_is_known_where_it_is_clear(text: str, meant: tuple[int, ...] | None) -> None:
    known = known_expression(TWO_DOGS, text)
    assert (None if known is None else known.object_indices) == meant
