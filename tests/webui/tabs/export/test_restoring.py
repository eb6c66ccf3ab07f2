from types import MappingProxyType

import gradio as gr
import numpy as np
import pytest

from evfsam.errors import ConfigurationError
from tests.webui.fakes import fake_comparison, three_colours
from webui.known_scenes import KnownScene, random_scene, read_examples
from webui.run_cache import FinishedRun
from webui.tabs.compare.option_controls import OptionControl
from webui.tabs.compare.runs import Progress
from webui.tabs.export.restoring import UPLOAD, control_value, page_address, recipe_of, restored
from workbench.export.code_snippets import DEFAULT_ADDRESS
from workbench.export.links import encode_link
from workbench.export.run_recipes import ExampleSource, GeneratedScene
from workbench.pictures.shown_pictures import read_image

COMPARISON, _ = fake_comparison()
EXAMPLES = read_examples()


def finished(image: np.ndarray, known: KnownScene | None = None) -> FinishedRun:
    progress = Progress(COMPARISON.view(image), ("a dog",), ("evf-sam",), (), 0.0, (None,))
    return FinishedRun(progress, {"point-query": {"grid_size": 7}}, known)


def test_a_scene_comes_back_from_its_link_pixel_by_pixel() -> None:
    drawn, known = random_scene()
    recipe = recipe_of(finished(drawn.image, known), EXAMPLES, "fake")
    assert recipe.source == GeneratedScene(drawn.seed, known.size)
    found = restored(encode_link(recipe), EXAMPLES, COMPARISON.suite)
    assert found.recipe == recipe
    assert found.known == known
    assert np.array_equal(found.image, drawn.image)


def test_an_example_is_known_by_its_pixels_and_comes_back() -> None:
    example = EXAMPLES[-1]
    image = read_image(example.file)
    recipe = recipe_of(finished(image), EXAMPLES, "fake")
    assert recipe.source == ExampleSource(example.file.name)
    assert np.array_equal(restored(encode_link(recipe), EXAMPLES, COMPARISON.suite).image, image)


def test_another_image_than_the_known_scene_counts_as_an_upload() -> None:
    _, known = random_scene()
    assert recipe_of(finished(three_colours(), known), EXAMPLES, "fake").source == UPLOAD


def test_a_link_for_another_suite_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="suite"):
        restored("v=1&scene=5&size=256&suite=other&strategy=evf-sam&phrase=a", EXAMPLES, COMPARISON.suite)


@pytest.mark.parametrize("value", [99, "5", True])
def test_a_value_that_a_slider_cannot_take_is_refused(value: object) -> None:
    control = OptionControl("point-query", "grid_size", 5, gr.Slider(2, 9, value=5))
    assert control_value(MappingProxyType({}), control) == 5
    with pytest.raises(ConfigurationError, match="grid_size"):
        control_value({"point-query": {"grid_size": value}}, control)


def test_a_value_that_is_no_choice_is_refused() -> None:
    control = OptionControl("clip-text", "variant", "text", gr.Radio([("Text", "text"), ("Both", "both")]))
    assert control_value({"clip-text": {"variant": "both"}}, control) == "both"
    with pytest.raises(ConfigurationError, match="variant"):
        control_value({"clip-text": {"variant": "<b>"}}, control)


@pytest.mark.parametrize("told", [None, 'http://a/");import os', "ftp://a/", "http://a/ b"])
def test_an_address_that_cannot_be_quoted_is_replaced(told: object) -> None:
    assert page_address(told) == f"{DEFAULT_ADDRESS}/"
    assert page_address("https://name.example:8443/page/") == "https://name.example:8443/page/"
