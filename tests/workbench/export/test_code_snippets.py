"""Code to copy makes the run it was copied from: what can be executed here is executed."""

import ast
import json
import shlex
from typing import Any

import numpy as np
import pytest

from evfsam.preprocess import load_image
from workbench.bundled import CHECKPOINTS
from workbench.comparison import Comparison
from workbench.datasets.scenes import scene
from workbench.export.code_snippets import client_snippet, curl_snippet, library_snippet
from workbench.export.run_recipes import ExampleSource, GeneratedScene, RunRecipe, UploadSource
from workbench.suites.registry import MINI

COLOUR = ExampleSource("scene-colour.png")
HARD_PHRASE = 'the "red" one\'s $HOME `id` \\ 蓝色'

needs_weights = pytest.mark.skipif(
    not (CHECKPOINTS / "mini" / "evf-sam" / "model.safetensors.index.json").is_file(),
    reason="the trained weights are not there",
)


def executed(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(code, "snippet", "exec"), names)
    return names


@pytest.mark.weights
@needs_weights
def test_the_library_snippet_makes_the_same_masks(capsys: pytest.CaptureFixture[str]) -> None:
    phrases = ("the blue bus", "the orange turtle")
    recipe = RunRecipe(COLOUR, phrases, "mini", ("evf-sam",))
    masks = executed(library_snippet(recipe))["masks"]
    results = Comparison(MINI).run(load_image("examples/scene-colour.png"), phrases, recipe.strategies)
    expected = {
        (result.key, number): answer.mask
        for result in results
        for number, answer in enumerate(result.by_phrase, start=1)
    }
    assert masks.keys() == expected.keys()
    for place, mask in expected.items():
        np.testing.assert_array_equal(masks[place], mask)
    assert expected["evf-sam", 1].any()
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.weights
@needs_weights
@pytest.mark.usefixtures("capsys")
def test_the_library_snippet_draws_a_scene_again() -> None:
    recipe = RunRecipe(GeneratedScene(20_000_000, 128), ("the cat",), "mini", ("evf-sam",))
    names = executed(library_snippet(recipe))
    np.testing.assert_array_equal(names["image"], scene(20_000_000, 128).image)
    assert names["masks"]["evf-sam", 1].shape == (128, 128)


@pytest.mark.parametrize("source", [COLOUR, GeneratedScene(3, 256), UploadSource("mine.png")])
@pytest.mark.parametrize("write", [library_snippet, client_snippet])
def test_any_phrase_makes_python_that_can_be_read(source: Any, write: Any) -> None:
    recipe = RunRecipe(source, (HARD_PHRASE,), "mini", ("evf-sam",), {"evf-sam": {"name": "it's"}})
    texts = [node.value for node in ast.walk(ast.parse(write(recipe))) if isinstance(node, ast.Constant)]
    assert HARD_PHRASE in texts


def test_the_options_of_the_run_are_in_the_library_snippet() -> None:
    options = {"point-query": {"grid_size": 7, "form": "pqpp"}, "clip-text": {"variant": "late-concat"}}
    tree = ast.parse(library_snippet(RunRecipe(COLOUR, ("a",), "mini", ("point-query", "clip-text"), options)))
    assigned = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert ast.literal_eval(assigned["options"]) == options
    assert ast.literal_eval(assigned["strategies"]) == ["point-query", "clip-text"]


def test_the_snippets_keep_to_short_lines() -> None:
    recipe = RunRecipe(COLOUR, ("the blue bus",), "mini", ("evf-sam", "clip-text", "point-query"))
    for write in (library_snippet, client_snippet, curl_snippet):
        assert max(len(line) for line in write(recipe).splitlines()) <= 140


def test_the_curl_snippet_survives_any_phrase_in_the_shell() -> None:
    options = {"evf-sam": {"name": "it's"}}
    code = curl_snippet(RunRecipe(COLOUR, (HARD_PHRASE, "b"), "mini", ("evf-sam",), options), "http://127.0.0.1:9/")
    words = [word for word in shlex.split(code) if word.strip()]
    assert (words[0], words[-1]) == ("curl", "http://127.0.0.1:9/programs/compare_strategies")
    sent = dict(word.split("=", 1) for word in words if "=" in word)
    assert sent["image"] == "@examples/scene-colour.png"
    assert sent["phrase"] == f"{HARD_PHRASE}; b"
    assert json.loads(sent["strategies"]) == ["evf-sam"]
    assert json.loads(sent["options"]) == options
