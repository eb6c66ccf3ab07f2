"""Pictures of agreement show each region in its own way, and their legends count what is shown."""

import numpy as np
import pytest

from evfsam.errors import GeometryError
from workbench.analysis.agreement import disagreement_map, regions_against_reference, regions_of_pair, vote_map
from workbench.analysis.agreement_picture import disagreement_layer, regions_picture, votes_picture
from workbench.pictures.colours import BLUE, ORANGE, WHITE

IMAGE = np.full((80, 120, 3), 100, dtype=np.uint8)
LEFT, MIDDLE = np.zeros((80, 120), dtype=bool), np.zeros((80, 120), dtype=bool)
LEFT[:, :60] = True
MIDDLE[:, 30:90] = True
DARK = 60


def test_outside_all_regions_the_image_is_dark_grey_and_the_original_is_untouched() -> None:
    before = IMAGE.copy()
    drawn = regions_picture(IMAGE, regions_of_pair(LEFT, MIDDLE), ("a", "b")).picture
    assert drawn.shape == IMAGE.shape
    np.testing.assert_array_equal(drawn[:, 90:], DARK)
    np.testing.assert_array_equal(IMAGE, before)


def test_regions_lean_to_their_colours_and_only_the_single_ones_are_striped() -> None:
    drawn = regions_picture(IMAGE, regions_of_pair(LEFT, MIDDLE), ("a", "b")).picture.astype(int)
    only_a, both, only_b = drawn[:, :30], drawn[:, 30:60], drawn[:, 60:90]
    assert only_a[..., 0].mean() > only_a[..., 2].mean() + 50
    assert only_b[..., 2].mean() > only_b[..., 0].mean() + 50
    assert both.min() == both.max() > 150
    assert len(np.unique(only_a.reshape(-1, 3), axis=0)) == len(np.unique(only_b.reshape(-1, 3), axis=0)) == 2


def test_stripes_of_the_two_run_against_each_other() -> None:
    everywhere, nowhere = np.ones_like(LEFT), np.zeros_like(LEFT)
    rising = regions_picture(IMAGE, regions_of_pair(everywhere, nowhere), ("a", "b")).picture[..., 0]
    falling = regions_picture(IMAGE, regions_of_pair(nowhere, everywhere), ("a", "b")).picture[..., 0]
    np.testing.assert_array_equal(rising[1:, :-1], rising[:-1, 1:])
    np.testing.assert_array_equal(falling[1:, 1:], falling[:-1, :-1])
    assert not np.array_equal(rising[1:, 1:], rising[:-1, :-1])


def test_the_legend_of_regions_names_and_counts_them() -> None:
    legend = regions_picture(IMAGE, regions_of_pair(LEFT, MIDDLE), ("evf-sam", "reference")).legend
    assert [(entry.label, entry.colour, entry.pixel_count) for entry in legend] == [
        ("only evf-sam", ORANGE, 2400),
        ("only reference", BLUE, 2400),
        ("both", WHITE, 2400),
    ]
    assert [entry.share for entry in legend] == [0.25] * 3


def test_ignored_pixels_have_an_entry_where_there_are_any() -> None:
    reference = np.where(MIDDLE, 255, 0).astype(np.uint8)
    drawn = regions_picture(IMAGE, regions_against_reference(LEFT, reference), ("a", "reference"))
    assert drawn.legend[-1].label == "left out of every count"
    assert drawn.legend[-1].pixel_count == MIDDLE.sum()


def test_more_votes_are_brighter_and_counted() -> None:
    drawn = votes_picture(IMAGE, vote_map({"a": LEFT, "b": MIDDLE}), 2)
    luminance = drawn.picture @ np.array([0.2126, 0.7152, 0.0722])
    nobody, one, two = luminance[40, 110], luminance[40, 10], luminance[40, 45]
    assert nobody < one < two
    assert [(entry.label, entry.pixel_count) for entry in drawn.legend] == [
        ("0 of 2", 2400),
        ("1 of 2", 4800),
        ("2 of 2", 2400),
    ]


def test_division_is_drawn_where_the_answers_differ_and_the_rest_is_darkened() -> None:
    drawn = disagreement_layer(disagreement_map({"a": LEFT, "b": MIDDLE}))
    agreed = drawn[:, 30:60]
    assert (agreed[..., :3] == 0).all()
    assert set(np.unique(agreed[..., 3])) == {102}
    assert (drawn[:, :30, :3] != 0).any(axis=2).all()
    assert (drawn[:, :30, 3] > 102).all()


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"image's size \(80, 120\), got \(3, 3\)"):
        votes_picture(IMAGE, np.zeros((3, 3), dtype=np.uint8), 2)
