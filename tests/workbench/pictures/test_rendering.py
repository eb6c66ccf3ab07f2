"""Pictures show what they claim to show, and leave the rest alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from evfsam.errors import GeometryError
from evfsam.types import PromptPoint, RgbImage, SamPrompt, Segmentation, Verdict
from workbench.metrics.masks import Mask, contour
from workbench.pictures.colours import (
    BLUE,
    HEAT_STOPS,
    PROBABILITY_STOPS,
    STRATEGY_COLOURS,
    VERMILION,
    probability_colour,
    ramp,
    strategy_colour,
)
from workbench.pictures.rendering import evidence, heat_map, overlay
from workbench.pictures.shown_pictures import LEAST_SIDE

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=30))
GREY = np.full((600, 800, 3), 120, dtype=np.uint8)
BLOB = np.zeros((600, 800), dtype=bool)
BLOB[200:400, 300:500] = True


def answer(
    *points: PromptPoint, mask: Mask = BLOB, box: tuple[float, float, float, float] | None = None
) -> Segmentation:
    logits = torch.where(torch.from_numpy(mask), 1.0, -1.0)
    return Segmentation(Verdict("found"), logits, prompts=(SamPrompt(box, points),))


def luminance(colour: tuple[int, int, int]) -> float:
    return float(np.dot(colour, (0.2126, 0.7152, 0.0722)))


@given(MASKS, st.sampled_from([*STRATEGY_COLOURS, "another"]))
def test_outside_the_mask_an_overlay_is_the_image(mask: Mask, key: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    before = image.copy()
    picture = overlay(image, mask, key, is_labelled=False)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(picture[~mask], image[~mask])
    assert picture.shape == image.shape


def test_inside_the_mask_an_overlay_leans_to_the_strategys_colour() -> None:
    picture = overlay(GREY, BLOB, "evf-sam", is_labelled=False)
    np.testing.assert_allclose(picture[300, 400], 0.55 * 120 + 0.45 * np.array(strategy_colour("evf-sam")), atol=1)


def test_the_mask_has_an_outline_in_colour_and_in_black() -> None:
    row = overlay(GREY, BLOB, "clip-text", is_labelled=False)[300, 300:310]
    assert tuple(row[0]) == strategy_colour("clip-text")
    assert (0, 0, 0) in {tuple(pixel) for pixel in row}


def test_an_overlay_bears_the_strategys_name() -> None:
    plain, named, other = (overlay(GREY, BLOB, key, is_labelled=key != "") for key in ("", "evf-sam", "evf-sum"))
    changed = np.argwhere((named != overlay(GREY, BLOB, "evf-sam", is_labelled=False)).any(axis=2))
    assert changed.max(axis=0)[0] < 60
    assert (named[:60] != plain[:60]).any()
    assert (named[:60] != other[:60]).any()


def test_strategies_have_colours_of_their_own_that_never_change() -> None:
    assert len(set(STRATEGY_COLOURS.values())) == len(STRATEGY_COLOURS)
    assert strategy_colour("something new") == strategy_colour("something new")
    assert strategy_colour("something new") not in STRATEGY_COLOURS.values()


def test_no_two_strategies_of_a_suite_share_a_colour() -> None:
    keys = ("evf-sam", "evf-sam2", "clip-text", "clip-ranking", "point-query", "grounded-sam", "sam3")
    assert len({strategy_colour(key) for key in keys}) == len(keys)


@given(MASKS)
def test_a_contour_is_the_masks_pixels_that_touch_the_outside(mask: Mask) -> None:
    padded = np.pad(mask, 1)
    expected = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        around = (padded[y, x + 1], padded[y + 2, x + 1], padded[y + 1, x], padded[y + 1, x + 2])
        expected[y, x] = not all(around)
    np.testing.assert_array_equal(contour(mask), expected)


def test_kept_dots_are_filled_and_dropped_ones_hollow() -> None:
    dots = {
        "yes": PromptPoint(100.5, 500.5, 1, 0.98, True, 0.98),
        "no": PromptPoint(200.5, 500.5, 0, 0.99, True, 0.01),
        "dropped": PromptPoint(300.5, 500.5, 1, 0.6, False, 0.6),
    }
    picture = evidence(GREY, answer(*dots.values()), "point-query")
    assert picture.shape == GREY.shape
    near = {name: picture[500 - 5, int(dot.x) + 5] for name, dot in dots.items()}
    assert tuple(near["yes"]) == probability_colour(0.98)
    assert tuple(near["no"]) == probability_colour(0.01)
    np.testing.assert_array_equal(near["dropped"], GREY[0, 0])
    around = picture[480:520, 280:320].reshape(-1, 3)
    assert probability_colour(0.6) in {tuple(pixel) for pixel in around}


def test_kept_dots_say_with_a_sign_what_their_colour_says() -> None:
    yes = PromptPoint(100.5, 500.5, 1, 0.98, True, 0.5)
    no = PromptPoint(100.5, 500.5, 0, 0.98, True, 0.5)
    plus, minus = (evidence(GREY, answer(dot), "point-query") for dot in (yes, no))
    assert tuple(plus[500 - 4, 100]) != tuple(minus[500 - 4, 100])
    np.testing.assert_array_equal(plus[500, 100 - 3], minus[500, 100 - 3])


def test_points_nobody_was_asked_about_are_coloured_by_their_label() -> None:
    picture = evidence(GREY, answer(PromptPoint(100.5, 500.5, 1), PromptPoint(200.5, 500.5, 0)), "point-query")
    assert (tuple(picture[495, 105]), tuple(picture[495, 205])) == (BLUE, VERMILION)


def test_the_box_is_drawn_along_its_sides() -> None:
    picture = evidence(GREY, answer(box=(50.0, 450.0, 150.0, 550.0)), "point-query")
    for y, x in ((450, 100), (549, 100), (500, 50), (500, 149)):
        assert tuple(picture[y, x]) == strategy_colour("point-query")
    np.testing.assert_array_equal(picture[500, 100], GREY[0, 0])


@pytest.mark.parametrize(("size", "factor"), [((256, 256), 2), ((100, 40), 6), ((600, 800), 1), ((1, 1), 512)])
def test_small_images_are_enlarged_by_a_whole_factor(size: tuple[int, int], factor: int) -> None:
    image, mask = np.zeros((*size, 3), dtype=np.uint8), np.zeros(size, dtype=bool)
    picture = evidence(image, answer(mask=mask), "evf-sam")
    assert picture.shape == (size[0] * factor, size[1] * factor, 3)
    assert max(picture.shape) >= LEAST_SIDE


@pytest.mark.parametrize("box", [(-5.0, -5.0, 900.0, 700.0), (10.0, 10.0, 10.0, 10.0), (20.0, 20.0, 10.0, 10.0)])
def test_odd_boxes_are_drawn_without_an_error(box: tuple[float, float, float, float]) -> None:
    assert (evidence(GREY, answer(box=box), "point-query")[:30] != GREY[:30]).any()


def test_the_strongest_attention_is_the_brightest_place() -> None:
    attention = np.zeros((4, 4), dtype=np.float32)
    attention[1, 2] = 0.01
    picture = heat_map(GREY, attention)
    brightness = picture.astype(float) @ (0.2126, 0.7152, 0.0722)
    y, x = np.unravel_index(brightness.argmax(), brightness.shape)
    assert (y * 4 // 600, x * 4 // 800) == (1, 2)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_a_heat_map_does_not_depend_on_the_maps_scale(scale: float) -> None:
    attention = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    difference = heat_map(GREY, attention).astype(int) - heat_map(GREY, attention * np.float32(scale))
    assert np.abs(difference).max() <= 1


def test_places_without_a_number_count_as_no_attention() -> None:
    attention = np.array([[1.0, 0.0, 0.0]], dtype=np.float32)
    broken = np.array([[1.0, np.nan, -3.0]], dtype=np.float32)
    np.testing.assert_array_equal(heat_map(GREY, attention), heat_map(GREY, broken))


def test_a_map_without_any_attention_is_drawn_cold() -> None:
    picture = heat_map(GREY, np.zeros((2, 2), dtype=np.float32))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1


def test_a_heat_map_outlines_the_mask_and_changes_nothing_else() -> None:
    attention = np.ones((2, 2), dtype=np.float32)
    plain, outlined = heat_map(GREY, attention), heat_map(GREY, attention, BLOB)
    border = contour(BLOB, 4)
    assert tuple(outlined[200, 400]) == (255, 255, 255)
    np.testing.assert_array_equal(plain[~border], outlined[~border])


def test_the_scale_of_heat_grows_steadily_brighter() -> None:
    shades = [luminance(stop) for stop in HEAT_STOPS]
    assert shades == sorted(shades)


@given(st.floats(0, 1))
def test_a_ramp_stays_between_its_stops(value: float) -> None:
    colour = ramp(np.array([value]), PROBABILITY_STOPS)[0]
    stops = np.array(PROBABILITY_STOPS)
    assert (colour >= stops.min(axis=0) - 1e-3).all()
    assert (colour <= stops.max(axis=0) + 1e-3).all()


def test_a_ramp_meets_its_stops_and_holds_its_ends() -> None:
    colours = ramp(np.array([-1, 0, 0.5, 1, 2]), PROBABILITY_STOPS)
    np.testing.assert_allclose(colours, np.array(PROBABILITY_STOPS)[[0, 0, 1, 2, 2]])


@pytest.mark.parametrize("draw", ["overlay", "evidence", "heat_map"])
def test_a_mask_of_another_size_is_refused(draw: str) -> None:
    small: RgbImage = np.zeros((3, 4, 3), dtype=np.uint8)
    calls = {
        "overlay": lambda: overlay(small, BLOB, "evf-sam"),
        "evidence": lambda: evidence(small, answer(), "evf-sam"),
        "heat_map": lambda: heat_map(small, np.ones((2, 2), dtype=np.float32), BLOB),
    }
    with pytest.raises(GeometryError, match=r"image's size \(3, 4\), got \(600, 800\)"):
        calls[draw]()


def test_attention_of_several_heads_at_once_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"expected an attention map \(h, w\), got \(2, 4, 4\)"):
        heat_map(GREY, np.ones((2, 4, 4), dtype=np.float32))


def test_a_given_peak_keeps_maps_comparable() -> None:
    flat = np.full((2, 2), 0.5, dtype=np.float32)
    assert np.array_equal(heat_map(GREY, flat, peak=1.0), heat_map(GREY, flat * 2, peak=2.0))
    assert not np.array_equal(heat_map(GREY, flat, peak=1.0), heat_map(GREY, flat))


@pytest.mark.parametrize("ground", [(255, 255, 255), (0, 0, 0), (0, 114, 178), (86, 180, 233)])
def test_a_mask_whose_surroundings_are_dimmed_has_a_line_that_stands_out_from_any_ground(
    ground: tuple[int, int, int],
) -> None:
    image = np.full((600, 800, 3), ground, dtype=np.uint8)
    picture = overlay(image, BLOB, "clip-text", is_labelled=False, is_rest_dimmed=True)
    outside, line = picture[300, 298], picture[300, 300]
    assert contrast(tuple(outside), tuple(line)) >= 4.5
    assert tuple(picture[300, 302]) == strategy_colour("clip-text")
    np.testing.assert_allclose(outside, np.array(ground) * 0.4, atol=1)
    empty = np.zeros_like(BLOB)
    np.testing.assert_array_equal(overlay(image, empty, "x", is_labelled=False, is_rest_dimmed=True), image)


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Return the contrast of two colours as the Web Content Accessibility Guidelines define it."""
    linear = [np.array(colour) / 255 for colour in (one, other)]
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in linear]
    dark, light = sorted(float(np.dot(c, (0.2126, 0.7152, 0.0722))) for c in linear)
    return (light + 0.05) / (dark + 0.05)


def test_patches_are_rectangles_of_one_colour_unless_they_run_into_each_other() -> None:
    attention = np.array([[0.1, 0.4], [0.2, 0.8]], dtype=np.float32)
    patches, smooth = heat_map(GREY, attention, is_smooth=False), heat_map(GREY, attention)
    for rows, columns in ((slice(0, 300), slice(0, 400)), (slice(300, 600), slice(400, 800))):
        assert len(np.unique(patches[rows, columns].reshape(-1, 3), axis=0)) == 1
        assert len(np.unique(smooth[rows, columns].reshape(-1, 3), axis=0)) > 1
    assert tuple(patches[0, 0]) != tuple(patches[-1, -1])
